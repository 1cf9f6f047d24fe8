"""The stimuli of a result as a network is shown them, and the responses of its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stimopt import expect
from stimopt.analysis.central_response import ITEM_FRAMES
from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY, Protocol, peak
from stimopt.results.result import Result


class Peaks(NamedTuple):
    """Of every item, `(items,)` each.

    Args:
        value: voltage at the peak within the read-out window; the lowest one for sign -1.
        frame: of the peak, from stimulus onset.
    """

    value: Tensor
    frame: Tensor


@dataclass(frozen=True)
class ShownStimuli:
    """Stimuli and, for each, the cell whose response counts. Voltages are absolute.

    Attributes:
        luminance: in [0, 1], grey after an item's end, `(items, frames, columns)`.
        lengths: frames that count, `(items,)`.
        cells: read out, `(items,)`.
        networks: position of each item's network, `(items,)`.
        signs: 1 where a large response is sought, -1 where a low one is, `(items,)`.
        protocol: how they are shown.
    """

    luminance: Tensor
    lengths: Tensor
    cells: Tensor
    networks: Tensor
    signs: Tensor
    protocol: Protocol

    @classmethod
    def of(cls, result: Result, network: ResponseModel) -> ShownStimuli:
        """The stimuli of a search or fit, for its own network.

        Raises:
            ValueError: for a result without stimuli or of another network.
        """
        expect.that(
            "stimulus" in result.variables and len(result["stimulus"]) > 0,
            "a result with stimuli",
            f"one of kind {result.kind!r} without any",
            "pass the result of a search or fit",
        )
        expect.that(
            network.content_hash == result.network_hash,
            f"the network of the result ({result.network_hash[:12]}, "
            f"{', '.join(result.network_names)})",
            f"{network.content_hash[:12]} ({', '.join(network.names)})",
            "load that network",
        )
        n_items = len(result["stimulus"])
        signs = (
            result["sign"]
            if "sign" in result.variables
            else np.full(n_items, int(result.config.get("sign", 1)))
        )
        where = (result[name].tolist() for name in ("cell_type", "readout_u", "readout_v"))
        cells = [network.cell_index(str(name), u, v) for name, u, v in zip(*where, strict=True)]
        return cls(
            torch.as_tensor(np.asarray(result["stimulus"], np.float32)).nan_to_num(nan=GREY),
            torch.as_tensor(np.asarray(result["n_frames"], np.int64)),
            torch.tensor(cells),
            torch.as_tensor(np.asarray(result["network"], np.int64)),
            torch.as_tensor(np.asarray(signs, np.int64)),
            dataclasses.replace(result.protocol, baseline="absolute"),
        )

    def __len__(self) -> int:
        return len(self.luminance)

    @property
    def window(self) -> Tensor:
        """Frames of each item's read-out window, `(items, frames)`, bool."""
        return self.protocol.readout_mask(self.lengths, self.luminance.shape[1])

    def at_grey(self) -> ShownStimuli:
        """The same with every stimulus grey."""
        return dataclasses.replace(self, luminance=torch.full_like(self.luminance, GREY))

    def select(self, rows: Tensor) -> ShownStimuli:
        """Some of the items, by number."""
        of_items = ("luminance", "lengths", "cells", "networks", "signs")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in of_items})

    def batches(self) -> Iterator[Tensor]:
        """Numbers of the items that one simulation may hold, batch by batch."""
        yield from torch.split(
            torch.arange(len(self)), max(1, ITEM_FRAMES // self.luminance.shape[1])
        )

    def peaks(self, traces: Tensor) -> Peaks:
        """Peaks of traces `(items, frames)` within the read-out window.

        A trace that is not finite there peaks at NaN.
        """
        window = self.window
        signed = torch.where(traces.isfinite(), self.signs[:, None] * traces, -torch.inf)
        value, frame = peak(signed, window)
        whole = (traces.isfinite() | ~window).all(dim=1)
        return Peaks(torch.where(whole, self.signs * value, torch.nan), frame)


@torch.no_grad()
def traces_of(network: ResponseModel, shown: ShownStimuli) -> Tensor:
    """Voltage of each item's cell, `(items, frames)`, float64."""
    device, traces = device_of(network), []
    with network.busy():
        for rows in shown.batches():
            part = shown.select(rows)
            responses = network.respond(
                part.luminance.to(device),
                part.protocol,
                part.cells[:, None].to(device),
                part.networks.to(device),
            )
            traces.append(responses[..., 0].double().cpu())
    return torch.cat(traces)


def drive_of(network: ResponseModel, shown: ShownStimuli) -> Tensor:
    """How far each stimulus drives its cell, `(items,)`: sign * (peak less peak at grey)."""
    at_grey, driven = (
        shown.peaks(traces_of(network, each)).value for each in (shown.at_grey(), shown)
    )
    return shown.signs * (driven - at_grey)
