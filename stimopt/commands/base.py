"""What the commands share: options of a network, a protocol and a run, and its board."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse.typing import NotEmptyStr
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from stimopt.networks.opening import NetworkSource
from stimopt.protocol import PRESETS, Protocol
from stimopt.runs.checkpointing import SafeCheckpointIO
from stimopt.storage.files import replace_text


class ConfigOfRun(SaveConfigCallback):
    """Writes `config.yaml` when a run has begun or gone on.

    Lightning does so before it takes up the checkpoint; a run that is then refused would leave its
    own config beside the results of the run before.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Not yet."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The fit has begun."""
        self._write(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The search has begun."""
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        folder = trainer.log_dir  # which all processes must ask for
        if trainer.is_global_zero and folder is not None:
            text = self.parser.dump(self.config, skip_none=False)
            replace_text(Path(folder) / self.config_filename, text)


class RunCLI(LightningCLI):
    """A LightningCLI of `--network.*`, `--protocol.*`, `--output`, `--ckpt_path` and so on.

    Args:
        command: its name.
        description: for `--help`.
        arguments: what `stimopt COMMAND` left over.
        trainer_defaults: options of the Trainer unless told otherwise.
        model: the class built from `--model.*`.
        data: the class built from `--data.*`, if there are such options.
    """

    contents: str
    """What a run leaves in its folder, for `--help`."""

    def __init__(
        self,
        command: str,
        description: str | None,
        arguments: list[str],
        trainer_defaults: dict[str, Any],
        model: type[pl.LightningModule],
        data: type[pl.LightningDataModule] | None = None,
    ) -> None:
        self.command = command
        super().__init__(
            model,
            data,
            run=False,
            args=arguments,
            trainer_defaults=dict(trainer_defaults),
            save_config_callback=ConfigOfRun,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": f"stimopt {command}",
                "description": description,
                "exit_on_error": False,
            },
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse once to learn the preset, and again with it as the protocol's defaults."""
        with warnings.catch_warnings():
            # Lightning doubts arguments that are not those of the interpreter.
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)
            preset = self.config.protocol_preset
            if preset is not None:
                parser.set_defaults(Protocol.preset(preset).settings())
                super().parse_arguments(parser, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Network, protocol and output beside the model and the Trainer."""
        parser.add_class_arguments(NetworkSource, "network")
        parser.add_class_arguments(Protocol, "protocol")
        parser.link_arguments(
            "network", "model.network", compute_fn=NetworkSource.open, apply_on="instantiate"
        )
        parser.link_arguments("protocol", "model.protocol", apply_on="instantiate")
        add_preset(parser)
        parser.add_argument(
            "--output",
            type=NotEmptyStr,
            default=f"logs/{self.command}",
            help=f"folder of this run: {self.contents}",
        )
        parser.add_argument(
            "--ckpt_path",
            type=str,
            default="last",
            help="go on from: 'last' (the output folder's, if there is one) or a checkpoint file",
        )

    def callbacks(self, output: Path, progress: bool) -> list[pl.Callback]:
        """Those of the command, beside any that are given."""
        raise NotImplementedError

    def gone_on_from(self, output: Path) -> int | None:
        """The step or sample that a run in this folder goes on from, None if it starts."""
        raise NotImplementedError

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The Trainer with TensorBoard, checkpoints and progress in the output folder."""
        output = Path(self.config.output)
        given = self._get(self.config_init, "trainer", default={})
        progress = given.get("enable_progress_bar") is not False
        self.trainer_defaults["callbacks"] = self.callbacks(output, progress)
        if given.get("logger") is None:
            kwargs.setdefault("logger", board(output, self.gone_on_from(output)))
        if given.get("default_root_dir") is None:
            # Where the resolved config goes without a logger, and what a SLURM job leaves that is
            # told to requeue itself.
            kwargs.setdefault("default_root_dir", str(output))
        kwargs["plugins"] = [*(given.get("plugins") or []), SafeCheckpointIO()]
        trainer = super().instantiate_trainer(**kwargs)
        _require_cores(trainer)
        return trainer


def add_preset(parser: Any) -> None:
    """The option `--protocol_preset`."""
    parser.add_argument(
        "--protocol_preset",
        type=str | None,
        default=None,
        help=f"named protocol ({', '.join(PRESETS)}); options of the protocol given beside it "
        "change it",
    )


def board(output: Path, purge_step: int | None) -> TensorBoardLogger:
    """TensorBoard's log in the output folder; steps done again after a kill replace the old."""
    return TensorBoardLogger(save_dir=output, name="", version="", purge_step=purge_step)


@contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Make Ctrl+C a KeyboardInterrupt, where Lightning exits with 1."""
    try:
        yield
    except SystemExit as error:
        # Being terminated is a SystemExit as well.
        if trainer.interrupted and not isinstance(error, SIGTERMException):
            raise KeyboardInterrupt from error
        raise


def quiet_lightning() -> None:
    """Keep Lightning's advertisements out of a command's output; warnings still come through."""
    # Lightning's own business with torch; the parser's warnings are about options.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _require_cores(trainer: pl.Trainer) -> None:
    """Refuse to start more processes than there are cores: each holds a network.

    Raises:
        ValueError: saying how many there are.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None or environment.creates_processes_externally:
        return
    most = max(2, os.cpu_count() or 1)
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > most:
        raise ValueError(
            f"expected at most {most} devices on the CPU, as this machine has {os.cpu_count()} "
            f"cores, got {trainer.num_devices}; one process uses all cores by itself"
        )
