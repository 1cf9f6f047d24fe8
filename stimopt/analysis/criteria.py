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
        low: smallest threshold that makes sense.
        high: largest one.
        reason: for the default.
        failing: what it means if the check fails.
    """

    name: str
    measure: str
    at_most: bool
    threshold: float
    low: float
    high: float
    reason: str
    failing: str

    def passes(self, figure: Floats, threshold: float) -> NDArray[np.bool_]:
        """Whether figures pass; NaN does not."""
        return np.asarray(figure <= threshold if self.at_most else figure >= threshold)


CRITERIA = (
    Criterion(
        *("reproduced", "largest difference of the response simulated again", True),
        *(TOLERANCE, 0.0, np.inf),
        "implementations sum in other orders, which moves a voltage of order 1 by 1e-6",
        "the result was altered, or the code has changed",
    ),
    Criterion(
        *("finite", "frames in which the response is no number", True),
        *(0.0, 0.0, np.inf),
        "no such frame can be read",
        "the simulation leaves the finite numbers; shorten protocol.dt",
    ),
    Criterion(
        *("settled", "drift in a second of grey after the pre-stimulus, part of the drive", True),
        *(0.02, 0.0, np.inf),
        "small against what the other checks let pass, as it enters all of them",
        "the cell moves without a stimulus; lengthen protocol.t_pre, or leave the network out",
    ),
    Criterion(
        *("level", "part of the level sought that is reached", False),
        *(0.999, 0.0, np.inf),
        "the level is a constraint, so that only rounding and the tolerance of a fit are left",
        "the stimulus is weaker than sought; take more steps",
    ),
    Criterion(
        *("optimality", "gain of the drive by a small step along the gradient", True),
        *(0.02, 0.0, np.inf),
        "a single step from grey leaves more to gain, a converged search less",
        "the search stopped early, at a point from which the response still rises; take more steps",
    ),
    Criterion(
        *("restarts", "spread over starts or seeds, part of the drive", True),
        *(0.05, 0.0, np.inf),
        "two starts then differ by less than what changes of the simulation do",
        "starts may end in different optima; follow all to their end by trial 0, or add steps",
    ),
    Criterion(
        *("half_dt", "change of the drive at half the step", True),
        *(0.2, 0.0, np.inf),
        "an error of first order halves with the step: twice this much is the whole error",
        "the stimulus is an optimum of the step rather than of the cell; shorten protocol.dt",
    ),
    Criterion(
        *("extent", "change of the drive on a lattice three rings larger", True),
        *(0.05, 0.0, np.inf),
        "missing surroundings then change a response by no more than starts may differ by",
        "the stimulus leans on the edge of the lattice; enlarge network.extent",
    ),
    Criterion(
        *("noise", "part of the drive left under luminance noise of 0.05", False),
        *(0.8, -np.inf, np.inf),
        "a display has such noise; the fraction of an efficient optimum is 0.9",
        "the response needs a precision that displays do not have",
    ),
    Criterion(
        *("one_column", "part of the drive left one column off, mean of six directions", False),
        *(-0.1, -np.inf, np.inf),
        "nothing is left for a cell of one column, but hardly any cell should be suppressed",
        "the stimulus suppresses the cell when it is misplaced; align it within a column",
    ),
    Criterion(
        *("missed_frame", "part of the drive left if the display misses a frame", False),
        *(0.5, -np.inf, np.inf),
        "half of the drive is still seen",
        "the response hangs on a single frame; the display must not miss it",
    ),
    Criterion(
        *("best_clip", "drive by the optimum over that by the best clip", False),
        *(0.9, -np.inf, np.inf),
        "a clip may lie between the usual level of an efficient optimum, 0.9, and the ceiling",
        "a clip drives the cell more, so this is no optimum; raise its level or the steps",
    ),
    Criterion(
        *("percentile", "percentile of the response among those to all clips", False),
        *(90.0, 0.0, 100.0),
        "as above: some clips may exceed the level of an efficient optimum",
        "many clips drive the cell more, so this is no optimum",
    ),
    Criterion(
        *(
            "other_networks",
            "drive in the others over that in its own, each relative to edges",
            False,
        ),
        *(0.5, -np.inf, np.inf),
        "half of what it does in its own network",
        "the stimulus is a property of this network rather than of the cell type",
    ),
    Criterion(
        *("paths", "largest cosine to the input currents under one of the best clips", False),
        *(0.5, -1.0, 1.0),
        "60 degrees, at which a quarter of the currents' power is shared",
        "the cell is driven through other inputs than natural clips use",
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
