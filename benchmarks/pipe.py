"""How the benchmark talks to the programs it measures: one JSON object a line, each way.

Standard library only: both ends import it, in environments that share nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Handler = Callable[..., dict[str, Any]]


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests `{"do": name, ...arguments}` from stdin until it closes.

    Whatever the measured libraries print goes to stderr: the answers have stdout to themselves.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handlers[request.pop("do")](**request)
            answer["peak_bytes"] = peak_bytes()
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


def peak_bytes() -> int:
    """The most memory this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else


def timed(run: Callable[[], Any], seconds: float, at_least: int = 1) -> list[float]:
    """Durations of a call, repeated for so many seconds in all."""
    taken: list[float] = []
    while len(taken) < at_least or sum(taken) < seconds:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken


class Program:
    """A measured program in a process of its own, asked by calling it.

    Args:
        python: the interpreter of its environment.
        script: what it runs; serves requests.
        log: file that takes what it prints.
        environment: variables to set.
    """

    def __init__(
        self, python: str | Path, script: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.log = log
        # Packages on a path of this process are not those of the program's own environment.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [str(python), str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**inherited, **environment},
            )

    def send(self, do: str, **arguments: Any) -> None:
        """Ask for a measurement without waiting for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # receive() says why it ended
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The answer to the oldest question not yet answered.

        Raises:
            RuntimeError: if the program failed or has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(
                f"expected an answer, got the end of the program (exit {code}); see {self.log}"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"expected a figure, got {answer['error']}; see {self.log}")
        return answer

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        self.send(do, **arguments)
        return self.receive()

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
