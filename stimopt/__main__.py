"""`python -m stimopt`, and the `stimopt` script."""

import sys

from stimopt.cli import main


def entry() -> None:
    """Run the command line and exit with its code."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
