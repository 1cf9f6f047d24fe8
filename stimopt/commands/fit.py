"""What the commands that fit a stimulus share: a LightningCLI with network and output folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse.typing import NotEmptyStr
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from stimopt.callbacks import ResultWriter, StimulusPictures
from stimopt.checkpointing import SafeCheckpointIO, find_last, going_on_from, last_checkpoint
from stimopt.files import only_run_in
from stimopt.network_source import NetworkSource
from stimopt.protocol import Protocol

TRAINER_DEFAULTS = {
    "max_steps": 200,
    "max_epochs": -1,
    "devices": 1,
    # Writing scalars makes the host wait for the device; every tenth step costs under 1 %.
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}


class FitCLI(LightningCLI):
    """Options of a fit: `--model.*`, `--network.*`, `--protocol.*`, `--trainer.*`, `--output`."""

    def __init__(self, model_class: type[pl.LightningModule], command: str, arguments: list[str]):
        self.command = command
        super().__init__(
            model_class,
            run=False,
            args=arguments,
            trainer_defaults=dict(TRAINER_DEFAULTS),
            save_config_kwargs={"overwrite": True},
            seed_everything_default=False,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": f"stimopt {command}",
                "description": model_class.__doc__,
                "exit_on_error": False,
            },
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what `stimopt COMMAND` left over, without Lightning's doubt about sys.argv."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Network, protocol and output beside the model and the Trainer."""
        parser.add_class_arguments(NetworkSource, "network")
        parser.add_class_arguments(Protocol, "protocol")
        parser.link_arguments(
            "network", "model.network", compute_fn=NetworkSource.open, apply_on="instantiate"
        )
        parser.link_arguments("protocol", "model.protocol", apply_on="instantiate")
        add_run_arguments(parser, self.command)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The Trainer with TensorBoard, checkpoints, pictures and results in the output folder."""
        config = self.config
        output = Path(config.output)
        checkpoints = output / "checkpoints"
        self.writer = ResultWriter(output)
        callbacks: list[pl.Callback] = [
            last_checkpoint(checkpoints, config.checkpoint_every),
            StimulusPictures(config.pictures_every),
            self.writer,
        ]
        trainer_config = self._get(self.config_init, "trainer", default={})
        if trainer_config.get("default_root_dir") is None:
            # Without a logger this is where the resolved config goes.
            kwargs.setdefault("default_root_dir", str(output))
        if trainer_config.get("enable_progress_bar") is not False:
            callbacks.append(FitProgress())
        if trainer_config.get("logger") is None:
            kwargs.setdefault("logger", board(output, resumed_step(checkpoints)))
        kwargs["plugins"] = [*(trainer_config.get("plugins") or []), SafeCheckpointIO()]
        self.trainer_defaults["callbacks"] = callbacks
        trainer = super().instantiate_trainer(**kwargs)
        if trainer.world_size != 1:
            raise ValueError(
                f"expected one device for a fit, got {trainer.world_size}; one serves all items: "
                "to use several, start a command for each with other cell types or seeds"
            )
        return trainer


class FitProgress(RichProgressBar):
    """Lightning's bar, named for what it counts: a fit has steps and one endless epoch."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "Steps"


def add_run_arguments(parser: LightningArgumentParser, command: str) -> None:
    """Where a run lives and how often it is saved."""
    parser.add_argument(
        "--output",
        type=NotEmptyStr,
        default=f"logs/{command}",
        help="folder of this run: checkpoints, TensorBoard, result.h5, figures, config.yaml",
    )
    parser.add_argument(
        "--ckpt_path",
        type=str,
        default="last",
        help="go on from: 'last' (the output folder's, if there is one) or a checkpoint file",
    )
    parser.add_argument(
        "--checkpoint_every", type=int, default=25, help="steps between checkpoints"
    )
    parser.add_argument(
        "--pictures_every", type=int, default=50, help="steps between TensorBoard pictures"
    )


def run_fit(
    model_class: type[pl.LightningModule],
    command: str,
    arguments: list[str],
    finish: Callable[[Path], list[Path]] | None = None,
) -> int:
    """Parse, fit or go on, and say where the files are; `finish` adds to them from the output."""
    quiet_lightning()
    cli = _Held(model_class, command, arguments)
    trainer = cli.trainer
    if trainer.interrupted:
        raise KeyboardInterrupt
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
            with going_on_from(path, self.trainer):
                self.trainer.fit(self.model, ckpt_path=path, weights_only=True)


def board(output: Path, purge_step: int | None) -> TensorBoardLogger:
    """TensorBoard's log in the output folder; steps done again after a kill replace the old."""
    return TensorBoardLogger(save_dir=output, name="", version="", purge_step=purge_step)


def resumed_step(checkpoints: Path) -> int | None:
    """The step a run will go on from, None if it starts."""
    path = find_last(checkpoints)
    if path is None:
        return None
    step: int | None = SafeCheckpointIO().load_checkpoint(path).get("global_step")
    return step


def quiet_lightning() -> None:
    """Keep Lightning's advertisements out of a command's output; warnings still come through."""
    # Lightning's own business with torch; the parser's warnings are about options.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
