"""`stimopt generate`: the artificial optimum."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from stimopt.commands.fitting import Methods, fit_parser, print_files, run_fit
from stimopt.optimize.generate import StimulusGenerator

METHODS: Methods = {"weighted": StimulusGenerator}
STEPS = 200


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options, as far as the arguments decide which there are."""
    text = "Grow the stimulus that drives a cell type most, from noise."
    return fit_parser("generate", text, METHODS, STEPS, arguments)


def run(arguments: Sequence[str]) -> int:
    """Fit or resume, and print the files."""
    _, output = run_fit(parser(arguments), METHODS, arguments)
    print_files(output)
    return 0
