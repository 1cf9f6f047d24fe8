"""Moving edges, the tuning of cells to them, and responses to stimuli of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

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
    lattice: HexLattice, angle_deg: float, polarity: int, speed: float, protocol: Protocol
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

    Returns:
        Luminance in [0, 1], `(frames, columns)`.

    Raises:
        ValueError: for a polarity other than 1 and -1, a speed that is not positive, or an angle
            that is not finite.
    """
    expect.one_of("polarity", polarity, POLARITIES, "1 is ON, -1 is OFF")
    both = moving_edges(lattice, [angle_deg], speed, protocol)
    return np.asarray(both[POLARITIES.index(polarity)])


def moving_edges(
    lattice: HexLattice, angles_deg: ArrayLike, speed: float, protocol: Protocol
) -> Floats:
    """ON edges in all directions, then OFF edges, `(2 * angles, frames, columns)`.

    Raises:
        ValueError: for a speed that is not positive, or an angle that is not finite.
    """
    angles = np.radians(np.asarray(angles_deg, dtype=np.float64))
    expect.number("speed in columns a second", speed, "19 is usual", above=0)
    expect.finite("angles in degrees", angles, "90 is upward")
    # Unlike the edges of `movies.procedural`, which fade over the width of a column and start at a
    # fixed distance, these switch a column at once and fit the lattice: in no direction does a
    # column lie further from the centre than the extent.
    lead = protocol.frames((lattice.extent + 1) / speed)
    front = speed * protocol.dt * np.arange(-lead, lead + 1 + protocol.frames(SETTLING))
    x, y = lattice.positions().T
    along = np.cos(angles)[:, None, None] * x + np.sin(angles)[:, None, None] * y
    # A column on the front counts as reached; the margin covers the rounding of sine and cosine.
    reached = along <= front[:, None] + 1e-9
    return np.concatenate([np.where(reached, shade, GREY) for shade in (1.0, 0.0)])


@dataclass(frozen=True)
class EdgeTuning:
    """Responses of central cells to moving edges, and indices computed from them.

    Indices are `(networks, types)`. Direction tuning is computed at each cell's better polarity,
    from responses summed over the speeds.

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
    expect.whole("number of directions", angles, "12 are usual", at_least=1)
    angles_deg = np.arange(angles) * 360.0 / angles
    names, which = choose_cell_types(network, cell_types), choose_networks(network, networks)
    edges = partial(moving_edges, network.lattice, angles_deg, protocol=protocol)
    peaks = edge_peaks(network, edges, speeds, names, protocol, which)
    network_names = tuple(network.names[position] for position in which)
    return EdgeTuning(tuple(names), network_names, angles_deg, np.array(speeds, float), peaks)


def edge_peaks(
    network: ResponseModel,
    edges: Callable[[float], Floats],
    speeds: Sequence[float],
    cell_types: Sequence[str],
    protocol: Protocol,
    networks: Sequence[int],
    baseline: Literal["absolute", "grey"] = "grey",
) -> Floats:
    """Peak responses to edges, `(networks, types, polarities, speeds, angles)`.

    Args:
        network: simulated.
        edges: those of a speed, one polarity first, `(2 * angles, frames, columns)`.
        speeds: columns a second.
        cell_types: names.
        protocol: as for `responses_to`.
        networks: positions.
        baseline: as for `responses_to`.

    Raises:
        ValueError: without a cell type, network or speed, and as `responses_to`.
    """
    some = cell_types and networks and len(speeds) > 0
    got = f"{list(cell_types)}, {list(networks)} and {list(speeds)}"
    expect.that(some, "at least one cell type, network and speed", got, "name some")
    peaks = []
    for shown in map(edges, speeds):
        # One network at a time, because traces fill more memory than their peaks.
        each = (responses_to(network, shown, cell_types, protocol, [k], baseline) for k in networks)
        peaks.append([traces[0].max(axis=2).reshape(len(cell_types), 2, -1) for traces in each])
    return np.moveaxis(np.array(peaks), 0, 3)


def responses_to(
    network: ResponseModel,
    stimuli: ArrayLike,
    cell_types: str | Sequence[str] = ALL,
    protocol: Protocol | None = None,
    networks: str | Sequence[int] = ALL,
    baseline: Literal["absolute", "grey"] = "grey",
) -> Floats:
    """Central voltages to movies or probes, `(networks, types, stimuli, frames)`.

    Args:
        network: simulated.
        stimuli: luminance, `(stimuli, frames, columns)`.
        cell_types: a name, several, several with commas between, or `all`.
        protocol: pre-stimulus and duration of a frame.
        networks: positions of the networks to be used, or `all`.
        baseline: `grey` for voltages above that at grey, or `absolute`.

    Returns:
        NaN where a voltage is not finite.

    Raises:
        ValueError: for an unknown cell type or network, or stimuli that do not fit.
    """
    names, which = choose_cell_types(network, cell_types), choose_networks(network, networks)
    luminance = torch.as_tensor(np.asarray(stimuli, np.float32))
    wanted = ("stimuli", "frames", network.lattice.n_columns)
    expect.shape("stimuli", luminance, wanted, "pass those for the network's extent")
    protocol = Protocol() if protocol is None else protocol
    traces = [
        central_traces(network, luminance, names, protocol, position, baseline=baseline)
        for position in which
    ]
    responses = np.moveaxis(np.stack(traces), 3, 1)
    return np.where(np.isfinite(responses), responses, np.nan)
