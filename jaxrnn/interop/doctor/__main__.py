"""`python -m jaxrnn.interop.doctor`: see `command`."""

import sys

from jaxrnn.interop import doctor

if __name__ == "__main__":
    try:
        doctor.RUNTIMES  # noqa: B018 - needs onnx
    except ImportError as error:
        sys.exit(str(error))
    from jaxrnn.interop.doctor.command import main

    sys.exit(main())
