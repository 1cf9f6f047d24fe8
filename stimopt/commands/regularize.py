"""`stimopt regularize`."""

from __future__ import annotations

from stimopt.commands.fit import run_fit
from stimopt.optimize.regularize import StimulusRegularizer
from stimopt.report.tradeoff import write_tradeoffs


def run(arguments: list[str]) -> int:
    """Pull stimuli to grey while their responses stay."""
    return run_fit(StimulusRegularizer, "regularize", arguments, write_tradeoffs)
