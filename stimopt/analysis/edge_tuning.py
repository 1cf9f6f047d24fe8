"""Moving edges, and the tuning of cells to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stimopt import expect
from stimopt.analysis.central_response import central_traces
from stimopt.analysis.indices import direction_tuning, opponent_index
from stimopt.items import ALL, choose_cell_types, choose_networks
from stimopt.lattice import Floats, HexLattice
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY, Protocol

EDGE_SPEEDS = (2.4, 4.8, 9.7, 13.0, 19.0, 25.0)
"""Columns a second; the speeds of the edges in Lappalainen et al., Nature 2024."""
POLARITIES = (1, -1)
"""ON (to white), then OFF (to black): the order of the polarity axis."""
SETTLING = 0.3
"""Seconds shown after an edge has left, for late responses; the slowest time constants of the
trained networks are near 0.1 s."""


def moving_edge(
    lattice: HexLattice,
    angle_deg: float,
    polarity: int,
    speed: float,
    protocol: Protocol,
    *,
    settling: float = SETTLING,
) -> Floats:
    """An edge that sweeps over the whole lattice and leaves white or black behind.

    It starts outside the lattice, so that the first frame is grey. Each column switches in the
    frame in which the front reaches its centre.

    Args:
        lattice: the columns.
        angle_deg: direction of motion, degrees; 0 right, 90 up.
        polarity: 1 for ON (grey to 1), -1 for OFF (grey to 0).
        speed: columns a second.
        protocol: duration of a frame.
        settling: seconds shown after the front has left the lattice.

    Returns:
        Luminance in [0, 1], `(frames, columns)`.

    Raises:
        ValueError: for a polarity other than 1 and -1, a speed that is not positive, an angle that
            is not finite, or a negative settling time.
    """
    expect.one_of("polarity", polarity, POLARITIES, "1 is ON, -1 is OFF")
    expect.number("speed in columns a second", speed, "19 is usual", above=0)
    expect.number("angle in degrees", angle_deg, "90 is upward")
    expect.number("settling in seconds", settling, f"{SETTLING} is usual", at_least=0)
    # Unlike the edges of `movies.procedural`, which fade over the width of a column and start at a
    # fixed distance, these switch a column at once and fit the lattice: in no direction does a
    # column lie further from the centre than the extent.
    reach = lattice.extent + 1
    lead = protocol.frames(reach / speed)
    front = speed * protocol.dt * np.arange(-lead, lead + 1 + protocol.frames(settling))
    angle = np.radians(angle_deg)
    along = lattice.positions() @ [np.cos(angle), np.sin(angle)]
    # A column on the front counts as reached; the margin covers the rounding of sine and cosine.
    reached = along <= front[:, None] + 1e-9
    return np.where(reached, 1.0 if polarity > 0 else 0.0, GREY)


def moving_edges(
    lattice: HexLattice, angles_deg: ArrayLike, speed: float, protocol: Protocol
) -> Floats:
    """ON edges in all directions, then OFF edges, `(2 * angles, frames, columns)`."""
    return np.stack(
        [
            moving_edge(lattice, angle, polarity, speed, protocol)
            for polarity in POLARITIES
            for angle in np.asarray(angles_deg)
        ]
    )


@dataclass(frozen=True)
class EdgeTuning:
    """Responses of central cells to moving edges, and indices computed from them.

    Indices are `(networks, types)`. Direction tuning is computed at each cell's better polarity,
    from responses summed over the speeds; `at_speed` restricts it to one speed.

    Attributes:
        cell_types: names along the type axis.
        network_names: names along the network axis.
        angles_deg: directions of motion, `(angles,)`.
        speeds: columns a second, `(speeds,)`.
        responses: peak voltage above grey, `(networks, types, polarities, speeds, angles)`;
            polarity 0 is ON, 1 is OFF.
    """

    cell_types: tuple[str, ...]
    network_names: tuple[str, ...]
    angles_deg: Floats
    speeds: Floats
    responses: Floats

    def at_speed(self, speed: float) -> EdgeTuning:
        """The tuning at one of the speeds.

        Raises:
            ValueError: for a speed that was not shown.
        """
        which = np.flatnonzero(np.isclose(self.speeds, speed))
        speeds = self.speeds.tolist()
        expect.that(len(which) > 0, f"a speed of {speeds}", speed, "choose one of them")
        return dataclasses.replace(
            self, speeds=self.speeds[which], responses=self.responses[:, :, :, which]
        )

    @property
    def polarity_peaks(self) -> Floats:
        """Response to the best ON and the best OFF edge, `(networks, types, 2)`."""
        return np.asarray(self.responses.max(axis=(3, 4)))

    @property
    def polarity(self) -> NDArray[np.int64]:
        """1 where the best edge is ON, -1 where it is OFF."""
        best: NDArray[np.int64] = np.asarray(POLARITIES)[self.polarity_peaks.argmax(axis=2)]
        return best

    @property
    def polarity_index(self) -> Floats:
        """(ON - OFF) / (ON + OFF) of the best edges; NaN for a cell that no edge excites."""
        return opponent_index(*np.moveaxis(self.polarity_peaks, 2, 0))

    @property
    def direction_responses(self) -> Floats:
        """Responses summed over speeds at the better polarity, `(networks, types, angles)`."""
        better = self.polarity_peaks.argmax(axis=2)[:, :, None, None, None]
        chosen = np.take_along_axis(self.responses, better, axis=2)[:, :, 0]
        return np.asarray(np.maximum(chosen, 0).sum(axis=2))

    @property
    def preferred_direction_deg(self) -> Floats:
        """Angle of the vector average, in [0, 360); NaN for a cell that no edge excites."""
        return direction_tuning(self.direction_responses, self.angles_deg)[0]

    @property
    def direction_selectivity(self) -> Floats:
        """|sum r e^(i angle)| / sum r, in [0, 1]; NaN for a cell that no edge excites."""
        return direction_tuning(self.direction_responses, self.angles_deg)[1]

    @property
    def best_response(self) -> Floats:
        """Response to the best edge of all."""
        return np.asarray(self.responses.max(axis=(2, 3, 4)))

    @property
    def best_edge(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Polarity, speed and angle of the best edge."""
        flat = self.responses.reshape(*self.responses.shape[:2], -1).argmax(axis=2)
        polarity, speed, angle = np.unravel_index(flat, self.responses.shape[2:])
        return np.asarray(POLARITIES)[polarity], self.speeds[speed], self.angles_deg[angle]


