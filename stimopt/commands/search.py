"""`stimopt search`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse.typing import NotEmptyStr
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from stimopt.checkpointing import SafeCheckpointIO, find_last, going_on_from
from stimopt.commands.fit import board, quiet_lightning
from stimopt.datamodule import StimulusDataModule
from stimopt.files import only_run_in
from stimopt.network import BUILTIN_EXTENT, FLYVIS_EXTENT
from stimopt.network_source import NetworkSource
from stimopt.protocol import PRESETS, Protocol
from stimopt.search import NaturalisticSearch
from stimopt.search_callbacks import SearchCheckpoint, SearchProgress
from stimopt.search_result import search_result, winners_table

TRAINER_DEFAULTS = {
    "enable_model_summary": False,
    # Lightning's own checkpoints are made in fits alone; SearchCheckpoint makes those of a search.
    "enable_checkpointing": False,
}

TABLE_WIDTH = 120
"""Columns of the table where the output is no terminal and has no width of its own."""


class SearchCLI(LightningCLI):
    """Options: `--network.*`, `--protocol.*`, `--data.*`, `--model.*`, `--trainer.*`, ..."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(
            NaturalisticSearch,
            StimulusDataModule,
            run=False,
            args=arguments,
            trainer_defaults=dict(TRAINER_DEFAULTS),
            save_config_kwargs={"overwrite": True},
            seed_everything_default=False,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": "stimopt search",
                "exit_on_error": False,
                "description": "Find the clip of a movie set that drives each cell type most.",
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
                values = Protocol.preset(preset).to_dict()
                parser.set_defaults({f"protocol.{name}": value for name, value in values.items()})
                super().parse_arguments(parser, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Network, protocol and output beside the model, the data and the Trainer."""
        parser.add_class_arguments(NetworkSource, "network")
        parser.add_class_arguments(Protocol, "protocol")
        parser.link_arguments(
            "network", "model.network", compute_fn=NetworkSource.open, apply_on="instantiate"
        )
        parser.link_arguments("network", "data.extent", compute_fn=_extent, apply_on="instantiate")
        parser.link_arguments("protocol", "model.protocol", apply_on="instantiate")
        parser.link_arguments("protocol.dt", "data.dt")
        parser.add_argument(
            "--protocol_preset",
            type=str,
            default=None,
            help=f"named protocol ({', '.join(PRESETS)}); options of the protocol given beside it "
            "change it",
        )
        parser.add_argument(
            "--output",
            type=NotEmptyStr,
            default="logs/search",
            help="folder of this run: checkpoints, TensorBoard, result.h5, config.yaml",
        )
        parser.add_argument(
            "--ckpt_path",
            type=str,
            default="last",
            help="go on from: 'last' (the output folder's, if there is one) or a checkpoint file",
        )
        parser.add_argument(
            "--checkpoint_every", type=int, default=5, help="batches between checkpoints"
        )

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The Trainer with TensorBoard, checkpoints and progress in the output folder."""
        output = Path(self.config.output)
        given = self._get(self.config_init, "trainer", default={})
        callbacks: list[pl.Callback] = [
            SearchCheckpoint(output / "checkpoints", self.config.checkpoint_every)
        ]
        if given.get("enable_progress_bar") is not False:
            callbacks.append(SearchProgress())
        if given.get("logger") is None:
            kwargs.setdefault("logger", board(output, _resumed_sample(output)))
        if given.get("default_root_dir") is None:
            # Where a SLURM job that is told to requeue itself leaves its checkpoint.
            kwargs.setdefault("default_root_dir", str(output))
        kwargs["plugins"] = [*(given.get("plugins") or []), SafeCheckpointIO()]
        self.trainer_defaults["callbacks"] = callbacks
        return super().instantiate_trainer(**kwargs)


def run(arguments: list[str]) -> int:
    """Search or go on, write the result, and print the winners."""
    quiet_lightning()
    with _quiet_about_loading():
        cli = SearchCLI(arguments)
        trainer, output = cli.trainer, Path(cli.config.output)
        # The others of several processes work in the folder of the first.
        with only_run_in(output) if trainer.is_global_zero else nullcontext():
            _search(cli, output)
            if not trainer.is_global_zero:
                return 0
            result = search_result(cli.model)
            path = result.write(output / "result.h5")
    console = Console()
    wide = console if console.is_terminal else Console(width=TABLE_WIDTH)
    wide.print(winners_table(result))
    print(path)
    return 0


def _search(cli: SearchCLI, output: Path) -> None:
    chosen = cli.config.ckpt_path
    checkpoint = find_last(output / "checkpoints") if chosen == "last" else chosen
    try:
        with going_on_from(checkpoint, cli.trainer):
            cli.trainer.test(
                cli.model,
                datamodule=cli.datamodule,
                ckpt_path=checkpoint,
                verbose=False,
                weights_only=True,
            )
    except SystemExit as error:
        # Lightning exits with 1 after Ctrl+C; being terminated is a SystemExit as well.
        if cli.trainer.interrupted and not isinstance(error, SIGTERMException):
            raise KeyboardInterrupt from error
        raise


def _extent(source: NetworkSource) -> int:
    if source.extent is not None:
        return source.extent
    return BUILTIN_EXTENT if source.path is None else FLYVIS_EXTENT


def _resumed_sample(output: Path) -> int | None:
    """The sample a run will go on from, None if it starts."""
    path = find_last(output / "checkpoints")
    if path is None:
        return None
    record = SafeCheckpointIO().load_checkpoint(path).get("stimopt")
    return record.get("next_sample") if isinstance(record, dict) else None


@contextmanager
def _quiet_about_loading() -> Iterator[None]:
    """Keep back advice of Lightning's about loading, which does not apply here."""
    with warnings.catch_warnings():
        # The network takes longer than reading does, so that workers gain nothing.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        # Samples repeated to share out evenly are counted once.
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # within Lightning
        warnings.filterwarnings("ignore", message=".*it is recommended to use `Trainer\\(devices=1")
        yield
