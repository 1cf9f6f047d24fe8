"""Responses of whole cell types to the stimuli of a result."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY, Protocol

Floats = NDArray[np.float32]

TOGETHER = 32
"""Stimuli that are simulated at once, so that several threads each have eight of them."""


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
    kinds = [list(dict.fromkeys(str(cell_types[i]) for i in members)) for members in batch]
    cells = {kind: network.cells_of(kind).cpu() for of_one in kinds for kind in of_one}
    present = {kind: of_columns[of_columns >= 0] for kind, of_columns in cells.items()}
    # Of each stimulus only what is wanted of it; those that want less read any cell as well.
    readout = pad_sequence([torch.cat([present[k] for k in of_one]) for of_one in kinds], True)
    values = network.respond(
        torch.as_tensor(luminance).to(device),
        protocol,
        readout.to(device),
        torch.tensor([int(networks[i]) for i in firsts], device=device),
    )
    for row, members in enumerate(batch):
        sizes = [len(present[kind]) for kind in kinds[row]]
        parts = torch.split(values[row, :, : sum(sizes)].float().cpu(), sizes, dim=1)
        of_type = dict(zip(kinds[row], parts, strict=True))
        for i in members:
            name, n_frames = str(cell_types[i]), len(clips[i])
            voltages = of_type[name][:n_frames].numpy()
            response[i, :n_frames][:, (cells[name] >= 0).numpy()] = voltages
