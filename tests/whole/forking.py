"""Runs stimopt commands in forks of a process that has imported everything, and kills them.

Reads damaged files in such forks too, which may crash or hang.

Started as `python -m robustness.forking`; reads one JSON request a line and answers with one:

    {"argv": [...], "log": "file"}                      run to the end, counting calls
    {"argv": [...], "log": "file", "after": 0.8}        SIGKILL after so many seconds
    {"argv": [...], "log": "file", "at": ["save", 3]}   SIGKILL itself at a call
    {"read": "store", "path": "file", "log": "file"}    read a file, see `robustness.reading`

A real start of Python and torch takes many seconds in which nothing is written; a fork has only
those in which something can go wrong. The random state is another in every fork, as it is in
another process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

TORN = ("torn .ckpt", "torn .h5", "torn .png", "torn other")
POINTS = ("save", "h5", *TORN, "replace", "replaced")
"""Where a command can kill itself: before a checkpoint is made; before an HDF5 file is closed; with
half of a file on the disk; before and after a file is renamed into place."""
RUNNING_SECONDS = 300
READING_SECONDS = 60
"""Longest that a fork may take, on a busy machine; it is then killed."""


class Calls:
    """Counts calls at each point, and ends the process at one of them.

    Args:
        at: the point and which of its calls, or None to count only.
    """

    def __init__(self, at: tuple[str, int] | None) -> None:
        self.at, self.counts = at, dict.fromkeys(POINTS, 0)

    def reached(self, point: str, torn: Path | None = None) -> None:
        """To be called at a point; `torn` is a file to be left half-written."""
        self.counts[point] += 1
        if self.at == (point, self.counts[point]):
            if torn is not None:
                os.truncate(torn, torn.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Put the points into the libraries that write files."""
        import h5py
        import torch

        save, h5_exit = torch.save, h5py.File.__exit__
        replace, sync = Path.replace, os.fsync

        def watched_save(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            self.reached("save")
            save(value, path, *args, **kwargs)

        def watched_exit(file: Any, *args: Any) -> None:
            if file.mode != "r":
                self.reached("h5")
            h5_exit(file, *args)

        def watched_replace(path: Path, target: Any) -> Path:
            self.reached("replace")
            done = replace(path, target)
            self.reached("replaced")
            return done

        def watched_sync(descriptor: int) -> None:
            # Everything is seen to the disk before it is renamed into place.
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            kind = f"torn {Path(path.name.removesuffix('.tmp')).suffix}"
            self.reached(kind if kind in TORN else "torn other", path)
            sync(descriptor)

        torch.save, h5py.File.__exit__ = watched_save, watched_exit
        Path.replace, os.fsync = watched_replace, watched_sync


def run_child(request: dict[str, Any], answer: int) -> None:
    """Run a command in this process, which is a fork, and end it."""
    import torch

    from stimopt.cli import main

    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    torch.manual_seed(os.getpid())
    at = request.get("at")
    calls = Calls(None if at is None else (at[0], at[1]))
    calls.watch()
    code = 99
    try:
        code = main(request["argv"])
        os.write(answer, json.dumps(calls.counts).encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def read_child(request: dict[str, Any], answer: int) -> None:
    """Read a file in this process, which is a fork, and end it: 0 read, 2 refused, 3 neither."""
    from tests.whole.reading import READERS

    said, code = "", 0
    try:
        READERS[request["read"]](Path(request["path"]))
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        said, code = str(error), 2
    except BaseException:
        said, code = traceback.format_exc(), 3
    finally:
        os.write(answer, json.dumps(said[-4000:]).encode())
        os._exit(code)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Run a command in a fork, or read a file; gives its status, duration and what it told."""
    reads = "read" in request
    read, write = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read)
        (read_child if reads else run_child)(request, write)
    os.close(write)
    limit = READING_SECONDS if reads else RUNNING_SECONDS
    status = _wait(child, begin + request.get("after", limit))
    with os.fdopen(read, "rb") as stream:
        told = json.loads(stream.read() or b"null")
    answer = {"said": told or ""} if reads else {"calls": told or {}}
    return {"status": status, "seconds": time.monotonic() - begin, **answer}


def _wait(child: int, until: float, poll: Callable[[float], None] = time.sleep) -> int:
    """Exit code, or minus the signal; kills the child when its time is over."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.killpg(child, signal.SIGKILL) if os.getpgid(child) == child else os.kill(child, 9)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        poll(0.002)


if __name__ == "__main__":
    # One thread: a fork of a process with threads could wait for a lock that none holds any more.
    import torch

    torch.set_num_threads(1)
    from tests.whole.reading import builtin

    builtin()

    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
