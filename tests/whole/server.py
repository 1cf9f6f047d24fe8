"""Asks `robustness.forking` for runs and readings: a process that may be forked at any time.

The tests' own process may not: torch and Lightning have started threads in it, and a fork of it can
wait for ever for a lock that one of them held.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import stimopt

ROOTS = [str(Path(stimopt.__file__).parents[1])]


class Server:
    """The process that forks.

    Args:
        log: file that takes what commands print.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "robustness.forking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(ROOTS),
                "OMP_NUM_THREADS": "1",
                "NUMBA_NUM_THREADS": "1",
            },
        )
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline()) == "ready"

    def run(self, argv: list[str], **how: Any) -> dict[str, Any]:
        """Run a command in a fork, and kill it if told how."""
        return self._ask({"argv": argv, **how})

    def finish(self, argv: list[str]) -> dict[str, Any]:
        """Run a command to its end."""
        answer = self.run(argv)
        assert answer["status"] == 0, self.log.read_text(encoding="utf-8")[-3000:]
        return answer

    def read(self, reader: str, path: Path) -> str:
        """Read a file in a fork; gives the one line that refuses it, empty if it was read."""
        answer = self._ask({"read": reader, "path": str(path)})
        said: str = answer["said"]
        assert answer["status"] in (0, 2), f"ended with {answer['status']}: {said}"
        assert answer["status"] == 0 or said.startswith("expected"), said
        return said

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"log": str(self.log), **request}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer
