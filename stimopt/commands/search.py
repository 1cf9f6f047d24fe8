"""`stimopt search`: the naturalistic optimum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table

from stimopt.commands import options
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.report.tables import winners_table
from stimopt.runs.callbacks import ConfigWriter
from stimopt.runs.trainer import SEARCH_DEFAULTS, run_search
from stimopt.search.naturalistic import NaturalisticSearch


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options."""
    early = options.early_options(arguments, ("protocol_preset",))
    text = "Find the clip of a movie set that drives each cell type most."
    parser = options.new_parser("search", text)
    options.add_model(parser, "data", StimulusDataModule, skip=("dt", "extent"))
    options.add_model(parser, "model", NaturalisticSearch)
    options.add_intervals(parser, batches=True)
    options.add_trainer(parser, SEARCH_DEFAULTS, options.OF_TRAINER)
    contents = "checkpoints, TensorBoard, result.h5, config.yaml"
    options.add_output(parser, "search", contents)
    options.set_preset(parser, early)
    return parser


def trainer_options(config: Namespace, text: str) -> dict[str, Any]:
    """Arguments of `search_trainer`."""
    chosen = vars(config.trainer)
    return {
        **chosen,
        "folder": config.output,
        "checkpoint_every_n_batches": config.checkpoint_every_n_batches,
        "callbacks": [*(chosen["callbacks"] or []), ConfigWriter(config.output, text)],
    }


def run(arguments: Sequence[str]) -> int:
    """Search or resume, and print the winners."""
    chosen = parser(arguments)
    config, text = options.resolve(chosen, chosen.parse_args(arguments))
    network, protocol = options.open_network(config)
    data = StimulusDataModule(**vars(config.data), dt=protocol.dt, extent=network.lattice.extent)
    search = NaturalisticSearch(network, protocol, **vars(config.model))
    result = run_search(search, data, ckpt_path=config.ckpt_path, **trainer_options(config, text))
    if rank_zero_only.rank == 0:
        print_table(winners_table(result))
        print(Path(config.output) / "result.h5")
    return 0


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or wide enough where the output is none."""
    console = Console()
    wide = console if console.is_terminal else Console(width=TABLE_WIDTH)
    wide.print(table)


TABLE_WIDTH = 120
"""Columns of a table where the output is no terminal and has no width of its own."""
