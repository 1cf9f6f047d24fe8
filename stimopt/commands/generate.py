"""`stimopt generate`: the artificial optimum."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser

from stimopt.commands.fitting import FitCLI, Methods, fit_parser, print_files
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.efficient import EfficientGenerator, ResponseLadder
from stimopt.optimize.generate import RegionGenerator, StimulusGenerator

METHODS: Methods = {
    "weighted": StimulusGenerator,
    "region": RegionGenerator,
    "ceiling": ResponseRange,
    "efficient": EfficientGenerator,
    "ladder": ResponseLadder,
}
STEPS = 200


def parser(arguments: Sequence[str] = ()) -> LightningArgumentParser:
    """The options, as far as the arguments decide which there are."""
    text = "Grow the stimulus that drives a cell type most, from noise."
    return fit_parser("generate", text, METHODS, STEPS, arguments)


def run(arguments: Sequence[str]) -> int:
    """Fit or resume, and print the files."""
    _, output = FitCLI(parser(arguments), METHODS, arguments).run()
    print_files(output)
    return 0
