"""The criteria of a good optimum: every check, its threshold, and what failing it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.lattice import Floats
from stimopt.results.result import TOLERANCE


class Criterion(NamedTuple):
    """One check.

    Args:
        name: of its column, and of the option that sets the threshold.
        measure: what its figure is. All parts are of the drive, the way from the response at grey
            to the peak.
        at_most: whether the figure must not exceed the threshold, or must reach it.
        threshold: default.
        reason: for the default.
        failing: what it means if the check fails.
        low: smallest threshold that makes sense.
        high: largest one.
    """

    name: str
    measure: str
    at_most: bool
    threshold: float
    reason: str
    failing: str
    low: float = 0.0
    high: float = np.inf

    def passes(self, figure: Floats, threshold: float) -> NDArray[np.bool_]:
        """Whether figures pass; NaN does not."""
        return np.asarray(figure <= threshold if self.at_most else figure >= threshold)


CRITERIA = (
    Criterion(
        name="reproduced",
        measure="largest difference of the response simulated again",
        at_most=True,
        threshold=TOLERANCE,
        reason="implementations sum in other orders, which moves a voltage of order 1 by 1e-6",
        failing="the result was altered, or the code has changed",
    ),
    Criterion(
        name="finite",
        measure="frames in which the response is no number",
        at_most=True,
        threshold=0.0,
        reason="no such frame can be read",
        failing="the simulation leaves the finite numbers; shorten protocol.dt",
    ),
    Criterion(
        name="settled",
        measure="drift in a second of grey after the pre-stimulus, part of the drive",
        at_most=True,
        threshold=0.02,
        reason="small against what the other checks let pass, as it enters all of them",
        failing="the cell moves without a stimulus; "
        "lengthen protocol.t_pre, or leave the network out",
    ),
    Criterion(
        name="level",
        measure="part of the level sought that is reached",
        at_most=False,
        threshold=0.999,
        reason="the level is a constraint, so that only rounding and the tolerance of a fit "
        "are left",
        failing="the stimulus is weaker than sought; take more steps",
    ),
    Criterion(
        name="optimality",
        measure="gain of the drive by a small step along the gradient",
        at_most=True,
        threshold=0.02,
        reason="a single step from grey leaves more to gain, a converged search less",
        failing="the search stopped early, at a point from which the response still rises; "
        "take more steps",
    ),
    Criterion(
        name="restarts",
        measure="spread over starts or seeds, part of the drive",
        at_most=True,
        threshold=0.05,
        reason="two starts then differ by less than what changes of the simulation do",
        failing="starts may end in different optima; seek it from several seeds, or add steps",
    ),
    Criterion(
        name="half_dt",
        measure="change of the drive at half the step",
        at_most=True,
        threshold=0.2,
        reason="an error of first order halves with the step: twice this much is the whole error",
        failing="the stimulus is an optimum of the step rather than of the cell; "
        "shorten protocol.dt",
    ),
    Criterion(
        name="extent",
        measure="change of the drive on a lattice three rings larger",
        at_most=True,
        threshold=0.05,
        reason="missing surroundings then change a response by no more than starts may differ by",
        failing="the stimulus leans on the edge of the lattice; enlarge network.extent",
    ),
    Criterion(
        name="noise",
        measure="part of the drive left under luminance noise of 0.05",
        at_most=False,
        threshold=0.8,
        reason="a display has such noise; the fraction of an efficient optimum is 0.9",
        failing="the response needs a precision that displays do not have",
        low=-np.inf,
    ),
    Criterion(
        name="one_column",
        measure="part of the drive left one column off, mean of six directions",
        at_most=False,
        threshold=-0.1,
        reason="nothing is left for a cell of one column, but hardly any cell should be suppressed",
        failing="the stimulus suppresses the cell when it is misplaced; align it within a column",
        low=-np.inf,
    ),
    Criterion(
        name="missed_frame",
        measure="part of the drive left if the display misses a frame",
        at_most=False,
        threshold=0.5,
        reason="half of the drive is still seen",
        failing="the response hangs on a single frame; the display must not miss it",
        low=-np.inf,
    ),
    Criterion(
        name="best_clip",
        measure="drive by the optimum over that by the best clip",
        at_most=False,
        threshold=0.9,
        reason="a clip may lie between the usual level of an efficient optimum, 0.9, and the "
        "ceiling",
        failing="a clip drives the cell more, so this is no optimum; raise its level or the steps",
        low=-np.inf,
    ),
    Criterion(
        name="percentile",
        measure="percentile of the response among those to all clips",
        at_most=False,
        threshold=90.0,
        reason="as above: some clips may exceed the level of an efficient optimum",
        failing="many clips drive the cell more, so this is no optimum",
        high=100.0,
    ),
    Criterion(
        name="other_networks",
        measure="drive in the others over that in its own, each relative to edges",
        at_most=False,
        threshold=0.5,
        reason="half of what it does in its own network",
        failing="the stimulus is a property of this network rather than of the cell type",
        low=-np.inf,
    ),
    Criterion(
        name="paths",
        measure="largest cosine to the input currents under one of the best clips",
        at_most=False,
        threshold=0.5,
        reason="60 degrees, at which a quarter of the currents' power is shared",
        failing="the cell is driven through other inputs than natural clips use",
        low=-1.0,
        high=1.0,
    ),
)
"""All checks, in the order in which they are done and shown."""


def checked_thresholds(changed: Mapping[str, float]) -> dict[str, float]:
    """The threshold of every criterion by name.

    Raises:
        ValueError: for an unknown name, or a threshold out of range.
    """
    limits = {criterion.name: criterion.threshold for criterion in CRITERIA}
    for name, value in changed.items():
        expect.one_of("a check", name, limits)
        (criterion,) = (each for each in CRITERIA if each.name == name)
        expect.number(
            f"threshold of {name}",
            value,
            f"{criterion.threshold:g} is usual",
            at_least=criterion.low if np.isfinite(criterion.low) else None,
            at_most=criterion.high if np.isfinite(criterion.high) else None,
        )
    return limits | {name: float(value) for name, value in changed.items()}
