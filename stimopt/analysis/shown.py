"""The stimuli of a result as they are shown to a network, and the responses of its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt import expect
from stimopt.analysis.central_response import ITEM_FRAMES
from stimopt.networks.model import ResponseModel, device_of
from stimopt.protocol import GREY, Protocol, peak
from stimopt.results.responses import Singles
from stimopt.results.result import Result


class Peaks(NamedTuple):
    """Peaks of the responses of all items, each `(items,)`.

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
        cell_types: their types, `(items,)`.
        columns: their columns, `(items,)`.
        networks: position of each item's network, `(items,)`.
        signs: 1 where a large response is sought, -1 where a low one is, `(items,)`.
        protocol: how they are shown.
    """

    luminance: Tensor
    lengths: Tensor
    cells: Tensor
    cell_types: NDArray[np.str_]
    columns: Tensor
    networks: Tensor
    signs: Tensor
    protocol: Protocol

    @classmethod
    def of(cls, result: Result, network: ResponseModel) -> ShownStimuli:
        """The stimuli of a search or fit, for its own network.

        Raises:
            ValueError: for a result without stimuli or of another network.
        """
        some = "stimulus" in result.variables and len(result["stimulus"]) > 0
        got = f"one of kind {result.kind!r} without any"
        expect.that(some, "a result with stimuli", got, "pass the result of a search or fit")
        result.require_network(network)
        types = result["cell_type"].astype(str)
        columns = network.lattice.index(result["readout_u"], result["readout_v"])
        return cls(
            torch.as_tensor(np.asarray(result["stimulus"], np.float32)).nan_to_num(nan=GREY),
            torch.as_tensor(np.asarray(result["n_frames"], np.int64)),
            _cells(network, types, columns),
            types,
            torch.as_tensor(columns),
            torch.as_tensor(np.asarray(result["network"], np.int64)),
            torch.as_tensor(result.signs),
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
        chosen = {name: each[rows] for name, each in vars(self).items() if name != "protocol"}
        return dataclasses.replace(self, **chosen)

    def in_network(self, network: ResponseModel, position: int) -> ShownStimuli:
        """The same for the cells of these types and columns in another network.

        Raises:
            ValueError: if it has another lattice, or lacks a cell.
        """
        lattice, wanted = network.lattice, self.luminance.shape[2]
        got = f"{network.names[position]} with {lattice.n_columns} (extent {lattice.extent})"
        fits, advice = lattice.n_columns == wanted, "open it with the extent of the result"
        expect.that(fits, f"another network with {wanted} columns", got, advice)
        cells = _cells(network, self.cell_types, self.columns.numpy())
        there = torch.full_like(self.networks, position)
        return dataclasses.replace(self, cells=cells, networks=there)

    def batches(self) -> Iterator[Tensor]:
        """Numbers of the items that are simulated together, batch by batch."""
        size = max(1, ITEM_FRAMES // self.luminance.shape[1])
        yield from torch.split(torch.arange(len(self)), size)

    def peaks(self, traces: Tensor) -> Peaks:
        """Peaks of traces `(items, frames)` within the read-out window.

        A trace that is not finite there peaks at NaN.
        """
        window = self.window
        signed = torch.where(traces.isfinite(), self.signs[:, None] * traces, -torch.inf)
        value, frame = peak(signed, window)
        whole = (traces.isfinite() | ~window).all(dim=1)
        return Peaks(torch.where(whole, self.signs * value, torch.nan), frame)


def _cells(network: ResponseModel, types: NDArray[np.str_], columns: NDArray[np.int64]) -> Tensor:
    u, v = network.lattice.u[columns].tolist(), network.lattice.v[columns].tolist()
    return torch.tensor([network.cell_index(*c) for c in zip(types.tolist(), u, v, strict=True)])


@torch.no_grad()
def traces_of(network: ResponseModel, shown: ShownStimuli) -> Tensor:
    """Voltage of each item's cell, `(items, frames)`, float64."""
    traces = []
    with network.busy():
        for rows in shown.batches():
            part = shown.select(rows)
            luminance = part.luminance.to(device_of(network))
            traces.append(_voltages(network, part, luminance).double().cpu())
    return torch.cat(traces)


def drive_of(network: ResponseModel, shown: ShownStimuli) -> Tensor:
    """How far each stimulus drives its cell, `(items,)`: sign * (peak less peak at grey)."""
    at_grey, driven = (
        shown.peaks(traces_of(network, each)).value for each in (shown.at_grey(), shown)
    )
    return shown.signs * (driven - at_grey)


def peak_gradient(network: ResponseModel, shown: ShownStimuli, frames: Tensor) -> Singles:
    """Gradient of each item's voltage in one frame by its pixels, `(items, frames, columns)`.

    Args:
        network: simulated; must pass a gradient.
        shown: the stimuli.
        frames: in which the voltage counts, such as its peak, `(items,)`.
    """
    parts = []
    with torch.inference_mode(False), torch.enable_grad(), network.busy():
        for rows in shown.batches():
            part = shown.select(rows)
            luminance = part.luminance.to(device_of(network)).clone().requires_grad_()
            voltages = _voltages(network, part, luminance)
            at_peak = voltages[torch.arange(len(rows)), frames[rows]].sum()
            (gradient,) = torch.autograd.grad(at_peak, luminance)
            parts.append(gradient.float().cpu().numpy())
    return np.concatenate(parts)


def _voltages(network: ResponseModel, shown: ShownStimuli, luminance: Tensor) -> Tensor:
    """Voltages of the cells of all items, `(items, frames)`, on the device of the luminance."""
    cells, networks = shown.cells[:, None].to(luminance.device), shown.networks.to(luminance.device)
    return network.respond(luminance, shown.protocol, cells, networks)[..., 0]
