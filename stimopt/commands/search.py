"""`stimopt search`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console

from stimopt.commands.base import RunCLI, interruptible, quiet_lightning
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.opening import NetworkSource
from stimopt.report.tables import winners_table
from stimopt.runs.checkpointing import SafeCheckpointIO, find_last, going_on_from
from stimopt.search.callbacks import SearchCheckpoint, SearchProgress
from stimopt.search.naturalistic import NaturalisticSearch
from stimopt.search.result import search_result
from stimopt.storage.files import only_run_in

TRAINER_DEFAULTS = {
    "enable_model_summary": False,
    # Lightning's own checkpoints are made in fits alone; SearchCheckpoint makes those of a search.
    "enable_checkpointing": False,
}

TABLE_WIDTH = 120
"""Columns of the table where the output is no terminal and has no width of its own."""


class SearchCLI(RunCLI):
    """Options: `--network.*`, `--protocol.*`, `--data.*`, `--model.*`, `--trainer.*`, ..."""

    contents = "checkpoints, TensorBoard, result.h5, config.yaml"

    def __init__(self, arguments: list[str]) -> None:
        description = "Find the clip of a movie set that drives each cell type most."
        classes = {"model": NaturalisticSearch, "data": StimulusDataModule}
        super().__init__("search", description, arguments, TRAINER_DEFAULTS, **classes)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """How often a run is saved, beside what all commands have."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("network", "data.extent", compute_fn=_extent, apply_on="instantiate")
        parser.link_arguments("protocol.dt", "data.dt")
        parser.add_argument(
            "--checkpoint_every", type=int, default=5, help="batches between checkpoints"
        )

    def callbacks(self, output: Path, progress: bool) -> list[pl.Callback]:
        """Checkpoints and progress."""
        saved = SearchCheckpoint(output / "checkpoints", self.config.checkpoint_every)
        return [saved, *([SearchProgress()] if progress else [])]

    def gone_on_from(self, output: Path) -> int | None:
        """The sample that a run in this folder goes on from, None if it starts."""
        return resumed_sample(output / "checkpoints")


def run(arguments: list[str]) -> int:
    """Search or go on, write the result, and print the winners."""
    quiet_lightning()
    with quiet_about_loading():
        cli = SearchCLI(arguments)
        trainer, output = cli.trainer, Path(cli.config.output)
        # The others of several processes work in the folder of the first.
        with only_run_in(output) if trainer.is_global_zero else nullcontext():
            chosen = cli.config.ckpt_path
            checkpoint = find_last(output / "checkpoints") if chosen == "last" else chosen
            search_or_go_on(trainer, cli.model, cli.datamodule, checkpoint)
            if not trainer.is_global_zero:
                return 0
            result = search_result(cli.model)
            path = result.write(output / "result.h5")
    console = Console()
    wide = console if console.is_terminal else Console(width=TABLE_WIDTH)
    wide.print(winners_table(result))
    print(path)
    return 0


def search_or_go_on(
    trainer: pl.Trainer,
    search: NaturalisticSearch,
    data: StimulusDataModule,
    checkpoint: str | Path | None,
) -> None:
    """Search to the end; Ctrl+C is a KeyboardInterrupt, and a checkpoint that misfits is said."""
    with interruptible(trainer), going_on_from(checkpoint, trainer):
        trainer.test(search, datamodule=data, ckpt_path=checkpoint, verbose=False)


def _extent(source: NetworkSource) -> int:
    return source.extent


def resumed_sample(checkpoints: Path) -> int | None:
    """The sample a run will go on from, None if it starts."""
    path = find_last(checkpoints)
    if path is None:
        return None
    record = SafeCheckpointIO().load_checkpoint(path).get("stimopt")
    return record.get("next_sample") if isinstance(record, dict) else None


@contextmanager
def quiet_about_loading() -> Iterator[None]:
    """Keep back advice of Lightning's about loading, which does not apply here."""
    with warnings.catch_warnings():
        # The network takes longer than reading does, so that workers gain nothing.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        # Samples repeated to share out evenly are counted once.
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # within Lightning
        warnings.filterwarnings("ignore", message=".*it is recommended to use `Trainer\\(devices=1")
        yield
