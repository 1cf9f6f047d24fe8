"""Central cells asked directly: traces above grey, a bounded number of stimuli at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from stimopt.lattice import HexLattice
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY, Protocol

Floats = NDArray[np.float64]

ITEM_FRAMES = 24_000
"""Frames times items simulated in one call: 70 MB of luminance at 721 columns, and enough items
for a step to be worth its overhead."""


def central_traces(
    network: ResponseModel,
    luminance: Tensor,
    cell_types: Sequence[str],
    protocol: Protocol,
    position: int,
) -> Floats:
    """Central voltages above grey, `(items, frames, types)`, a bounded number at a time.

    Args:
        network: asked.
        luminance: `(items, frames, columns)`.
        cell_types: whose central cells.
        protocol: pre-stimulus and frame; the baseline is grey whatever it says.
        position: which of the networks held.

    Raises:
        ValueError: for a name or position that is not there.
    """
    above_grey = dataclasses.replace(protocol, baseline="grey")
    return _traces(network, luminance, cell_types, above_grey, position)


@torch.no_grad()
def _traces(
    network: ResponseModel,
    luminance: Tensor,
    cell_types: Sequence[str],
    protocol: Protocol,
    position: int,
) -> Floats:
    device = device_of(network)
    cells = torch.tensor([network.cell_index(name) for name in cell_types], device=device)
    traces = []
    for items in torch.split(luminance, max(1, ITEM_FRAMES // luminance.shape[1])):
        index = torch.full((len(items),), position, device=device)
        responses = network.respond(items.to(device), protocol, cells, index)
        traces.append(responses.double().cpu().numpy())
    return np.concatenate(traces)


def device_of(network: ResponseModel) -> torch.device:
    """Where the network's numbers are; the CPU for one that shows none."""
    if isinstance(network, nn.Module):
        for tensor in itertools.chain(network.buffers(), network.parameters()):
            return tensor.device
    return torch.device("cpu")


def checked_stimulus(stimulus: ArrayLike, lattice: HexLattice) -> Floats:
    """A stimulus as float64 `(frames, columns)`.

    Raises:
        ValueError: if it does not fit the lattice or is not finite.
    """
    luminance = np.asarray(stimulus, dtype=np.float64)
    if luminance.ndim != 2 or not len(luminance) or luminance.shape[1] != lattice.n_columns:
        raise ValueError(
            f"expected a stimulus (frames, {lattice.n_columns}) for extent {lattice.extent}, got "
            f"{luminance.shape}; give one stimulus, without an item axis"
        )
    if not np.isfinite(luminance).all():
        raise ValueError("expected finite luminance, got NaN or infinity; cut the padding off")
    return luminance


def grey_voltage(
    network: ResponseModel, cell_type: str, protocol: Protocol, position: int = 0
) -> float:
    """Central voltage at the end of the pre-stimulus, what `baseline="grey"` takes off."""
    frame = torch.full((1, 1, network.lattice.n_columns), GREY)
    (above,) = central_traces(network, frame, [cell_type], protocol, position).ravel()
    absolute = dataclasses.replace(protocol, baseline="absolute")
    (voltage,) = _traces(network, frame, [cell_type], absolute, position).ravel()
    return float(voltage - above)
