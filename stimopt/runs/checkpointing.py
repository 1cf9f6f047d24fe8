"""Checkpoints that are whole or not there, and that run no code when read."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from stimopt.storage.files import replacing


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes beside and renames; reads with torch's restricted reader, always."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; a failure leaves the one before as it was."""
        # Made in memory: torch's own writer hides why a disk refuses, and where it stopped.
        made = io.BytesIO()
        torch.save(checkpoint, made)
        with replacing(path) as beside:
            # Bytes, which share the memory. A view would stay in the traceback of a full disk, and
            # collecting that crashes Python 3.12.1 (python/cpython#111049).
            beside.write_bytes(made.getvalue())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            ValueError: if it is missing, damaged, or asks for anything but plain values.
        """
        try:
            _require_sums(path)
            loaded: dict[str, Any] = torch.load(
                path, map_location=map_location or "cpu", weights_only=True
            )
        except FileNotFoundError as error:
            raise ValueError(
                f"expected a checkpoint at {path}, got no file; give one that is there, or another "
                "output folder to start anew"
            ) from error
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"expected a checkpoint of plain values at {path}, got one that is damaged or asks "
                "to run other code; it was refused, nothing was executed; remove it to start anew"
            ) from error
        except Exception as error:  # the restricted reader raises anything on a malformed stream
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"expected a checkpoint at {path}, got a damaged or foreign file ({reason}); "
                "remove it to start anew"
            ) from error
        if not isinstance(loaded, dict):
            raise ValueError(
                f"expected a checkpoint at {path}, got a {type(loaded).__name__}; "
                "remove it to start anew"
            )
        return loaded


def _require_sums(path: Any) -> None:
    """Compare the checksums, which torch does not: one flipped bit would be another run."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        # Entries are stored, not packed; one that unpacks to more would fill the memory.
        if size > Path(path).stat().st_size:
            raise ValueError(f"entries unpack to {size} bytes")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"checksum of {damaged} is wrong")


def last_checkpoint(folder: str | Path, every_n_steps: int = 25) -> ModelCheckpoint:
    """A callback that keeps `last.ckpt` in a folder, renewed every so many steps.

    One file is enough: it is replaced whole, and the best iterate is part of it.  Saving takes
    about 10 ms for one item, so 25 steps lose little and cost less.

    Raises:
        ValueError: for a number below 1.
    """
    if every_n_steps < 1:
        raise ValueError(f"expected every_n_steps >= 1, got {every_n_steps}; 25 is usual")
    return ModelCheckpoint(
        dirpath=folder,
        every_n_train_steps=every_n_steps,
        save_top_k=0,
        save_last=True,
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )


@contextmanager
def going_on_from(path: str | Path | None, trainer: pl.Trainer) -> Iterator[None]:
    """Say which checkpoint was at fault if a run fails before it has gone on from it.

    Args:
        path: of the checkpoint; with None nothing is done.
        trainer: about to fit or test from it.

    Raises:
        ValueError: naming the checkpoint, in place of whatever its parts made Lightning raise.
    """
    begun = _Begun()
    if path is not None:
        trainer.callbacks.append(begun)  # type: ignore[attr-defined]
    try:
        yield
    except Exception as error:
        reason = (str(error) or "none").splitlines()[0]
        ours = reason.startswith("expected") or isinstance(error, MisconfigurationException)
        if path is None or begun.begun or ours or _is_of_files(error):
            raise
        raise ValueError(
            f"expected a checkpoint whose parts belong together at {path}, got one that cannot be "
            f"gone on from ({type(error).__name__}: {reason}); give the options it was made with, "
            "or remove it to start anew"
        ) from error


class _Begun(pl.Callback):
    """Knows whether a run has come past taking up its checkpoint."""

    begun = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The fit has begun."""
        self.begun = True

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The pass has begun."""
        self.begun = True


def _is_of_files(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno is not None


def find_last(folder: str | Path) -> Path | None:
    """The checkpoint to go on from, if there is one."""
    path = Path(folder) / "last.ckpt"
    return path if path.is_file() else None
