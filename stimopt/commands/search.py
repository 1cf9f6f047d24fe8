"""`stimopt search`: the naturalistic optimum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.cli import LightningArgumentParser

from stimopt.commands import options
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.report.tables import print_table, winners_table
from stimopt.runs.callbacks import ConfigWriter
from stimopt.runs.trainer import SEARCH_DEFAULTS, as_list, search_trainer, search_with
from stimopt.search.naturalistic import NaturalisticSearch


def parser(arguments: Sequence[str] = ()) -> LightningArgumentParser:
    """The options."""
    early = options.early_options(arguments, ("protocol_preset",))
    text = "Find the clip of a movie set that drives each cell type most."
    parser = options.new_parser("search", text)
    options.add_model(parser, "data", StimulusDataModule, skip=("dt", "extent"))
    options.add_model(parser, "model", NaturalisticSearch)
    options.add_intervals(parser, batches=True)
    options.add_trainer(parser, SEARCH_DEFAULTS, options.TRAINER_IN_SEARCH)
    contents = "checkpoints, TensorBoard, result.h5, config.yaml"
    options.add_output(parser, "search", contents)
    options.set_preset(parser, early)
    return parser


class SearchCLI(options.RunCLI):
    """A LightningCLI with the module, the data and the Trainer of a search."""

    def instantiate_classes(self) -> None:
        """Build module, data and Trainer."""
        config, text = options.resolve(self.parser, self.config)
        network, protocol = options.open_network(config)
        extent = network.lattice.extent
        self.datamodule = StimulusDataModule(**vars(config.data), dt=protocol.dt, extent=extent)
        self.model = NaturalisticSearch(network, protocol, **vars(config.model))
        chosen = vars(config.trainer)
        callbacks = as_list(chosen.pop("callbacks"))
        self.trainer = search_trainer(
            config.output,
            config.checkpoint_every_n_batches,
            callbacks=[*callbacks, ConfigWriter(config.output, text)],
            **chosen,
        )


def run(arguments: Sequence[str]) -> int:
    """Search or resume, and print the winners."""
    cli = SearchCLI(parser(arguments), arguments)
    output, ckpt_path = cli.config.output, cli.config.ckpt_path
    result = search_with(cli.trainer, cli.model, cli.datamodule, output, ckpt_path=ckpt_path)
    if cli.trainer.is_global_zero:
        print_table(winners_table(result))
        print(Path(output) / "result.h5")
    return 0
