"""Indices of responses to flashes and edges, by the formulas of flyvis.

Lappalainen et al., Nature 2024; each is computed from voltages as they are, without a baseline.
`indices` has those of stimopt, which are relative to grey and have a denominator of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.analysis import flyvis_probes as probes
from stimopt.analysis.central_response import central_traces
from stimopt.items import ALL, choose_cell_types, choose_networks
from stimopt.lattice import Floats
from stimopt.networks.model import ResponseModel


def flash_response_index(traces: ArrayLike) -> Floats:
    """(ON - OFF) / (ON + OFF) of the peaks, after all voltages were raised by |their minimum|.

    The minimum is that over both flashes. Where it is positive, voltages are raised all the same.

    Args:
        traces: `(..., 2, frames)`, OFF then ON.

    Returns:
        In [-1, 1], `(...)`.
    """
    traces = np.asarray(traces, dtype=np.float64)
    raised = traces.max(axis=-1) + np.abs(traces.min(axis=(-2, -1)))[..., None]
    off, on = np.moveaxis(raised, -1, 0)
    return np.asarray((on - off) / (on + off + 1e-16))


def direction_selectivity_index(peaks: ArrayLike) -> Floats:
    """|sum P e^(i angle)| over the larger sum P of both intensities, averaged over speeds.

    Args:
        peaks: rectified peak voltages P, `(..., 2, speeds, 12)`, OFF then ON.

    Returns:
        In [0, 1], `(..., 2)`.
    """
    peaks = np.asarray(peaks, dtype=np.float64)
    larger = peaks.sum(axis=-1).max(axis=-2, keepdims=True)
    return np.asarray((np.abs(_vector(peaks)) / (larger + 1e-15)).mean(axis=-1))


def preferred_direction(peaks: ArrayLike) -> Floats:
    """Angle of sum P e^(i angle), over speeds too, in degrees.

    Args:
        peaks: rectified peak voltages P, `(..., 2, speeds, 12)`.

    Returns:
        In [0, 360), `(..., 2)`; NaN where all directions are alike, for which flyvis has 0 or the
        angle of rounding errors.
    """
    peaks = np.asarray(peaks, dtype=np.float64)
    vector = _vector(peaks).sum(axis=-1)
    alike = np.abs(vector) <= 1e-6 * peaks.sum(axis=(-2, -1))
    return np.where(alike, np.nan, np.angle(vector, deg=True) % 360)


def _vector(peaks: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.complex128]]:
    return np.asarray((peaks * np.exp(1j * np.radians(probes.ANGLES_DEG))).sum(axis=-1))


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
        """Flash response index, `(networks, types)`."""
        return flash_response_index(self.flash_traces)

    @property
    def direction_selectivity(self) -> Floats:
        """Direction selectivity index, `(networks, types, 2)`."""
        return direction_selectivity_index(self.edge_peaks)

    @property
    def preferred_direction_deg(self) -> Floats:
        """Preferred direction, `(networks, types, 2)`."""
        return preferred_direction(self.edge_peaks)


def probe_responses(
    network: ResponseModel,
    cell_types: str | Sequence[str] = ALL,
    *,
    speeds: Sequence[float] = probes.SPEEDS,
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
    expect.that(
        bool(names) and bool(which) and len(speeds) > 0,
        "at least one cell type, network and speed",
        f"{names}, {which} and {list(speeds)}",
        "name some",
    )

    def traces(stimuli: Sequence[Floats], position: int) -> Floats:
        shown, protocol = torch.as_tensor(np.stack(stimuli), dtype=torch.float32), probes.PROTOCOL
        voltage = central_traces(network, shown, names, protocol, position, baseline="absolute")
        return np.where(np.isfinite(voltage), voltage, np.nan)

    lattice, intensities = network.lattice, probes.INTENSITIES
    flashes = [probes.flash(lattice, intensity) for intensity in intensities]
    flash_traces = [np.moveaxis(traces(flashes, position), -1, 0) for position in which]
    peaks = np.empty((len(which), len(names), len(intensities), len(speeds), 12))
    for s, speed in enumerate(speeds):
        edges = [probes.edge(lattice, a, i, speed) for i in intensities for a in probes.ANGLES_DEG]
        for n, position in enumerate(which):
            highest = np.maximum(traces(edges, position).max(axis=1), 0)
            peaks[n, :, :, s] = highest.T.reshape(len(names), len(intensities), -1)
    return ProbeResponses(
        cell_types=tuple(names),
        network_names=tuple(network.names[position] for position in which),
        speeds=np.asarray(speeds, dtype=np.float64),
        flash_traces=np.stack(flash_traces),
        edge_peaks=peaks,
    )
