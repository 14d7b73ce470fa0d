"""What a user waits for: `python -m benchmarks whole_run --data-dir FOLDER`.

Trains on MNIST row by row, from the start of the process to the test accuracy, in
jaxrnn (`python -m experiments.rows`), torch and flax.
"""

import sys

from benchmarks.__main__ import main

if __name__ == "__main__":
    main(["whole_run", *sys.argv[1:]])
