"""`stimopt generate`."""

from __future__ import annotations

from stimopt.commands.fit import run_fit
from stimopt.optimize.generate import StimulusGenerator


def run(arguments: list[str]) -> int:
    """Grow stimuli from noise."""
    return run_fit(StimulusGenerator, "generate", arguments)