def edge_tuning(
    network: ResponseModel,
    cell_types: str | Sequence[str],
    protocol: Protocol | None = None,
    *,
    angles: int = 12,
    speeds: Sequence[float] = EDGE_SPEEDS,
    networks: str | Sequence[int] = ALL,
) -> EdgeTuning:
    """Measure responses to ON and OFF edges in all directions and at several speeds.

    Example:
        >>> from stimopt import builtin_network
        >>> tuning = edge_tuning(builtin_network(extent=4), "T4c", speeds=[19.0])
        >>> int(tuning.polarity[0, 0]), round(float(tuning.preferred_direction_deg[0, 0]))
        (1, 90)

    Args:
        network: simulated.
        cell_types: a name, several, several with commas between, or `all`.
        protocol: pre-stimulus and duration of a frame; its baseline is not used.
        angles: number of directions, evenly spaced from 0.
        speeds: columns a second.
        networks: positions of the networks to be used, or `all`.

    Raises:
        ValueError: for an unknown cell type or network, or a speed or number of directions out of
            range.
    """
    protocol = Protocol() if protocol is None else protocol
    names = choose_cell_types(network, cell_types)
    which = choose_networks(network, networks)
    expect.that(
        bool(names) and bool(which) and len(speeds) > 0 and angles >= 1,
        "at least one cell type, network, speed and direction",
        f"{names}, {which}, {list(speeds)} and {angles}",
        "name some",
    )
    angles_deg = np.arange(angles) * 360.0 / angles
    peaks = np.empty((len(which), len(names), len(POLARITIES), len(speeds), angles))
    for s, speed in enumerate(speeds):
        edges = moving_edges(network.lattice, angles_deg, speed, protocol)
        shown = torch.as_tensor(edges, dtype=torch.float32)
        for n, position in enumerate(which):
            highest = central_traces(network, shown, names, protocol, position).max(axis=1)
            peaks[n, :, :, s] = highest.T.reshape(len(names), len(POLARITIES), angles)
    return EdgeTuning(
        cell_types=tuple(names),
        network_names=tuple(network.names[position] for position in which),
        angles_deg=angles_deg,
        speeds=np.asarray(speeds, dtype=np.float64),
        responses=peaks,
    )
