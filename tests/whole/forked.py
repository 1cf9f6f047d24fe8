"""Runs commands and reads files in forks of a process that has imported everything.

A fork may be killed, crash or hang. It is not one of the tests' own process: torch and Lightning
have started threads in that, and a fork of it can wait for ever for a lock that one of them held.
A start of Python and torch takes seconds in which nothing is written; a fork has only those in
which something can go wrong. Its random state is its own, as in another process.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

import stimopt
from stimopt.cli import COMMANDS, main
from stimopt.connectome import Connectome
from stimopt.movies import MovieStore
from stimopt.networks.flyvis import read_trained
from stimopt.networks.motion_circuit import motion_circuit_spec
from stimopt.networks.opening import builtin_network
from stimopt.optimize.generate import StimulusGenerator
from tests.movies.cases import read_all
from tests.whole.commandline import EXTENT

# What commands import when they run, so that not every fork has to.
for module in (
    *(f"stimopt.commands.{command}" for command in COMMANDS),
    *("stimopt.dynamics.fused", "torch._dynamo", "torch.utils.tensorboard"),
    "matplotlib.backends.backend_agg",
):
    importlib.import_module(module)

TORN = ("torn .ckpt", "torn .h5", "torn .png", "torn other")
POINTS = ("save", "h5", *TORN, "replace", "replaced")
"""Where a command can kill itself: before a checkpoint is made; before an HDF5 file is closed; with
half of a file on the disk; before and after a file is renamed into place."""
Point = tuple[str, int]
"""A point, and which of the calls that reach it."""


@dataclass(frozen=True)
class Ended:
    """How a fork ended.

    Args:
        status: exit code, or minus the signal.
        seconds: how long it took.
        answer: what it sent, None if it was killed before.
    """

    status: int
    seconds: float
    answer: Any


class Forks:
    """Starts forks, one at a time.

    Args:
        log: file that takes what commands print.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
            for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
                patch.setenv(name, "1")  # a fork has none of the other threads
            forkserver.ensure_running()

    def run(
        self,
        argv: list[str],
        after: float = 300,
        at: Point | None = None,
        to: Path | None = None,
        meanwhile: Callable[[int], None] | None = None,
        **environment: str,
    ) -> Ended:
        """Run a command, and kill it after some seconds or at a point; answers with the calls.

        Args:
            argv: the command.
            after: seconds.
            at: a point.
            to: file or terminal that takes what it prints; the log without it.
            meanwhile: called with the number of the process once it has been started.
            environment: variables that it has beside those of the tests.
        """
        more = (argv, to or self.log, at, environment)
        return self._fork(_command, after, *more, meanwhile=meanwhile)

    def finish(self, argv: list[str]) -> Ended:
        """Run a command to its end."""
        ended = self.run(argv)
        assert ended.status == 0, self.log.read_text(encoding="utf-8")[-3000:]
        return ended

    def script(self, path: Path, *arguments: str) -> str:
        """Run a Python script in its folder; returns what it printed."""
        printed = path.with_suffix(".out")
        printed.unlink(missing_ok=True)
        ended = self._fork(_script, 300, path, list(arguments), printed)
        assert ended.status == 0, printed.read_text(encoding="utf-8")[-3000:]
        return printed.read_text(encoding="utf-8")

    def read(self, reader: str, path: Path) -> str:
        """Read a file; returns the error that refuses it, empty if it was read."""
        ended = self._fork(_reading, 60, reader, path)
        assert ended.status == 0, f"ended with {ended.status}: {ended.answer}"
        error: str = ended.answer
        assert not error or error.startswith("expected"), error
        return error

    def _fork(
        self,
        target: Callable[..., None],
        seconds: float,
        *arguments: Any,
        meanwhile: Callable[[int], None] | None = None,
    ) -> Ended:
        receiver, sender = self._context.Pipe(duplex=False)
        with receiver:
            with sender:
                process = self._context.Process(target=target, args=(sender, *arguments))
                begin = time.monotonic()
                process.start()
            if meanwhile is not None:
                meanwhile(process.pid or 0)
            process.join(max(0.0, begin + seconds - time.monotonic()))
            process.kill()
            process.join()
            took, status = time.monotonic() - begin, process.exitcode
            process.close()
            try:
                answer = receiver.recv()
            except EOFError:
                answer = None
        assert status is not None
        return Ended(status, took, answer)


def _command(
    sender: Connection, argv: list[str], log: Path, at: Point | None, environment: dict[str, str]
) -> None:
    os.environ.update(environment)
    _start(log)
    calls = dict.fromkeys(POINTS, 0)
    _watch(calls, at)
    code = main(argv)
    sender.send(calls)
    sys.exit(code)


def _script(sender: Connection, path: Path, arguments: list[str], log: Path) -> None:
    _start(log)
    os.chdir(path.parent)
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def _start(log: Path) -> None:
    """As in a process of its own: print to a file, draw other numbers."""
    gc.freeze()
    with log.open("ab") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    torch.set_num_threads(1)
    torch.manual_seed(os.getpid())


def _watch(calls: dict[str, int], at: Point | None) -> None:
    """Count calls at each point of the libraries that write files, and end at one of them."""
    save, h5_exit, replace, sync = torch.save, h5py.File.__exit__, Path.replace, os.fsync

    def reached(point: str, torn: Path | None = None) -> None:
        calls[point] += 1
        if at == (point, calls[point]):
            if torn is not None:
                os.truncate(torn, torn.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_save(*args: Any, **kwargs: Any) -> None:
        reached("save")
        save(*args, **kwargs)

    def watched_exit(file: Any, *args: Any) -> None:
        if file.mode != "r":
            reached("h5")
        h5_exit(file, *args)

    def watched_replace(path: Path, target: Any) -> Path:
        reached("replace")
        renamed = replace(path, target)
        reached("replaced")
        return renamed

    def watched_sync(descriptor: int) -> None:
        # Every file is flushed to the disk before it is renamed into place.
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        kind = f"torn {Path(path.name.removesuffix('.tmp')).suffix}"
        reached(kind if kind in TORN else "torn other", path)
        sync(descriptor)

    torch.save, h5py.File.__exit__ = watched_save, watched_exit
    Path.replace, os.fsync = watched_replace, watched_sync  # type: ignore[assignment]


def _reading(sender: Connection, reader: str, path: Path) -> None:
    try:
        READERS[reader](path)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        sender.send(str(error))
    except BaseException:
        sender.send(traceback.format_exc())
        sys.exit(1)
    else:
        sender.send("")


NETWORK = builtin_network(EXTENT)


def _read_store(path: Path) -> None:
    with MovieStore(path) as store:
        read_all(store)


READERS: dict[str, Callable[[Path], object]] = {
    "winner": lambda path: StimulusGenerator(NETWORK, "T4c", init=f"naturalistic:{path}"),
    "result": stimopt.read,
    "store": _read_store,
    "network": lambda path: read_trained(path.parent, Connectome.from_spec(motion_circuit_spec())),
    "connectome": Connectome.from_json,
}
"""What reads each kind of file; of a network `path` is the checkpoint in its folder."""
