"""Commands as processes of their own, to be interrupted, doubled and scheduled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import stimopt

ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "MASTER_"))},
    "PYTHONPATH": str(Path(stimopt.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
STIMOPT = (sys.executable, "-m", "stimopt")


@contextlib.contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, all of which is killed at the end."""
    process = subprocess.Popen(
        command,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(*command: str, **environment: str) -> str:
    """Run a process to its end and return what it printed."""
    with started(*command, **environment) as process:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    return out


def wait_for(
    path: Path, process: subprocess.Popen[str] | None = None, seconds: float = 200
) -> None:
    """Wait until a file has been written; a process that is given must not end before."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """A process and all that it started: torchrun gives its own sessions of their own."""
    family = [pid]
    for parent in family:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        family += map(int, children.read_text().split() if children.exists() else [])
    return family
