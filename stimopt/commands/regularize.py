"""`stimopt regularize`: the regularized optimum."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser

from stimopt.commands.fitting import FitCLI, Methods, fit_parser, print_files
from stimopt.optimize.regularize import PenalizedRegularizer, StimulusRegularizer
from stimopt.report.curves import write_tradeoffs

METHODS: Methods = {"constrained": StimulusRegularizer, "penalized": PenalizedRegularizer}


def parser(arguments: Sequence[str] = ()) -> LightningArgumentParser:
    """The options, as far as the arguments decide which there are."""
    text = "Pull a stimulus to grey while the response stays."
    return fit_parser("regularize", text, METHODS, arguments)


def run(arguments: Sequence[str]) -> int:
    """Fit or resume, draw the trade-off of several tolerances, and print the files."""
    result, output = FitCLI(parser(arguments), METHODS, arguments).run()
    if "tolerance" in result.variables:
        write_tradeoffs(output)
    print_files(result, output)
    return 0
