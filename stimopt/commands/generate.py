"""`stimopt generate`: the artificial optimum."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser

from stimopt.commands.fitting import FitCLI, Methods, fit_parser, print_files
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.efficient import EfficientGenerator, ResponseLadder
from stimopt.optimize.generate import RegionGenerator, StimulusGenerator
from stimopt.optimize.minimal import MinimalGenerator
from stimopt.optimize.varied import VariedGenerator
from stimopt.report.curves import write_ladders

METHODS: Methods = {
    "efficient": EfficientGenerator,
    "ladder": ResponseLadder,
    "varied": VariedGenerator,
    "minimal": MinimalGenerator,
    "ceiling": ResponseRange,
    "weighted": StimulusGenerator,
    "region": RegionGenerator,
}


def parser(arguments: Sequence[str] = ()) -> LightningArgumentParser:
    """The options, as far as the arguments decide which there are."""
    text = (
        "Find the stimulus nearest to grey that drives a cell type 90 % of the way to its ceiling."
    )
    return fit_parser("generate", text, METHODS, arguments)


def run(arguments: Sequence[str]) -> int:
    """Fit or resume, draw the ladder if it is one, and print the files."""
    result, output = FitCLI(parser(arguments), METHODS, arguments).run()
    if "fraction" in result.variables and len({*result["fraction"].tolist()}) > 1:
        write_ladders(output)
    print_files(result, output)
    return 0
