"""`stimopt check`: how far optima can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from stimopt.analysis.criteria import CRITERIA
from stimopt.analysis.trust import check_optima
from stimopt.commands.explain import clips_of, result_parser
from stimopt.networks.opening import NetworkSource
from stimopt.report.checks import check_table, item_table, write_checks
from stimopt.report.tables import print_table
from stimopt.results import fitted, read

TABLES = 3
"""Most optima for which every check is printed."""
FAILED = 1
"""Exit code if a check fails."""


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options."""
    text = "Check how far optima can be trusted; the exit code is 1 if a check fails."
    parser = result_parser("check", text, "logs/check")
    help_text = "other networks on the same connectome, each to be driven too"
    parser.add_argument("--others", type=list[str] | None, default=None, help=help_text)
    for criterion in CRITERIA:
        relation = "most" if criterion.at_most else "least"
        parser.add_argument(
            f"--thresholds.{criterion.name}",
            type=float,
            default=criterion.threshold,
            help=f"{criterion.measure}, at {relation}",
        )
    return parser


def run(arguments: Sequence[str]) -> int:
    """Check, write the files and print what fails; 1 if anything does."""
    config = parser().parse_args(list(arguments))
    found, source = read(config.result), NetworkSource(**vars(config.network))
    result = fitted(found)
    options = {**vars(config.network), "extent": result.extent, "lesions": None}
    checked = check_optima(
        found,
        source.open(result.protocol),
        clips=clips_of(config.clips, config.stores, result, vars(config.data)),
        others=[
            NetworkSource(**{**options, "path": path}).open(result.protocol)
            for path in config.others or []
        ],
        thresholds=vars(config.thresholds),
    )
    n_items = len(checked["label"])
    tables = [item_table(checked, i) for i in range(n_items)] if n_items <= TABLES else []
    for table in tables or [check_table(checked)]:
        print_table(table)
    for path in write_checks(checked, config.output):
        print(path)
    failing = n_items - int(checked["passed"].sum())
    print(f"{n_items - failing} of {n_items} optima pass every check that was made")
    return FAILED if failing else 0
