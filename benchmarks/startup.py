"""Seconds from a command to its help, to an error in an option, and to the end of its first step.

Also a callback of the Trainer, which the last of these runs with and which ends that run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOTE = "STIMOPT_BENCHMARK_FIRST_STEP"


def start_up(network: Mapping[str, str | int | None], threads: int) -> dict[str, float]:
    """Seconds of each, by name.

    Args:
        network: options of the network, without `--network.`.
        threads: of the processors.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return {
        "help": _seconds(["--help"], 0, environment),
        "error": _seconds(["generate", "--model.no_such=1"], 2, environment),
        "value": _seconds(["generate", "--model.t_stim=long"], 2, environment),
        "first step": _first_step(network, environment),
    }


def _seconds(arguments: list[str], code: int, environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    _run(arguments, code, environment)
    return time.perf_counter() - start


def _first_step(network: Mapping[str, Any], environment: Mapping[str, str]) -> float:
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory(prefix="stimopt-start-") as folder:
        note = Path(folder) / "ended"
        paths = os.pathsep.join(filter(None, (str(here), environment.get("PYTHONPATH"))))
        # The first step of `generate` is one of the ceiling.
        arguments = ["generate", "--method=ceiling", f"--output={folder}/run"]
        arguments += [f"--network.{name}={value}" for name, value in network.items() if value]
        arguments += ["--trainer.callbacks+=startup.EndOfFirstStep"]
        start = time.time()
        _run(arguments, 0, {**environment, NOTE: str(note), "PYTHONPATH": paths})
        return float(note.read_text()) - start


def _run(arguments: list[str], code: int, environment: Mapping[str, str]) -> None:
    """Run `stimopt` with these arguments.

    Raises:
        RuntimeError: if it does not end with this exit code.
    """
    command = [sys.executable, "-m", "stimopt", *arguments]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
    if done.returncode != code:
        ended = f"expected exit code {code} of {arguments}, got {done.returncode}"
        raise RuntimeError(f"{ended}: {done.stderr[-300:]}")


def __getattr__(name: str) -> Any:
    """The callback, created when asked for, so that `run.py` need not import Lightning."""
    if name != "EndOfFirstStep":
        raise AttributeError(name)
    from lightning.pytorch import Callback, LightningModule, Trainer

    class EndOfFirstStep(Callback):
        """Notes the time and ends the run."""

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, *args: Any
        ) -> None:
            """Note it once."""
            note = Path(os.environ[NOTE])
            if not note.exists():
                note.write_text(repr(time.time()))
            trainer.should_stop = True

    EndOfFirstStep.__module__, EndOfFirstStep.__qualname__ = __name__, name
    globals()[name] = EndOfFirstStep
    return EndOfFirstStep
