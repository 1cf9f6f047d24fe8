"""Checkpoints within the pass of a search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from stimopt import expect
from stimopt.search.naturalistic import NaturalisticSearch


class SearchCheckpoint(Callback):
    """Saves `last.ckpt` every so many batches, at the same batch on all processes.

    The best responses so far go to the loggers at the same time.

    Args:
        folder: where to save; all processes must see the same folder.
        every_n_batches: batches between checkpoints.

    Raises:
        ValueError: for a number below 1.
    """

    def __init__(self, folder: str | Path, every_n_batches: int = 5) -> None:
        expect.whole("batches between checkpoints", every_n_batches, "5 is usual", at_least=1)
        self.folder, self.every_n_batches = Path(folder), every_n_batches
        self._last: tuple[float, int] | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._last = None

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save at every n-th batch, and before the only process is terminated."""
        # A signal may reach the processes at different batches, and merging needs all of them.
        leaving = trainer.received_sigterm and trainer.world_size == 1
        due = leaving or (batch_idx + 1) % self.every_n_batches == 0
        if due and isinstance(pl_module, NaturalisticSearch):
            pl_module.merge_processes(batch_idx + 1)
            self._save(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, so that a rerun has nothing left to do."""
        if isinstance(pl_module, NaturalisticSearch):
            self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, search: NaturalisticSearch) -> None:
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)
        scalars, now, done = search.peak_scalars(), time.monotonic(), search.next_sample
        if self._last is not None and done > self._last[1]:
            scalars["samples_per_second"] = (done - self._last[1]) / (now - self._last[0])
        self._last = (now, done)
        for logger in trainer.loggers:
            logger.log_metrics(scalars, done)
