"""`python -m stimopt`, and the `stimopt` script."""

import gc
import os
import sys


def entry() -> None:
    """Run the command line and exit with its code."""
    # OpenMP threads spin for milliseconds after every parallel operation of torch, unless this is
    # set before torch is loaded; the processor time is better spent on the network.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imports create 400,000 objects. Python would look among them for garbage 1,000 times, which
    # takes a seventh of the time of the imports.
    gc.set_threshold(50_000, 10, 10)
    from stimopt.cli import main

    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads the output, such as `head`, has seen enough. At its exit Python would try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    # Nothing of what was imported is garbage; Python would look through it for two seconds now.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    entry()
