"""Moving edges, and how cells are tuned to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stimopt.analysis.asking import central_traces
from stimopt.analysis.indices import direction_tuning, ratio
from stimopt.analysis.motion import positions
from stimopt.items import ALL, choose_cell_types
from stimopt.lattice import HexLattice
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY, Protocol

Floats = NDArray[np.float64]

EDGE_SPEEDS = (2.4, 4.8, 9.7, 13.0, 19.0, 25.0)
"""Columns a second; the speeds of the edges in Lappalainen et al., Nature 2024."""
POLARITIES = (1, -1)
"""ON (to white), then OFF (to black): the order of the polarity axis."""
SETTLING = 0.3
"""Seconds kept after an edge has left, for cells that answer late; the slowest time constants of
the trained networks are near 0.1 s."""


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

    It starts outside, so that the first frame is grey, and each column switches when the front
    has reached its centre.

    Args:
        lattice: the columns.
        angle_deg: direction of motion, degrees; 0 right, 90 up.
        polarity: 1 for ON (grey to 1), -1 for OFF (grey to 0).
        speed: columns a second.
        protocol: duration of a frame, and the grey the edge starts from.
        settling: seconds kept after the front has left the lattice.

    Returns:
        Luminance in [0, 1], `(frames, columns)`.

    Raises:
        ValueError: for a polarity other than 1 and -1, a speed that is not positive, an angle that
            is not finite, or a negative settling time.
    """
    if polarity not in POLARITIES:
        raise ValueError(f"expected polarity 1 (ON) or -1 (OFF), got {polarity!r}; choose one")
    if not (np.isfinite(speed) and speed > 0):
        raise ValueError(f"expected speed > 0 columns a second, got {speed!r}; 19 is usual")
    if not np.isfinite(angle_deg):
        raise ValueError(f"expected a finite angle in degrees, got {angle_deg!r}; 90 is upward")
    if not (np.isfinite(settling) and settling >= 0):
        raise ValueError(f"expected settling >= 0 seconds, got {settling!r}; {SETTLING} is usual")
    # No column lies further from the centre than the extent, whatever the direction.
    reach = lattice.extent + 1
    lead = protocol.frames(reach / speed)
    front = speed * protocol.dt * np.arange(-lead, lead + 1 + protocol.frames(settling))
    angle = np.radians(angle_deg)
    along = positions(lattice) @ [np.cos(angle), np.sin(angle)]
    # Columns on the front count as reached; the margin hides the rounding of sine and cosine.
    reached = along <= front[:, None] + 1e-9
    return np.where(reached, 1.0 if polarity > 0 else 0.0, GREY)


@dataclass(frozen=True)
class EdgeTuning:
    """Responses of central cells to moving edges, and the indices made of them.

    Indices are `(networks, types)`. Direction tuning is read at each cell's better polarity, from
    responses summed over the speeds; `at_speed` restricts it to one.

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
        """The same at one of the speeds.

        Raises:
            ValueError: for a speed that was not shown.
        """
        which = np.flatnonzero(np.isclose(self.speeds, speed))
        if not len(which):
            raise ValueError(
                f"expected a speed of {self.speeds.tolist()}, got {speed}; choose one of them"
            )
        return dataclasses.replace(
            self, speeds=self.speeds[which], responses=self.responses[:, :, :, which]
        )

    @property
    def polarity_peaks(self) -> Floats:
        """Response to the best ON and the best OFF edge, `(networks, types, 2)`."""
        best: Floats = self.responses.max(axis=(3, 4))
        return best

    @property
    def polarity(self) -> NDArray[np.int64]:
        """1 where the best edge is ON, -1 where it is OFF."""
        sign: NDArray[np.int64] = np.asarray(POLARITIES)[self.polarity_peaks.argmax(axis=2)]
        return sign

    @property
    def polarity_index(self) -> Floats:
        """(ON - OFF) / (ON + OFF) of the best edges; NaN for a cell that no edge excites."""
        on, off = np.moveaxis(np.maximum(self.polarity_peaks, 0), 2, 0)
        return ratio(on - off, on + off)

    @property
    def direction_responses(self) -> Floats:
        """What direction tuning is read from, `(networks, types, angles)`."""
        better = self.polarity_peaks.argmax(axis=2)[:, :, None, None, None]
        chosen = np.take_along_axis(self.responses, better, axis=2)[:, :, 0]
        summed: Floats = np.maximum(chosen, 0).sum(axis=2)
        return summed

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
        best: Floats = self.responses.max(axis=(2, 3, 4))
        return best

    @property
    def best_edge(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Polarity, speed and angle of the best edge."""
        flat = self.responses.reshape(*self.responses.shape[:2], -1).argmax(axis=2)
        polarity, speed, angle = np.unravel_index(flat, self.responses.shape[2:])
        return np.asarray(POLARITIES)[polarity], self.speeds[speed], self.angles_deg[angle]


@torch.no_grad()
def edge_tuning(
    network: ResponseModel,
    cell_types: str | Sequence[str],
    protocol: Protocol | None = None,
    *,
    angles: int = 12,
    speeds: Sequence[float] = EDGE_SPEEDS,
    networks: str | Sequence[int] = ALL,
) -> EdgeTuning:
    """Show ON and OFF edges in all directions and speeds to the networks held.

    Args:
        network: asked.
        cell_types: a name, several, several with commas between, or `all`.
        protocol: pre-stimulus and frame; the baseline is grey whatever it says.
        angles: number of directions, evenly spaced from 0.
        speeds: columns a second.
        networks: positions of the networks to use, or `all`.

    Raises:
        ValueError: for a name, network, speed or number of directions that does not fit.
    """
    protocol = Protocol() if protocol is None else protocol
    names = choose_cell_types(network, cell_types)
    which = list(range(network.n_networks)) if isinstance(networks, str) else list(networks)
    if not names or not which or not len(speeds) or angles < 1:
        raise ValueError(
            f"expected at least one cell type, network, speed and direction, got {names}, {which}, "
            f"{list(speeds)} and {angles}; name some"
        )
    angles_deg = np.arange(angles) * 360.0 / angles
    peaks = np.empty((len(which), len(names), len(POLARITIES), len(speeds), angles))
    for s, speed in enumerate(speeds):
        edges = [
            moving_edge(network.lattice, angle, polarity, speed, protocol)
            for polarity in POLARITIES
            for angle in angles_deg
        ]
        shown = torch.as_tensor(np.stack(edges), dtype=torch.float32)
        for n, position in enumerate(which):
            found = central_traces(network, shown, names, protocol, position).max(axis=1)
            peaks[n, :, :, s] = found.T.reshape(len(names), len(POLARITIES), angles)
    return EdgeTuning(
        cell_types=tuple(names),
        network_names=tuple(network.names[position] for position in which),
        angles_deg=angles_deg,
        speeds=np.asarray(speeds, dtype=np.float64),
        responses=peaks,
    )
