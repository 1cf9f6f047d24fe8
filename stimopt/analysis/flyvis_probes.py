"""flyvis's flashes and moving edges, and its indices of the responses to them.

They are those of Lappalainen et al., Nature 2024 (flyvis 1.2.0), to compare with published numbers:
frames of 5 ms; columns at 25 v to the right and 25 (u + v/2) downward in a picture of 25 pixels a
column, which stretches the lattice; an edge that moves in steps of 2.25 degrees and starts as a
step 22.5 degrees before the centre. Indices are of voltages as they are, without a baseline.

`edge_tuning` shows edges without these peculiarities, and `indices` has the indices of stimopt,
which are relative to grey and have a denominator of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.analysis.edge_tuning import EDGE_SPEEDS, edge_peaks, responses_to
from stimopt.analysis.indices import direction_tuning
from stimopt.items import ALL, choose_cell_types, choose_networks
from stimopt.lattice import DEGREES_PER_COLUMN, Floats, HexLattice
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY, Protocol

PROTOCOL = Protocol(dt=1 / 200, t_pre=2.0)
"""A second of grey before the stimulus and one within it."""
ANGLES_DEG = 30.0 * np.arange(12)
INTENSITIES = (0.0, 1.0)
"""OFF, then ON: the order of the intensity axis."""
LED_DEG = 2.25
FLASH_SECONDS, FLASH_RADIUS = 1.0, 6

_PIXELS, _WIDTH = 25, 775
"""Pixels a column, and across 180 degrees."""
_LEDS = np.arange(-10, 11)


@dataclass(frozen=True)
class ProbeResponses:
    """Responses of central cells to flyvis's flashes and moving edges.

    Attributes:
        cell_types: names along the type axis.
        network_names: names along the network axis.
        speeds: columns a second, `(speeds,)`.
        flash_traces: voltage, `(networks, types, 2, frames)`, OFF then ON.
        edge_peaks: rectified peak voltage, `(networks, types, 2, speeds, 12)`, OFF then ON. NaN in
            both stands for a network whose voltages leave the finite numbers.
    """

    cell_types: tuple[str, ...]
    network_names: tuple[str, ...]
    speeds: Floats
    flash_traces: Floats
    edge_peaks: Floats

    @property
    def flash_index(self) -> Floats:
        """(ON - OFF) / (ON + OFF) of the peaks, in [-1, 1], `(networks, types)`.

        All voltages were raised by |their minimum| over both flashes. Where it is positive, they
        are raised all the same.
        """
        lowest = np.abs(self.flash_traces.min(axis=(-2, -1)))
        off, on = np.moveaxis(self.flash_traces.max(axis=-1) + lowest[..., None], -1, 0)
        return np.asarray((on - off) / (on + off + 1e-16))

    @property
    def direction_selectivity(self) -> Floats:
        """|sum P e^(i angle)| over the larger sum P of both intensities, averaged over speeds.

        P are the peaks. In [0, 1], `(networks, types, 2)`.
        """
        vector = (self.edge_peaks * np.exp(1j * np.radians(ANGLES_DEG))).sum(axis=-1)
        larger = self.edge_peaks.sum(axis=-1).max(axis=-2, keepdims=True)
        return np.asarray((np.abs(vector) / (larger + 1e-15)).mean(axis=-1))

    @property
    def preferred_direction_deg(self) -> Floats:
        """Angle of sum P e^(i angle), over speeds too, in [0, 360), `(networks, types, 2)`.

        NaN where all directions are alike, for which flyvis has 0 or the angle of rounding errors.
        """
        pooled = self.edge_peaks.sum(axis=-2)
        direction, selectivity = direction_tuning(pooled, ANGLES_DEG)
        return np.where(selectivity > 1e-6, direction, np.nan)


def probe_responses(
    network: ResponseModel,
    cell_types: str | Sequence[str] = ALL,
    *,
    speeds: Sequence[float] = EDGE_SPEEDS,
    networks: str | Sequence[int] = ALL,
) -> ProbeResponses:
    """Show flyvis's flashes and moving edges.

    Example:
        >>> from stimopt import builtin_network
        >>> responses = probe_responses(builtin_network(extent=6), "Mi1,Tm1", speeds=[19.0])
        >>> (responses.flash_index[0] > 0).tolist()
        [True, False]

    Args:
        network: simulated; flyvis's has extent 15, and a smaller lattice cuts the edges off.
        cell_types: a name, several, several with commas between, or `all`.
        speeds: columns of 5.8 degrees a second.
        networks: positions of the networks to be used, or `all`.

    Raises:
        ValueError: for an unknown cell type or network, or a speed out of range.
    """
    names, which = choose_cell_types(network, cell_types), choose_networks(network, networks)
    lattice, protocol, shades = network.lattice, PROTOCOL, INTENSITIES
    flashes = [flash(lattice, shade) for shade in shades]

    def edges(speed: float) -> Floats:
        return np.stack([edge(lattice, a, shade, speed) for shade in shades for a in ANGLES_DEG])

    peaks = edge_peaks(network, edges, speeds, names, protocol, which, "absolute")
    traces = responses_to(network, flashes, names, protocol, which, "absolute")
    network_names = tuple(network.names[position] for position in which)
    shown_at = np.array(speeds, dtype=np.float64)
    return ProbeResponses(tuple(names), network_names, shown_at, traces, np.maximum(peaks, 0))


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
    shown = np.full((on + off, lattice.n_columns), GREY)
    shown[:on, lattice.ring <= radius] = intensity
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
    seconds = len(_LEDS) * LED_DEG / (DEGREES_PER_COLUMN * speed)
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
    return np.asarray([np.bincount(column, value) for value in values] / np.bincount(column))


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
