"""Which part of a stimulus and its response is drawn, and against what: arrays alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stimopt.lattice import HexLattice
from stimopt.plotting.hexagons import drawn_columns
from stimopt.plotting.style import RESPONSE_LABEL
from stimopt.protocol import Protocol

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def checked_pair(
    stimulus: ArrayLike, response: ArrayLike, lattice: HexLattice
) -> tuple[Floats, Floats]:
    """Both as float64 `(frames, columns)`.

    Raises:
        ValueError: if they do not fit each other or the lattice, or the stimulus is not finite.
    """
    stimulus = np.asarray(stimulus, dtype=np.float64)
    response = np.asarray(response, dtype=np.float64)
    for name, array in (("stimulus", stimulus), ("response", response)):
        if array.ndim != 2 or array.shape[1] != lattice.n_columns or len(array) == 0:
            raise ValueError(
                f"expected a {name} of shape (frames, {lattice.n_columns}) for a lattice of extent "
                f"{lattice.extent}, got {array.shape}; give one item and that item's lattice"
            )
    if len(stimulus) != len(response):
        raise ValueError(
            f"expected as many frames of response as of stimulus, got {len(response)} and "
            f"{len(stimulus)}; cut both to the same stretch"
        )
    if not np.isfinite(stimulus).all():
        raise ValueError(
            f"expected a finite stimulus, got {np.count_nonzero(~np.isfinite(stimulus))} values "
            "that are not; cut the frames off that were not shown"
        )
    return stimulus, response


def find_peak(central: Floats, given: int | None = None) -> int:
    """Frame of the largest central response `(frames,)`, or the given one once it is checked.

    Raises:
        ValueError: if there is no number among the responses, or the given frame is not theirs.
    """
    if given is not None:
        if not 0 <= given < len(central):
            raise ValueError(
                f"expected peak_frame within the {len(central)} frames, got {given}; count from 0"
            )
        return int(given)
    if np.isnan(central).all():
        raise ValueError(
            "expected a response of the central column, got only NaN; this type has no cell there, "
            "or the simulation left the finite numbers"
        )
    return int(np.nanargmax(central))


def strip_frames(peak_frame: int, dt: float, seconds: float, n_strips: int) -> Ints:
    """At most `n_strips` frames, evenly spaced over the last `seconds`, the last at the peak.

    Those before onset are left out, so that an early peak gives fewer frames at the same spacing.

    Raises:
        ValueError: if `seconds` holds no frame or `n_strips` is not positive.
    """
    window = Protocol(dt=dt).frames(seconds)
    if window < 1 or n_strips < 1:
        raise ValueError(
            f"expected at least one frame of {dt} s and one strip, got {seconds} s and {n_strips} "
            "strips; take a longer stretch"
        )
    spacing = -(-window // n_strips)
    first = max(-1, peak_frame - window)
    return np.arange(peak_frame, first, -spacing, dtype=np.int64)[::-1]


def baseline_values(response: Floats, baseline: bool | ArrayLike, lattice: HexLattice) -> Floats:
    """What to take off the response `(frames, columns)`, as `(columns,)`.

    Raises:
        ValueError: if given values are neither one number nor one per column.
    """
    if isinstance(baseline, (bool, np.bool_)):
        return response[0] if baseline else np.zeros(lattice.n_columns)
    values = np.asarray(baseline, dtype=np.float64)
    if values.shape not in ((), (lattice.n_columns,)):
        raise ValueError(
            f"expected a baseline of one number or of shape ({lattice.n_columns},), got "
            f"{values.shape}; give one value per column, True or False"
        )
    return np.broadcast_to(values, (lattice.n_columns,))


def symmetric_limit(response: Floats, lattice: HexLattice, max_extent: int | None) -> float:
    """Largest finite magnitude in the drawn columns; 1 for none, as a scale needs some width."""
    values = response[:, drawn_columns(lattice, max_extent)]
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    return largest if largest > 0 else 1.0


def response_label(baseline: bool | ArrayLike) -> str:
    """Name and unit of the response, with a delta where a baseline is taken off."""
    absolute = isinstance(baseline, (bool, np.bool_)) and not baseline
    return RESPONSE_LABEL if absolute else f"\N{INCREMENT} {RESPONSE_LABEL}"
