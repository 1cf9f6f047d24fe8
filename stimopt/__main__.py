"""`python -m stimopt`, and the `stimopt` script."""

import os
import sys


def entry() -> None:
    """Run the command line and exit with its code."""
    # OpenMP threads spin for milliseconds after every parallel operation of torch, unless this is
    # set before torch is loaded; the processor time is better spent on the network.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from stimopt.cli import main

    sys.exit(main())


if __name__ == "__main__":
    entry()
