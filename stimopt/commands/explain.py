"""`stimopt explain`: why cells respond to their optima."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from stimopt import expect
from stimopt.analysis.explain import explain
from stimopt.analysis.paths import ranked_clips
from stimopt.commands.parsers import command_parser
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.opening import NetworkSource
from stimopt.report.explanations import explanation_table, write_explanation
from stimopt.report.figures import MAX_FIGURES
from stimopt.report.tables import print_table
from stimopt.results import Result, fitted, read, searched

NOT_SAMPLED = {
    *("stores", "dt", "extent", "batch_size", "num_workers", "start_sample", "stop_sample", "seed")
}
"""Options of a search's movies that do not change its samples, or are passed apart."""


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options."""
    text = "Split each response into the inputs that cause it."
    parser = result_parser("explain", text, "logs/explain")
    add = parser.add_argument
    add("--source", type=str | None, default=None, help="explain this input instead of the cell")
    add("--lesions", type=bool, default=True, help="silence each source type in turn")
    add("--max_figures", type=int, default=MAX_FIGURES, help="draw the first so many optima")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Explain, write figures and files, and print the inputs."""
    config = parser().parse_args(list(arguments))
    # Before the simulation.
    expect.whole("max_figures", config.max_figures, f"{MAX_FIGURES} is usual")
    found = read(config.result)
    result = fitted(found)
    network = NetworkSource(**vars(config.network)).open(result.protocol)
    explained = explain(
        found,
        network,
        config.source,
        clips=clips_of(config.clips, config.stores, result, vars(config.data)),
        lesions=config.lesions,
    )
    print_table(explanation_table(explained))
    for path in write_explanation(explained, config.output, config.max_figures):
        print(path)
    return 0


def result_parser(command: str, text: str, output: str) -> ArgumentParser:
    """A parser for a result, its network, and clips to compare it with."""
    parser = command_parser(ArgumentParser, command, text)
    add = parser.add_argument
    add("result", type=str, help="a result.h5 of a fit, or an optima.h5")
    add("--clips", type=str | None, default=None, help="result.h5 of a search to compare with")
    help_text = "movies of that search: compare with all ranked clips, not with the best alone"
    add("--stores", type=list[str] | None, default=None, help=help_text)
    parser.add_class_arguments(StimulusDataModule, "data", skip=NOT_SAMPLED, instantiate=False)
    add("--output", type=str, default=output, help="folder of the files")
    parser.add_class_arguments(NetworkSource, "network", instantiate=False)
    return parser


def clips_of(
    path: str | None, stores: Sequence[str] | None, result: Result, sampling: Mapping[str, Any]
) -> Result | None:
    """The clips of a search, with all ranks where its movies are given.

    Args:
        path: of its result; None for no clips.
        stores: its movies; None for the best clips alone.
        result: to be compared with.
        sampling: the `--data` options of the search, by name.

    Raises:
        ValueError: for another kind of file, movies without a search, or other movies.
    """
    if path is None:
        if stores is not None:
            raise ValueError("expected --clips with --stores, got none; name the search result too")
        return None
    search = searched(path)
    if stores is None:
        return search
    own = {"dt": result.protocol.dt, "extent": result.extent, **sampling}
    data = StimulusDataModule(list(stores), **own)
    return ranked_clips(search, data)
