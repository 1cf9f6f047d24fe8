"""Checkpoints that are whole or not there, that run no code when read, and are read once."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from stimopt import expect
from stimopt.runs.step_end import StepEnd
from stimopt.storage.archives import require_honest_zip
from stimopt.storage.files import BadFile, reading, replace_bytes
from stimopt.storage.identity import DifferentRun

_BAD_CHECKPOINT = "nothing in it was executed; remove it, or name another output folder"


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes beside and renames; always reads with torch's restricted reader."""

    def __init__(self) -> None:
        super().__init__()
        self._read_ahead: dict[str, dict[str, Any]] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; a failure leaves the previous one intact."""
        # In memory first: torch's own writer hides why a disk refuses, and where it stopped.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        # Bytes share that memory. A view would stay in the traceback of a full disk, and
        # collecting it crashes Python 3.12.1 (python/cpython#111049).
        replace_bytes(path, content.getvalue())

    def read_ahead(self, path: str | Path) -> dict[str, Any]:
        """Read a checkpoint that the Trainer will load next; it then gets the same dictionary.

        Raises:
            BadFile: as `load_checkpoint`.
        """
        checkpoint = self.load_checkpoint(path)
        self._read_ahead[os.fspath(path)] = checkpoint
        return checkpoint

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, onto the CPU by default.

        Raises:
            BadFile: if it is missing, damaged, or holds anything but plain values.
        """
        if (ready := self._read_ahead.pop(os.fspath(path), None)) is not None:
            return ready
        require_checkpoint(path)
        with reading(path, "a checkpoint", _BAD_CHECKPOINT):
            require_honest_zip(path, "a checkpoint", _BAD_CHECKPOINT)
            checkpoint = torch.load(path, map_location=map_location or "cpu", weights_only=True)
            got = f"a {type(checkpoint).__name__}"
            expected = f"a checkpoint in {path}"
            expect.that(isinstance(checkpoint, dict), expected, got, _BAD_CHECKPOINT, BadFile)
        plain: dict[str, Any] = checkpoint
        return plain


class LastCheckpoint(ModelCheckpoint, StepEnd):
    """Keeps `last.ckpt` in a folder, replaced every so many steps.

    One file is enough: it is replaced whole, and the best iterate is part of it.

    Example:
        >>> trainer = pl.Trainer(max_steps=200, callbacks=[LastCheckpoint("logs/t4c")])

    Raises:
        ValueError: for a number of steps below 1.
    """

    def __init__(self, folder: str | Path, every_n_steps: int = 25) -> None:
        expect.whole("steps between checkpoints", every_n_steps, "25 is usual", at_least=1)
        super().__init__(
            dirpath=folder,
            every_n_train_steps=every_n_steps,
            save_top_k=0,
            save_last=True,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    @property
    def state_key(self) -> str:
        """The name of the class; Lightning's, a list of options, is composed six times a step."""
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        """Nothing, so that Lightning does not mind another interval or a folder that was moved."""
        return {}


def require_checkpoint(path: str | Path) -> None:
    """Refuse a path at which there is nothing."""
    advice = "check the path, or leave it out for the output folder's own"
    expect.that(Path(path).exists(), f"a checkpoint at {path}", "no file", advice, BadFile)


def find_last(folder: str | Path) -> Path | None:
    """The checkpoint of a run to resume from, if there is one."""
    path = Path(folder) / "last.ckpt"
    return path if path.is_file() else None


@contextmanager
def resuming(trainer: pl.Trainer, path: str | Path | None) -> Iterator[None]:
    """Name the checkpoint if the block fails before its run has resumed.

    A checkpoint may be undamaged and yet have parts that do not fit the run or each other, for
    which Lightning raises nearly any exception.

    Args:
        trainer: about to fit or test in the block.
        path: of the checkpoint; None does nothing.

    Raises:
        DifferentRun: if the checkpoint belongs to a run with other settings.
        ValueError: for other errors on the way, naming the checkpoint.
    """
    started = _Started()
    trainer.callbacks.append(started)  # type: ignore[attr-defined]
    try:
        yield
    except (DifferentRun, BadFile, MisconfigurationException):
        raise
    except Exception as error:
        of_disk = isinstance(error, OSError) and error.errno is not None
        if path is None or started.yes or of_disk:
            raise
        reason = (str(error) or "no reason").splitlines()[0]
        raise ValueError(
            f"expected a checkpoint of this run in {path}, got one that cannot be resumed "
            f"({type(error).__name__}: {reason}); give the options of the run that wrote it, or "
            "name another output folder"
        ) from error


class _Started(pl.Callback):
    """Knows whether a run is past loading its checkpoint, and then leaves the Trainer."""

    yes = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.yes = True
        trainer.callbacks.remove(self)  # type: ignore[attr-defined]

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_start(trainer, pl_module)
