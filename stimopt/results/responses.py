"""Responses of whole cell types to the stimuli of a result."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY, Protocol

Singles = NDArray[np.float32]

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
) -> Singles:
    """Response of each item's cell type in every column, `(items, frames, columns)`.

    It is NaN where the type has no cell, and after an item's end. Items with the same stimulus and
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
    alike: dict[tuple[int, int, bytes], list[int]] = {}
    for i, clip in enumerate(clips):
        key = (int(networks[i]), len(clip), hashlib.sha256(clip.tobytes()).digest())
        alike.setdefault(key, []).append(i)
    # Stimuli of one network and about one length together.
    order = sorted(alike, key=lambda key: key[:2])
    for position, keys in itertools.groupby(order, key=lambda key: key[0]):
        groups = [alike[key] for key in keys]
        for begin in range(0, len(groups), TOGETHER):
            batch = groups[begin : begin + TOGETHER]
            shown = [
                _Shown(clips[items[0]], list(dict.fromkeys(str(cell_types[i]) for i in items)))
                for items in batch
            ]
            for items, of_type in zip(
                batch, _simulate(network, protocol, position, shown), strict=True
            ):
                for i in items:
                    response[i, : len(clips[i])] = of_type[str(cell_types[i])]
    return response


class _Shown(NamedTuple):
    """A stimulus, `(frames, columns)`, and the types whose responses to it are wanted."""

    clip: Singles
    cell_types: list[str]


def _simulate(
    network: ResponseModel, protocol: Protocol, position: int, shown: Sequence[_Shown]
) -> list[dict[str, Singles]]:
    """Responses of one network's types in every column, `(frames, columns)`, to each stimulus."""
    device = device_of(network)
    columns = network.lattice.n_columns
    # A response does not depend on later frames.
    shape = (len(shown), max(len(clip) for clip, _ in shown), columns)
    luminance = np.full(shape, GREY, np.float32)
    for row, (clip, _) in enumerate(shown):
        luminance[row, : len(clip)] = clip
    names = dict.fromkeys(name for _, wanted in shown for name in wanted)
    cells = {name: network.cells_of(name).cpu() for name in names}
    # Of each stimulus only the types wanted. Where fewer are wanted than of another stimulus, or a
    # column has no cell, any cell stands in, and its response is not used.
    wanted = [torch.cat([cells[name] for name in cell_types]) for _, cell_types in shown]
    readout = pad_sequence(wanted, batch_first=True).clamp(min=0)
    values = network.respond(
        torch.as_tensor(luminance).to(device),
        protocol,
        readout.to(device),
        torch.full((len(shown),), position, device=device),
    )
    voltages = values.float().cpu().numpy().reshape(*shape[:2], -1, columns)
    return [
        {
            name: np.where(cells[name].numpy() >= 0, voltages[row, : len(clip), k], np.nan)
            for k, name in enumerate(cell_types)
        }
        for row, (clip, cell_types) in enumerate(shown)
    ]
