"""Responses of central cells to any number of stimuli, simulated a bounded number at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from stimopt import expect
from stimopt.lattice import Floats, HexLattice
from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY, Protocol

ITEM_FRAMES = 24_000
"""Frames times items simulated in one call: 70 MB of luminance at 721 columns, and enough items
for a step to be worth its overhead."""


@torch.no_grad()
def central_traces(
    network: ResponseModel,
    luminance: Tensor,
    cell_types: Sequence[str],
    protocol: Protocol,
    position: int,
    *,
    baseline: Literal["absolute", "grey"] = "grey",
) -> Floats:
    """Central voltages `(items, frames, types)`, by default relative to those at grey.

    Args:
        network: simulated.
        luminance: `(items, frames, columns)`.
        cell_types: cell types whose central cells are read.
        protocol: pre-stimulus and duration of a frame; its baseline is not used.
        position: which of the networks.
        baseline: `absolute` returns the voltage itself.

    Raises:
        ValueError: for an unknown cell type or network.
    """
    protocol = dataclasses.replace(protocol, baseline=baseline)
    device = device_of(network)
    cells = torch.tensor([network.cell_index(name) for name in cell_types], device=device)
    traces = []
    for items in torch.split(luminance, max(1, ITEM_FRAMES // luminance.shape[1])):
        index = torch.full((len(items),), position, device=device)
        responses = network.respond(items.to(device), protocol, cells, index)
        traces.append(responses.double().cpu().numpy())
    return np.concatenate(traces)


def grey_voltage(
    network: ResponseModel, cell_type: str, protocol: Protocol, position: int = 0
) -> float:
    """Central voltage at the end of the pre-stimulus, which `baseline="grey"` subtracts."""
    frame = torch.full((1, 1, network.lattice.n_columns), GREY)
    traces = partial(central_traces, network, frame, [cell_type], protocol, position)
    return float((traces(baseline="absolute") - traces(baseline="grey")).item())


def checked_stimulus(stimulus: ArrayLike, lattice: HexLattice) -> Floats:
    """A stimulus as float64 `(frames, columns)`.

    Raises:
        ValueError: if it does not fit the lattice or is not finite.
    """
    luminance = np.asarray(stimulus, dtype=np.float64)
    advice = f"pass one stimulus for extent {lattice.extent}, without an item axis"
    expect.shape("a stimulus", luminance, ("frames", lattice.n_columns), advice)
    expect.finite("luminance", luminance, "cut off the padding")
    return luminance
