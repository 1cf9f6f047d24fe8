"""Indices of tuning: vector averages, opponent indices, angles between directions, percentiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stimopt import expect
from stimopt.lattice import Floats

SELECTIVE_FROM = 0.2
"""Direction selectivity index above which a cell counts as direction-selective."""


def direction_tuning(responses: ArrayLike, angles_deg: ArrayLike) -> tuple[Floats, Floats]:
    """Preferred direction and direction selectivity of responses over the last axis.

    Args:
        responses: `(..., angles)`; negative ones count as zero.
        angles_deg: directions, evenly spaced, `(angles,)`.

    Returns:
        Angle of sum r e^(i angle) in [0, 360) and |sum r e^(i angle)| / sum r, `(...)` each; NaN
        where no response is positive.

    Raises:
        ValueError: unless there is an angle for each response.
    """
    r = np.maximum(np.asarray(responses, dtype=np.float64), 0)
    angles = np.asarray(angles_deg, dtype=np.float64)
    expect.shape("angles_deg (angles)", angles, r.shape[-1:], "give one for each response")
    vector = (r * np.exp(1j * np.radians(angles))).sum(axis=-1)
    selectivity = _ratio(np.abs(vector), r.sum(axis=-1))
    direction = np.where(np.isnan(selectivity), np.nan, np.angle(vector, deg=True) % 360)
    return direction, selectivity


def opponent_index(a: ArrayLike, b: ArrayLike) -> Floats:
    """(a - b) / (a + b) of responses, negative ones counted as zero; NaN where none is positive."""
    a = np.maximum(np.asarray(a, dtype=np.float64), 0)
    b = np.maximum(np.asarray(b, dtype=np.float64), 0)
    return _ratio(a - b, a + b)


def angle_between(a_deg: ArrayLike, b_deg: ArrayLike) -> Floats:
    """Smallest angle between directions, in [0, 180] degrees."""
    turn = np.asarray(a_deg, dtype=np.float64) - np.asarray(b_deg, dtype=np.float64)
    return np.abs((turn + 180) % 360 - 180)


def percentile_of(response: float, responses: ArrayLike) -> float:
    """Percentage of responses below a response; equal ones count half (midrank).

    Raises:
        ValueError: if there are none, or some are not finite.
    """
    others = np.asarray(responses, dtype=np.float64).ravel()
    expect.that(len(others) > 0, "at least one response", "none", "pass those to compare with")
    expect.finite("responses", others, "leave the others out")
    return float(100 * ((others < response).mean() + 0.5 * (others == response).mean()))


def finite_mean(values: ArrayLike, axis: int = -1) -> Floats:
    """Mean over an axis of what is finite; NaN where nothing is."""
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    total: Floats = np.asarray(np.where(finite, values, 0).sum(axis=axis))
    return _ratio(total, finite.sum(axis=axis))


class MeanInterval(NamedTuple):
    """A mean, and the ends of its 95 % interval."""

    mean: Floats
    low: Floats
    high: Floats


def mean_interval(values: ArrayLike, seed: int = 0, draws: int = 2000) -> MeanInterval:
    """Mean over the first axis, and its 95 % interval from drawing the members of that anew.

    Raises:
        ValueError: without a member.
    """
    each = np.asarray(values, dtype=np.float64)
    expect.that(len(each) > 0, "at least one value for a mean", "none", "pass some")
    drawn = np.random.default_rng(seed).integers(0, len(each), (draws, len(each)))
    low, high = np.quantile(each[drawn].mean(axis=1), [0.025, 0.975], axis=0)
    return MeanInterval(each.mean(axis=0), low, high)


def _ratio(part: Floats, whole: NDArray[Any]) -> Floats:
    """Part / whole; NaN where whole is zero."""
    return np.asarray(np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0))
