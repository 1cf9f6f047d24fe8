"""Flashes and moving edges as flyvis renders them, for indices that compare with published ones.

They are those of Lappalainen et al., Nature 2024 (flyvis 1.2.0): frames of 5 ms; columns at 25 v to
the right and 25 (u + v/2) downward in a picture of 25 pixels a column, which stretches the lattice;
an edge that moves in steps of 2.25 degrees and starts as a step 22.5 degrees before the centre.
`edge_tuning` shows edges without these peculiarities.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.lattice import Floats, HexLattice
from stimopt.protocol import GREY, Protocol

PROTOCOL = Protocol(dt=1 / 200, t_pre=2.0)
"""A second of grey before the stimulus and one within it."""
ANGLES_DEG = 30.0 * np.arange(12)
INTENSITIES = (0.0, 1.0)
"""OFF, then ON: the order of the intensity axis."""
SPEEDS = (2.4, 4.8, 9.7, 13.0, 19.0, 25.0)
"""Columns a second."""
COLUMN_DEG, LED_DEG = 5.8, 2.25
FLASH_SECONDS, FLASH_RADIUS = 1.0, 6

_PIXELS, _WIDTH = 25, 775
"""Pixels a column, and across 180 degrees."""
_LEDS = np.arange(-10, 11)


def flash(
    lattice: HexLattice,
    intensity: float,
    radius: int = FLASH_RADIUS,
    on: int = PROTOCOL.frames(FLASH_SECONDS),
    off: int = 1,
) -> Floats:
    """A disc on grey; by default of radius 6 for a second, and the first frame of grey after it.

    Returns:
        Luminance, `(on + off, columns)`.
    """
    disc = np.abs([lattice.u, lattice.v, lattice.u + lattice.v]).max(axis=0) <= radius
    shown = np.full((on + off, lattice.n_columns), GREY)
    shown[:on, disc] = intensity
    return shown


def edge(lattice: HexLattice, angle_deg: float, intensity: float, speed: float) -> Floats:
    """A half plane that moves from 22.5 degrees before the centre to as many behind it.

    The frames are those of flyvis's window, 0 <= t <= t_stim: the last one is shown twice.

    Args:
        lattice: the columns.
        angle_deg: direction of motion, degrees; 0 right, 90 up.
        intensity: of the half plane, on grey.
        speed: columns of 5.8 degrees a second.

    Returns:
        Luminance, `(frames + 1, columns)`.

    Raises:
        ValueError: for a speed that is not positive.
    """
    positions = edge_positions(speed)
    return edge_pictures(lattice, angle_deg, intensity)[[*positions, positions[-1]]]


def edge_positions(speed: float) -> NDArray[np.int64]:
    """Which of the 21 positions each frame of a moving edge shows, `(frames,)`.

    Raises:
        ValueError: for a speed that is not positive.
    """
    expect.number("speed in columns a second", speed, "19 is usual", above=0)
    seconds = len(_LEDS) * LED_DEG / (COLUMN_DEG * speed)
    # flyvis cuts the duration to whole frames and rounds positions in float32.
    steps = np.linspace(0, len(_LEDS) - 1, int(seconds / PROTOCOL.dt), dtype=np.float32)
    return np.floor(steps).astype(np.int64)


@functools.lru_cache(maxsize=64)
def edge_pictures(lattice: HexLattice, angle_deg: float, intensity: float) -> Floats:
    """The edge at each of its 21 positions, `(21, columns)`.

    A column averages the pixels of its hexagon. flyvis turns the picture with linear interpolation
    and stores it in whole grey values, so that grey is 127/255; at angle 0 it leaves it as it is.
    """
    column, right, down = _pixels(lattice)
    fronts = np.trunc(_WIDTH * np.radians(LED_DEG * _LEDS) / np.pi) + 1
    if angle_deg == 0:
        values = [np.where(right <= front, intensity, GREY) for front in fronts]
    else:
        angle = np.radians(angle_deg)
        along = np.cos(angle) * right - np.sin(angle) * down
        grey, other = int(255 * GREY), 255 * intensity
        behind = [np.clip(front + 1 - along, 0, 1) for front in fronts]
        # The margin covers the rounding of sine and cosine.
        values = [np.floor(grey + (other - grey) * part + 1e-6) / 255 for part in behind]
    means = [np.bincount(column, value) for value in values] / np.bincount(column)
    return np.asarray(means)


@functools.lru_cache(maxsize=4)
def _pixels(lattice: HexLattice) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Column that each pixel of a picture belongs to, and its place to the right and downward."""
    x, y = _PIXELS * lattice.v[:, None, None], _PIXELS * (lattice.u + lattice.v / 2)[:, None, None]
    offset = np.arange(-_PIXELS, _PIXELS + 1)
    right, down = np.broadcast_arrays(x + offset[:, None], np.floor(y) + offset)
    dx, dy = np.abs(right - x), np.abs(down - y)
    # Hexagons with horizontal sides above and below, as far apart as the columns.
    inside = (2 * dy < _PIXELS) & (np.sqrt(3) * dx + dy < _PIXELS)
    edge_of_picture = _PIXELS * lattice.extent + _PIXELS // 2
    inside &= (np.abs(right) <= edge_of_picture) & (np.abs(down) <= edge_of_picture)
    return np.nonzero(inside)[0], right[inside].astype(np.float64), down[inside]
