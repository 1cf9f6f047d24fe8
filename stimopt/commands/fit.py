"""What the commands that fit a stimulus share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser

from stimopt.commands.base import RunCLI, interruptible, quiet_lightning
from stimopt.runs.callbacks import ResultWriter, StimulusPictures
from stimopt.runs.checkpointing import SafeCheckpointIO, find_last, going_on_from, last_checkpoint
from stimopt.storage.files import only_run_in

TRAINER_DEFAULTS = {
    "max_steps": 200,
    "max_epochs": -1,
    "devices": 1,
    # Writing scalars makes the host wait for the device; every tenth step costs under 1 %.
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}


class FitCLI(RunCLI):
    """Options of a fit: `--model.*`, `--network.*`, `--protocol.*`, `--trainer.*`, `--output`."""

    contents = "checkpoints, TensorBoard, result.h5, figures, config.yaml"

    def __init__(self, model_class: type[pl.LightningModule], command: str, arguments: list[str]):
        super().__init__(command, model_class.__doc__, arguments, TRAINER_DEFAULTS, model_class)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """How often a run is saved and drawn, beside what all commands have."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--checkpoint_every", type=int, default=25, help="steps between checkpoints"
        )
        parser.add_argument(
            "--pictures_every", type=int, default=50, help="steps between TensorBoard pictures"
        )

    def callbacks(self, output: Path, progress: bool) -> list[pl.Callback]:
        """Checkpoints, pictures and results."""
        config = self.config
        self.writer = ResultWriter(output)
        return [
            last_checkpoint(output / "checkpoints", config.checkpoint_every),
            StimulusPictures(config.pictures_every),
            self.writer,
            *([FitProgress()] if progress else []),
        ]

    def gone_on_from(self, output: Path) -> int | None:
        """The step that a run in this folder goes on from, None if it starts."""
        return resumed_step(output / "checkpoints")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The Trainer, on one device."""
        trainer = super().instantiate_trainer(**kwargs)
        if trainer.world_size != 1:
            raise ValueError(
                f"expected one device for a fit, got {trainer.world_size}; one serves all items: "
                "to use several, start a command for each with other cell types or seeds"
            )
        return trainer


class FitProgress(RichProgressBar):
    """Lightning's bar, named for what it counts: a fit has steps and one endless epoch."""

    def __init__(self) -> None:
        # As often as its figures change; drawn at every step it would take a fifth of one.
        super().__init__(refresh_rate=TRAINER_DEFAULTS["log_every_n_steps"])

    def _get_train_description(self, current_epoch: int) -> str:
        return "Steps"


def run_fit(
    model_class: type[pl.LightningModule],
    command: str,
    arguments: list[str],
    finish: Callable[[Path], list[Path]] | None = None,
) -> int:
    """Parse, fit or go on, and say where the files are; `finish` adds to them from the output."""
    quiet_lightning()
    cli = _Held(model_class, command, arguments)
    output = Path(cli.config.output)
    more = finish(output) if finish is not None and cli.writer.written else []
    for path in [*cli.writer.written, *more, output]:
        print(path)
    return 0


class _Held(FitCLI):
    """Fits inside the lock on the output folder, which is taken before anything is written."""

    def instantiate_classes(self) -> None:
        """Lock, build, fit."""
        with only_run_in(self.config.output):
            super().instantiate_classes()
            chosen = self.config.ckpt_path
            path = (
                find_last(Path(self.config.output) / "checkpoints") if chosen == "last" else chosen
            )
            self._require_more_steps(path)
            with interruptible(self.trainer), going_on_from(path, self.trainer):
                self.trainer.fit(self.model, ckpt_path=path)

    def _require_more_steps(self, path: str | Path | None) -> None:
        """Refuse to replace a result by one of fewer steps than were saved.

        Raises:
            ValueError: saying how many there are.
        """
        done, most = _step_of(path), self.trainer.max_steps
        if done is not None and 0 <= most < done:
            raise ValueError(
                f"expected trainer.max_steps of at least {done}, which {path} has done, got {most};"
                " give more, or another output folder for a shorter run"
            )


def resumed_step(checkpoints: Path) -> int | None:
    """The step a run will go on from, None if it starts."""
    return _step_of(find_last(checkpoints))


def _step_of(checkpoint: str | Path | None) -> int | None:
    if checkpoint is None:
        return None
    step: int | None = SafeCheckpointIO().load_checkpoint(checkpoint).get("global_step")
    return step
