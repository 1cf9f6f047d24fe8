"""What happens beside a search: checkpoints within the pass."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from stimopt.search.naturalistic import NaturalisticSearch


class SearchCheckpoint(Callback):
    """Saves `last.ckpt` every so many batches, at the same batch on all processes.

    Args:
        folder: where to; all processes must see the same folder.
        every_n_batches: how often; a checkpoint takes about 10 ms, a batch far longer.

    Raises:
        ValueError: for a number below 1.
    """

    def __init__(self, folder: str | Path, every_n_batches: int = 5) -> None:
        if every_n_batches < 1:
            raise ValueError(f"expected every_n_batches >= 1, got {every_n_batches}; 5 is usual")
        self.folder, self.every_n_batches = Path(folder), every_n_batches
        self._since: tuple[float, int] | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._since = None

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save at every n-th batch, and before a process that is alone is terminated."""
        # A signal may reach the processes at different batches, and merging needs all of them.
        leaving = trainer.received_sigterm and trainer.world_size == 1
        if isinstance(pl_module, NaturalisticSearch) and (
            leaving or (batch_idx + 1) % self.every_n_batches == 0
        ):
            pl_module.take_stock(batch_idx + 1)
            self._save(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, so that the same command given again has nothing left to do."""
        if isinstance(pl_module, NaturalisticSearch):
            self._save(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Lightning tears down no module that was broken off."""
        if isinstance(pl_module, NaturalisticSearch):
            pl_module.teardown("test")

    def _save(self, trainer: pl.Trainer, search: NaturalisticSearch) -> None:
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)
        done = search.samples_done.stop
        scalars = {
            f"response/peak/{label}": value
            for label, value in zip(
                search.labels, search.found.response[..., 0].flatten().tolist(), strict=True
            )
        }
        now = time.monotonic()
        if self._since is not None and done > self._since[1]:
            scalars["samples_per_second"] = (done - self._since[1]) / (now - self._since[0])
        self._since = (now, done)
        for logger in trainer.loggers:
            logger.log_metrics(scalars, done)
