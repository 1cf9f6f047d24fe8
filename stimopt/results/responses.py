"""Responses of whole cell types to the stimuli of a result."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY, Protocol

Floats = NDArray[np.float32]

TOGETHER = 8
"""Stimuli that are simulated at once: as many as the fused step takes side by side."""


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
    shown: dict[tuple[int, int, bytes], list[int]] = {}
    for i, clip in enumerate(clips):
        key = (int(networks[i]), len(clip), hashlib.sha256(clip.tobytes()).digest())
        shown.setdefault(key, []).append(i)
    # Stimuli of one network and about one length together.
    order = sorted(shown, key=lambda key: key[:2])
    for _, keys in itertools.groupby(order, key=lambda key: key[0]):
        members = [shown[key] for key in keys]
        for begin in range(0, len(members), TOGETHER):
            batch = members[begin : begin + TOGETHER]
            _simulate(network, protocol, batch, clips, cell_types, networks, response)
    return response


def _simulate(
    network: ResponseModel,
    protocol: Protocol,
    batch: Sequence[Sequence[int]],
    clips: Sequence[Floats],
    cell_types: Sequence[str] | NDArray[Any],
    networks: Sequence[int] | NDArray[Any],
    response: Floats,
) -> None:
    """Fill in the responses of items; those of one stimulus stand together in the batch."""
    device = device_of(network, torch.device("cpu"))
    firsts = [members[0] for members in batch]
    # A response does not depend on later frames.
    luminance = np.full(
        (len(batch), max(len(clips[i]) for i in firsts), response.shape[2]), GREY, np.float32
    )
    for row, i in enumerate(firsts):
        luminance[row, : len(clips[i])] = clips[i]
    names = dict.fromkeys(str(cell_types[i]) for members in batch for i in members)
    cells = {name: network.cells_of(name).cpu() for name in names}
    present = {name: of_columns[of_columns >= 0] for name, of_columns in cells.items()}
    values = network.respond(
        torch.as_tensor(luminance).to(device),
        protocol,
        torch.cat([*present.values()]).to(device),
        torch.tensor([int(networks[i]) for i in firsts], device=device),
    )
    sizes = [len(part) for part in present.values()]
    of_type = dict(zip(present, torch.split(values.float().cpu(), sizes, dim=2), strict=True))
    for row, members in enumerate(batch):
        for i in members:
            name, n_frames = str(cell_types[i]), len(clips[i])
            voltages = of_type[name][row, :n_frames].numpy()
            response[i, :n_frames, (cells[name] >= 0).numpy()] = voltages.T
