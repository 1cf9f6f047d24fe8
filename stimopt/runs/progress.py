"""One progress bar over a whole run, whatever its epochs and however often it was resumed."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stimopt.runs.step_end import StepEnd
from stimopt.search.naturalistic import NaturalisticSearch

WIDE = 100
"""Columns of a terminal with room for the time elapsed and the metrics."""


class RunProgress(ProgressBar, StepEnd):
    """A bar on the standard error, with speed and the time left; shared by fits and searches."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Progress | None = None

    def disable(self) -> None:
        """Show nothing, as on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self._bar is not None:
            self._bar.console.print(*args)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar where it is."""
        self._close()

    def _open(self, name: str, unit: str, total: int | None, completed: int) -> None:
        if not self._enabled:
            return
        # Widgets would need ipywidgets, and rich warns where it is absent.
        console = Console(stderr=True, force_jupyter=False)
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn(unit),
            _Speed(),
            TimeRemainingColumn(),
        ]
        if console.width >= WIDE:
            columns += [TimeElapsedColumn(), TextColumn("{task.fields[metrics]}")]
        self._bar = Progress(
            *columns,
            console=console,
            # Drawing takes the interpreter from the run: four times a second are enough to see.
            refresh_per_second=4,
        )
        self._bar.add_task(name, total=total, completed=completed, metrics="")
        self._bar.start()

    def _update(self, **changes: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], **changes)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bar": None}


class FitProgress(RunProgress):
    """Steps of a fit, with the loss and the peak response."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the steps done so far."""
        total = trainer.max_steps if trainer.max_steps > 0 else None
        self._open(getattr(pl_module, "kind", "fit"), "steps", total, trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move to the step that was just done."""
        self._update(completed=trainer.global_step)
        # The metrics are new right after the steps that were logged.
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (trainer.global_step - 1) % every == 0:
            metrics = trainer.progress_bar_metrics.items()
            self._update(metrics="  ".join(f"{k.split('/')[0]} {v:.4g}" for k, v in metrics))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()


class SearchProgress(RunProgress):
    """Samples of a search."""

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the samples done so far."""
        assert isinstance(pl_module, NaturalisticSearch)
        done = pl_module.samples_done
        self._total = pl_module.data.samples.stop - done.start
        self._open("naturalistic", "samples", self._total, len(done))

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move on by the samples of all processes."""
        self._update(advance=len(batch.sample) * trainer.world_size)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        # Samples repeated to share them out evenly were counted as well.
        self._update(completed=self._total)
        self._close()


class _Speed(ProgressColumn):
    """Steps or samples per second in this run."""

    def render(self, task: Task) -> Text:
        """The speed, once there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")
