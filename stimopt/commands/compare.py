"""`stimopt compare`: what holds across networks, and how fly-like each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from stimopt import expect
from stimopt.analysis.edge_tuning import EDGE_SPEEDS
from stimopt.analysis.flyvis_probes import PROTOCOL, probe_responses
from stimopt.analysis.groups import group_networks
from stimopt.analysis.score_card import FITTING, score_optima, score_probes
from stimopt.analysis.transfer import LeftOut, left_out_responses, transfer
from stimopt.commands.parsers import command_parser
from stimopt.networks.opening import NetworkSource
from stimopt.networks.stability import Stability
from stimopt.report import comparison
from stimopt.report.rows import write_csv
from stimopt.report.tables import print_table
from stimopt.results import fitted


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options."""
    text = "Score networks against recorded cell types, and compare them."
    parser = command_parser(ArgumentParser, "compare", text)
    add = parser.add_argument
    add("--optima", type=str | None, default=None, help="result.h5, optima.h5 or a campaign")
    add("--ranges", type=str | None, default=None, help="result of a range, for its ceilings")
    add("--consensus", type=list[str], default=[], help="results for some networks at once")
    add("--speeds", type=list[float], default=[*EDGE_SPEEDS], help="of the edges, columns a second")
    add("--min_score", type=float, default=FITTING, help="of networks whose predictions count")
    add("--groups", type=bool, default=False, help="group networks by their responses to edges")
    add("--most_groups", type=int, default=5, help="largest number of groups")
    add("--resamples", type=int, default=200, help="draws, for chance and stability of groups")
    add("--seed", type=int, default=0, help="of these draws")
    add("--output", type=str, default="logs/compare", help="folder of the tables and figures")
    parser.add_class_arguments(NetworkSource, "network", instantiate=False)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Print the score cards, and write all tables and figures into a folder."""
    config = parser().parse_args(list(arguments))
    folder = Path(config.output)
    optima, ranges = (p if p is None else fitted(p) for p in (config.optima, config.ranges))
    expect.that(optima or not ranges, "--optima with --ranges", "none", "give both")
    network = NetworkSource(**vars(config.network)).open(PROTOCOL)
    stable = [network.stability(PROTOCOL, k) is Stability.STABLE for k in range(network.n_networks)]
    matrix, left_out = None, list[LeftOut]()
    if optima and (ranges or "grey_objective" in optima.variables):
        matrix = transfer(network, optima, ranges)
        for path in config.consensus:
            left_out += left_out_responses(network, fitted(path), matrix, ranges or optima)
    given, advice = matrix or not config.consensus, "give both, of all networks"
    expect.that(given, "--optima and --ranges with --consensus", "none", advice)
    responses = probe_responses(network, speeds=config.speeds)
    cards = [score_probes(responses)]
    cards += [score_optima(network, optima)] if optima else []
    print_table(comparison.write_score_cards(cards, stable, folder))
    comparison.write_tuning(responses, cards[0], folder)
    if fitting := cards[0].fitting(config.min_score):
        write_csv(folder / "predictions.csv", cards[0].predictions(fitting))
    else:
        print(f"no network scores {config.min_score:g} or more, so that nothing is predicted")
    if matrix:
        print(comparison.write_transfer(matrix, stable, folder))
    if left_out:
        print(comparison.write_consensus(left_out, folder))
    if config.groups:
        chosen = {"most": config.most_groups, "resamples": config.resamples, "seed": config.seed}
        # Each edge is a stimulus: polarity, speed and direction.
        edges = responses.edge_peaks.reshape(*responses.edge_peaks.shape[:2], -1)
        groups = {
            name: group_networks(edges[:, t], **chosen)
            for t, name in enumerate(responses.cell_types)
        }
        comparison.write_groups(groups, network.names, folder)
    print(folder)
    return 0
