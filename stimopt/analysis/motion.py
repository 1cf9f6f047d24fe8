"""Direction of motion in a stimulus, and whether brightening or darkening moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.analysis.central_response import checked_stimulus
from stimopt.analysis.indices import opponent_index
from stimopt.lattice import Floats, HexLattice
from stimopt.protocol import GREY, Protocol

MOTION_SECONDS = 0.2
"""Window before the peak; earlier frames no longer show in the trained networks' responses."""
MOTION_DELAY = 0.1
"""Longest delay of a correlation in seconds: two columns at 20 columns a second, one at 10."""
RECEPTIVE_FIELD = 2.0
"""Standard deviation in columns; dendrites of T4 and T5 span about two columns."""
_OFFSETS = ((1, 0), (0, 1), (1, -1), (2, 0), (0, 2), (2, -2), (1, 1), (2, -1), (1, -2))
"""One of each pair of opposite offsets (du, dv) to columns one or two steps away."""


@dataclass(frozen=True)
class StimulusMotion:
    """Motion in a stimulus as vectors (right, up); their lengths have no unit.

    Attributes:
        vector: motion of contrast, whatever its sign, `(2,)`.
        on: motion of brightening, `(2,)`.
        off: motion of darkening, `(2,)`.
    """

    vector: Floats
    on: Floats
    off: Floats

    @property
    def direction_deg(self) -> float:
        """Direction of motion in [0, 360); NaN if nothing moves."""
        x, y = self.vector
        return float(np.degrees(np.arctan2(y, x)) % 360) if x or y else float("nan")

    @property
    def polarity_index(self) -> float:
        """(ON - OFF) / (ON + OFF) of the lengths; NaN where neither moves."""
        return float(opponent_index(np.linalg.norm(self.on), np.linalg.norm(self.off)))


def stimulus_motion(
    stimulus: ArrayLike,
    lattice: HexLattice,
    protocol: Protocol,
    *,
    last_frame: int = -1,
    seconds: float = MOTION_SECONDS,
    radius: float = RECEPTIVE_FIELD,
) -> StimulusMotion:
    """Direction of motion around the centre, up to a frame, by opponent correlation.

    With c = luminance - grey, every pair of columns a, b at most two apart adds its direction times
    sum_t c_a(t - delay) c_b(t) - c_b(t - delay) c_a(t), over delays up to `MOTION_DELAY`
    (Hassenstein and Reichardt, Z Naturforsch 1956, on all axes of the lattice). Stationary pictures
    and flicker without motion cancel; time reversal inverts the vector, and contrast inversion does
    not change it. For ON and OFF, c is the rise or the fall of luminance from frame to frame.

    Least-squares optical flow was rejected: it fails on the sharp edges of binary columns.

    Args:
        stimulus: luminance, `(frames, columns)`.
        lattice: the columns.
        protocol: duration of a frame.
        last_frame: the last frame used, such as that of the peak; negative ones count from the end.
        seconds: how far back to go.
        radius: standard deviation of the Gaussian weight around the centre, in columns.

    Raises:
        ValueError: if the stimulus does not fit the lattice or is not finite, or the frame is out
            of range.
    """
    luminance = checked_stimulus(stimulus, lattice)
    frames = len(luminance)
    advice = "-1 is the last"
    expect.whole("last_frame", last_frame, advice, at_least=-frames, at_most=frames - 1)
    stop = last_frame % frames + 1
    start = max(0, stop - protocol.frames(seconds))
    contrast = luminance - GREY
    # The stimulus follows grey, so its first frame is a change too.
    change = np.diff(contrast, axis=0, prepend=0.0)[start:stop]
    weight = np.exp(-(lattice.positions() ** 2).sum(axis=1) / (2 * radius**2))
    delays = range(1, protocol.frames(MOTION_DELAY) + 1)
    return StimulusMotion(
        vector=_opponent(contrast[start:stop], lattice, weight, delays),
        on=_opponent(np.maximum(change, 0), lattice, weight, delays),
        off=_opponent(np.maximum(-change, 0), lattice, weight, delays),
    )


def _opponent(signal: Floats, lattice: HexLattice, weight: Floats, delays: range) -> Floats:
    """Sum over pairs of columns of direction times opponent correlation, `(2,)`."""
    place = lattice.positions()
    total, magnitude = np.zeros(2), 0.0
    for du, dv in _OFFSETS:
        b = lattice.index(lattice.u + du, lattice.v + dv)
        a = np.flatnonzero(b >= 0)
        if not len(a):
            continue
        b = b[a]
        step = place[b[0]] - place[a[0]]
        left, right = signal[:, a], signal[:, b]
        both = np.sqrt(weight[a] * weight[b])
        for delay in delays:
            there = (left[:-delay] * right[delay:]).sum(axis=0)
            back = (right[:-delay] * left[delay:]).sum(axis=0)
            total += step / np.linalg.norm(step) * (both @ (there - back))
            magnitude += both @ np.abs(there)
    # A remainder of terms that cancel is rounding, not motion.
    return total if np.linalg.norm(total) > 1e-9 * magnitude else np.zeros(2)
