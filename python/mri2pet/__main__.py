"""`python -m mri2pet`: the same as the command `mri2pet`."""

import sys

from mri2pet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
