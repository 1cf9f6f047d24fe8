"""The one way to run a fit or a search, for Python and for every command.

A run has a Trainer and, if its output is to be kept, a folder:

    checkpoints/last.ckpt   from which the same run resumes
    events.out.tfevents...  TensorBoard, with the settings in hparams.yaml
    result.h5               with figures of the first items beside it, for a fit
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Checkpoint, ProgressBar, Timer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from stimopt import expect
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.optimize.module import StimulusModule
from stimopt.report.figures import MAX_FIGURES, write_figures
from stimopt.results import Result
from stimopt.runs.callbacks import StimulusPictures
from stimopt.runs.checkpointing import LastCheckpoint, SafeCheckpointIO, find_last, resuming
from stimopt.runs.progress import FitProgress, SearchProgress
from stimopt.search.callbacks import SearchCheckpoint
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.storage.files import only_run_in

FIT_DEFAULTS = {
    "devices": 1,
    # Writing scalars makes the host wait for an accelerator, so not at every step.
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}
"""Options of the Trainer of a fit where the caller gives none."""
SEARCH_DEFAULTS = {"enable_model_summary": False}
"""Options of the Trainer of a search where the caller gives none."""


def fit(
    module: StimulusModule,
    steps: int | None = None,
    folder: str | Path | None = None,
    *,
    ckpt_path: str | Path | None = "last",
    checkpoint_every_n_steps: int = 25,
    pictures_every_n_steps: int = 50,
    max_figures: int = MAX_FIGURES,
    **trainer_options: Any,
) -> Result:
    """Optimize the stimuli of a module; with a folder, log, save, and resume what was begun there.

    Args:
        module: such as `StimulusGenerator`.
        steps: of the optimizer, in all: a finished run of fewer steps in `folder` goes on.
            None is the module's `usual_steps`.
        folder: for checkpoints, TensorBoard, `result.h5` and figures; None writes nothing.
        ckpt_path: resume from `last` (the folder's, if there is one) or a file; None starts anew.
        checkpoint_every_n_steps: steps between checkpoints.
        pictures_every_n_steps: steps between pictures for the logger.
        max_figures: only the first so many items get a figure.
        **trainer_options: of Lightning's Trainer, such as `accelerator`, `logger`, `callbacks`.

    Returns:
        The result of the module.

    Raises:
        ValueError: if the folder or the checkpoint belongs to another run, or for fewer steps than
            were done.

    Example:
        >>> import stimopt
        >>> generator = stimopt.StimulusGenerator(stimopt.builtin_network(3), "T4c", t_stim=0.1)
        >>> fit(generator, steps=2, folder="logs/t4c", enable_progress_bar=False)["losses"].shape
        (3, 1)
    """
    steps = module.usual_steps if steps is None else steps
    trainer = fit_trainer(
        steps, folder, checkpoint_every_n_steps, pictures_every_n_steps, **trainer_options
    )
    return fit_with(trainer, module, folder, ckpt_path=ckpt_path, max_figures=max_figures)


def fit_with(
    trainer: pl.Trainer,
    module: StimulusModule,
    folder: str | Path | None = None,
    *,
    ckpt_path: str | Path | None = "last",
    max_figures: int = MAX_FIGURES,
) -> Result:
    """Run a fit with a Trainer of `fit_trainer`; the other arguments as for `fit`."""
    expect.whole("max_figures", max_figures, f"{MAX_FIGURES} is usual")
    with quiet_lightning(), _running(trainer, folder, ckpt_path) as checkpoint:
        trainer.fit(module, ckpt_path=checkpoint)
        result = module.result()
        if folder is not None:
            write_figures(result, folder, max_figures)
            # Last, so that a folder with a result is complete.
            result.write(Path(folder) / "result.h5")
    return result


def run_search(
    search: NaturalisticSearch,
    data: StimulusDataModule,
    folder: str | Path | None = None,
    *,
    ckpt_path: str | Path | None = "last",
    checkpoint_every_n_batches: int = 5,
    **trainer_options: Any,
) -> Result:
    """Search all samples; with a folder, log, save, and resume what was begun there.

    Args:
        search: which cell types of which network.
        data: the samples.
        folder: for checkpoints, TensorBoard and `result.h5`; None writes nothing. Several processes
            must see the same folder, in which the first one writes.
        ckpt_path: resume from `last` (the folder's, if there is one) or a file; None starts anew.
        checkpoint_every_n_batches: batches between checkpoints.
        **trainer_options: of Lightning's Trainer, such as `accelerator`, `devices`, `logger`.

    Returns:
        The result of the search, on each process.

    Raises:
        ValueError: if the folder or the checkpoint belongs to another run.

    Example:
        >>> import stimopt
        >>> search = NaturalisticSearch(stimopt.builtin_network(3), cell_types="T4c,T5c")
        >>> data = StimulusDataModule(extent=3, stop_sample=4)
        >>> run_search(search, data, enable_progress_bar=False)["sample"].shape
        (2, 1)
    """
    trainer = search_trainer(folder, checkpoint_every_n_batches, **trainer_options)
    return search_with(trainer, search, data, folder, ckpt_path=ckpt_path)


def search_with(
    trainer: pl.Trainer,
    search: NaturalisticSearch,
    data: StimulusDataModule,
    folder: str | Path | None = None,
    *,
    ckpt_path: str | Path | None = "last",
) -> Result:
    """Run a search with a Trainer of `search_trainer`; the other arguments as for `run_search`."""
    # Busy throughout, as torch's threads for the next clips would delay the step of these. Several
    # processes first share out the threads as they start, and are busy in each step.
    alone = trainer.world_size == 1
    with (
        quiet_lightning(),
        search.network.busy() if alone else nullcontext(),
        _running(trainer, folder, ckpt_path) as checkpoint,
    ):
        trainer.test(search, datamodule=data, ckpt_path=checkpoint, verbose=False)
        result = search.result()
        if folder is not None and trainer.is_global_zero:
            result.write(Path(folder) / "result.h5")
    return result


# -- the parts of a Trainer -----------------------------------------------------------------------


def fit_trainer(
    steps: int,
    folder: str | Path | None = None,
    checkpoint_every_n_steps: int = 25,
    pictures_every_n_steps: int = 50,
    **options: Any,
) -> pl.Trainer:
    """The Trainer of a fit; arguments as for `fit`."""
    expect.whole("max_steps", steps, "200 is usual", at_least=1)
    for name in ("max_steps", "max_epochs"):
        got = f"{name} = {options.get(name)}"
        expect.that(name not in options, "the length of a fit as steps", got, "pass steps alone")
    options = {**FIT_DEFAULTS, **_without_none(options), "max_steps": steps, "max_epochs": -1}
    callbacks: list[pl.Callback] = [StimulusPictures(pictures_every_n_steps)]
    save = LastCheckpoint(_checkpoints(folder), checkpoint_every_n_steps)
    if folder is not None and options.get("enable_checkpointing", True):
        callbacks.append(save)
    trainer = _trainer(folder, callbacks, FitProgress(), options)
    expect.that(
        trainer.world_size == 1,
        "one device for a fit",
        trainer.world_size,
        "one serves all items; to use several, start a run on each, of other cell types or seeds",
    )
    return trainer


def search_trainer(
    folder: str | Path | None = None, checkpoint_every_n_batches: int = 5, **options: Any
) -> pl.Trainer:
    """The Trainer of a search; arguments as for `run_search`."""
    # Lightning's own checkpoints are those of fits; SearchCheckpoint saves within a test loop.
    options = {**SEARCH_DEFAULTS, **_without_none(options), "enable_checkpointing": False}
    save = SearchCheckpoint(_checkpoints(folder), checkpoint_every_n_batches)
    callbacks: list[pl.Callback] = [] if folder is None else [save]
    return _trainer(folder, callbacks, SearchProgress(), options)


def _trainer(
    folder: str | Path | None,
    callbacks: list[pl.Callback],
    progress: ProgressBar,
    options: dict[str, Any],
) -> pl.Trainer:
    callbacks += as_list(options.pop("callbacks", []))
    if not any(isinstance(callback, Checkpoint) for callback in callbacks):
        options["enable_checkpointing"] = False  # Lightning would save beside the caller
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if options.get("enable_progress_bar", True) and not has_bar:
        callbacks.append(progress)
    if options.get("logger", True) is True:
        options["logger"] = False if folder is None else _FolderLog(folder)
    if folder is not None:
        # Where a SLURM job that requeues itself leaves its state.
        options.setdefault("default_root_dir", str(folder))
    plugins = [*as_list(options.pop("plugins", [])), SafeCheckpointIO()]
    with quiet_lightning():
        trainer = pl.Trainer(callbacks=callbacks, plugins=plugins, **options)
    _require_cores(trainer)
    return trainer


def _require_cores(trainer: pl.Trainer) -> None:
    """Refuse to start more processes than there are cores: each holds a network."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    starts_processes = environment is not None and not environment.creates_processes_externally
    limit = max(2, os.cpu_count() or 1)
    if starts_processes and isinstance(trainer.accelerator, CPUAccelerator):
        expect.that(
            trainer.num_devices <= limit,
            f"at most {limit} devices on the CPU, as this machine has {os.cpu_count()} cores",
            trainer.num_devices,
            "one process uses all cores by itself",
        )


class _FolderLog(TensorBoardLogger):
    """TensorBoard's log in the folder of a run; steps done again after a kill replace the old."""

    def __init__(self, folder: str | Path, resumed_at: int | None = 0) -> None:
        super().__init__(save_dir=folder, name="", version="", purge_step=resumed_at)
        settings = Path(folder) / self.NAME_HPARAMS_FILE
        if settings.is_file() and settings.stat().st_size == 0:
            settings.unlink()  # left by a kill; Lightning writes them only where there are none


def _checkpoints(folder: str | Path | None) -> Path:
    return Path(folder or "") / "checkpoints"


def _without_none(options: dict[str, Any]) -> dict[str, Any]:
    """Options without those left open, as commands pass all of them."""
    return {name: value for name, value in options.items() if value is not None}


def as_list(value: Any) -> list[Any]:
    """The value as a list; Lightning takes one callback or plugin without."""
    return [] if value is None else value if isinstance(value, list) else [value]


# -- running --------------------------------------------------------------------------------------


@contextmanager
def _running(
    trainer: pl.Trainer, folder: str | Path | None, ckpt_path: str | Path | None
) -> Iterator[str | Path | None]:
    """Lock the folder and yield the checkpoint to resume from, which is read here, once.

    Raises:
        KeyboardInterrupt: on Ctrl+C, where Lightning exits.
        ValueError: if another run is at work in the folder, or the checkpoint does not fit.
    """
    # The processes of one run share the folder of the first.
    locks = folder is not None and trainer.is_global_zero
    with only_run_in(str(folder)) if locks else nullcontext(), _interruptible(trainer):
        path = ckpt_path
        if path == "last":
            path = None if folder is None else find_last(_checkpoints(folder))
        if path is not None:
            reader = trainer.strategy.checkpoint_io
            assert isinstance(reader, SafeCheckpointIO)
            checkpoint = reader.read_ahead(path)
            _require_more_steps(trainer, checkpoint, path)
            _forget_time(checkpoint)
            if isinstance(trainer.logger, _FolderLog):
                trainer.logger = _FolderLog(trainer.logger.root_dir, _next_logged(checkpoint))
        with resuming(trainer, path):
            yield path


def _require_more_steps(trainer: pl.Trainer, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Refuse to replace the result of a fit by one of fewer steps."""
    done = checkpoint.get("global_step")
    expect.that(
        not isinstance(done, int) or not 0 <= trainer.max_steps < done,
        f"at least {done} steps, which {path} has done",
        trainer.max_steps,
        "give more, or another output folder for a shorter run",
    )


def _forget_time(checkpoint: dict[str, Any]) -> None:
    """Let max_time count anew: with the time of earlier runs, a rerun would end at once."""
    callbacks = checkpoint.get("callbacks")
    if isinstance(callbacks, dict):
        callbacks.pop(Timer.__qualname__, None)


def _next_logged(checkpoint: dict[str, Any]) -> int | None:
    """The step from which a resumed run logs: a search logs samples done, a fit steps to do."""
    record = checkpoint.get("stimopt")
    samples = record.get("next_sample") if isinstance(record, dict) else None
    step = checkpoint.get("global_step") if samples is None else samples + 1
    return step if isinstance(step, int) else None


@contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Turn Ctrl+C into a KeyboardInterrupt, where Lightning exits with 1."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        # SIGTERM is a SystemExit of Lightning's as well.
        if trainer.interrupted and not isinstance(error, SIGTERMException):
            raise KeyboardInterrupt from error
        raise
    finally:
        # Lightning ignores Ctrl+C from the first one on, and would do so for good.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide advice of Lightning's that does not apply here; other warnings pass."""
    loggers = [logging.getLogger(name) for name in _ADVISERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _ADVICE:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


_ADVISERS = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda")
_ADVICE = (
    # Between Lightning and torch.
    ".*treespec, LeafSpec",
    # The network takes longer than reading does, so workers gain nothing.
    ".*does not have many workers",
    # Samples repeated to share them out evenly are counted once.
    ".*it is recommended to use `Trainer\\(devices=1",
)
