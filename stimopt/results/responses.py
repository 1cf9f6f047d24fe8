"""Responses of whole cell types to the stimuli of a result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import Protocol

Floats = NDArray[np.float32]


@torch.no_grad()
def type_responses(
    network: ResponseModel,
    protocol: Protocol,
    stimulus: NDArray[Any],
    lengths: Sequence[int] | NDArray[Any],
    cell_types: Sequence[str] | NDArray[Any],
    networks: Sequence[int] | NDArray[Any],
) -> Floats:
    """Response of each item's cell type in every column, `(items, frames, columns)`.

    NaN stands where the type has no cell, and after an item's end. Items of one stimulus and
    network are simulated once.

    Args:
        network: simulated.
        protocol: pre-stimulus and baseline.
        stimulus: luminance in [0, 1], `(items, frames, columns)`.
        lengths: frames of each item that count, `(items,)`.
        cell_types: one for each item.
        networks: position of each item's network, `(items,)`.
    """
    response = np.full(stimulus.shape, np.nan, dtype=np.float32)
    clips = [
        np.asarray(clip[:length], np.float32)
        for clip, length in zip(stimulus, lengths, strict=True)
    ]
    together: dict[tuple[int, int, bytes], list[int]] = {}
    for i, clip in enumerate(clips):
        key = (int(networks[i]), len(clip), hashlib.sha256(clip.tobytes()).digest())
        together.setdefault(key, []).append(i)
    for (position, n_frames, _), members in together.items():
        cells = [network.cells_of(str(cell_types[i])).cpu() for i in members]
        luminance = torch.as_tensor(clips[members[0]])[None]
        values = _simulate(network, protocol, luminance, cells, position)
        for i, of_columns, voltages in zip(members, cells, values, strict=True):
            response[i, :n_frames, (of_columns >= 0).numpy()] = voltages.T
    return response


def _simulate(
    network: ResponseModel,
    protocol: Protocol,
    luminance: torch.Tensor,
    cells: Sequence[torch.Tensor],
    position: int,
) -> list[Floats]:
    """Voltages of several types' cells, each `(frames, cells)`, to one stimulus."""
    device = device_of(network, luminance.device)
    present = [of_columns[of_columns >= 0] for of_columns in cells]
    values = network.respond(
        luminance.to(device),
        protocol,
        torch.cat(present).to(device),
        torch.tensor([position], device=device),
    )
    parts = torch.split(values[0].float().cpu(), [len(part) for part in present], dim=1)
    return [part.numpy() for part in parts]
