"""How training grows with the number of devices: `python -m benchmarks devices`.

Measured, on host devices made of a CPU's cores: updates per second of `make_update` on
one device and on several, with the batch kept (strong scaling) and with the batch of
each device kept (weak scaling). Counted in the compiled program: the bytes that one
update sends between devices.
"""

import sys

from benchmarks.__main__ import main

if __name__ == "__main__":
    main(["devices", *sys.argv[1:]])
