"""The step as a sparse matrix product in torch: any device, any number of items."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stimopt.dynamics.layout import CellLayout, Drive


class SparseStep:
    """Simulates with one sparse matrix per network and its transpose for the adjoint.

    Indices are 32-bit: with 64-bit ones a product reads 1.5 times as much memory and takes that
    much longer.  State lies `(cells, items)`, so that one pass over the matrix serves all items.
    """

    name = "sparse"

    def __init__(self, layout: CellLayout) -> None:
        self.layout = layout
        source, target, tap = layout.synapses
        self._forward_order = _compress(target, source, tap, layout.n_cells)
        self._adjoint_order = _compress(source, target, tap, layout.n_cells)
        self._matrices: dict[object, tuple[Tensor, Tensor, Tensor]] = {}

    def threads(self) -> AbstractContextManager[None]:
        """Nothing is held: torch's threads do the products."""
        return nullcontext()

    def forward(
        self, drive: Drive, luminance: Tensor, initial: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See `stimopt.dynamics.simulate.Step.forward`."""
        items, frames, _ = luminance.shape
        k = initial.shape[1] if drive.readout is None else drive.readout.shape[1]
        voltages = luminance.new_empty((items, frames, k))
        final = torch.empty_like(initial)
        saved = []
        for network, chosen in _by_network(drive.network_index):
            out, last, gates = self._forward_one(
                drive,
                network,
                luminance[chosen],
                initial[chosen],
                _rows(drive.readout, chosen),
                keep,
            )
            voltages[chosen], final[chosen] = out, last
            saved.append(gates)
        return voltages, final, saved

    def adjoint(
        self,
        drive: Drive,
        saved: list[Tensor],
        grad_voltages: Tensor,
        grad_final: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See `stimopt.dynamics.simulate.Step.adjoint`."""
        items, frames, _ = grad_voltages.shape
        grad_luminance = grad_voltages.new_empty((items, frames, self.layout.lattice.n_columns))
        grad_initial = torch.empty_like(grad_final)
        for (network, chosen), gates in zip(_by_network(drive.network_index), saved, strict=True):
            x, v = self._adjoint_one(
                drive,
                network,
                gates,
                grad_voltages[chosen],
                grad_final[chosen],
                _rows(drive.readout, chosen),
            )
            grad_luminance[chosen], grad_initial[chosen] = x, v
        return grad_luminance, grad_initial

    def _forward_one(
        self,
        drive: Drive,
        network: int,
        luminance: Tensor,
        initial: Tensor,
        readout: Tensor | None,
        keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights, _ = self._weights(drive, network, initial.dtype)
        type_of_cell, inputs, columns = self._indices(luminance.device)
        leak = drive.leak[network].to(initial.dtype)[type_of_cell, None]
        bias = drive.bias[network].to(initial.dtype)[type_of_cell, None]
        voltages, final, gates = self._loop(
            _forward_frames,
            (weights, leak, bias, luminance, initial, inputs, columns, readout, keep),
        )
        return voltages, final, gates

    def _adjoint_one(
        self,
        drive: Drive,
        network: int,
        gates: Tensor,
        grad_voltages: Tensor,
        grad_final: Tensor,
        readout: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        _, transposed = self._weights(drive, network, grad_final.dtype)
        type_of_cell, inputs, columns = self._indices(grad_final.device)
        leak = drive.leak[network].to(grad_final.dtype)[type_of_cell, None]
        width = self.layout.lattice.n_columns
        grad_luminance, grad_initial = self._loop(
            _adjoint_frames,
            (transposed, leak, gates, grad_voltages, grad_final, inputs, columns, readout, width),
        )
        return grad_luminance, grad_initial

    def _loop(
        self, loop: Callable[..., tuple[Tensor, ...]], args: tuple[Any, ...]
    ) -> tuple[Tensor, ...]:
        """Run a loop over frames, in which nothing waits for the device."""
        return loop(*args)

    def _weights(self, drive: Drive, network: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Matrix and transpose of one network, made once per parameters, device and dtype."""
        values = drive.tap_weight[network]
        key = (network, values.device, dtype)
        held = self._matrices.get(key)
        if held is None or not torch.equal(held[0], values):
            made = [_matrix(order, values.to(dtype)) for order in self._orders()]
            held = self._matrices[key] = (values.clone(), made[0], made[1])
        return held[1], held[2]

    def _orders(self) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        return self._forward_order, self._adjoint_order

    def _indices(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        cells, columns = self.layout.input_cells
        arrays = (self.layout.type_of_cell, cells, columns)
        type_of_cell, inputs, column = (torch.as_tensor(a, device=device) for a in arrays)
        return type_of_cell, inputs, column


def _forward_frames(
    weights: Tensor,
    leak: Tensor,
    bias: Tensor,
    luminance: Tensor,
    initial: Tensor,
    inputs: Tensor,
    columns: Tensor,
    readout: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    light = luminance.permute(1, 2, 0)[:, columns]
    state = initial.T.contiguous()
    frames, items = light.shape[0], light.shape[2]
    gates = torch.empty(
        (frames if keep else 0, *state.shape), dtype=torch.bool, device=state.device
    )
    report = []
    for t in range(frames):
        if keep:
            torch.gt(state, 0, out=gates[t])
        target = torch.addmm(bias.expand(-1, items), weights, torch.relu(state))
        target[inputs] += light[t]
        state = torch.lerp(state, target, leak)
        report.append(_read(state, readout))
    if not report:
        return _read(state, readout)[:, None][:, :0], state.T.contiguous(), gates
    return torch.stack(report, dim=1), state.T.contiguous(), gates


def _adjoint_frames(
    transposed: Tensor,
    leak: Tensor,
    gates: Tensor,
    grad_voltages: Tensor,
    grad_final: Tensor,
    inputs: Tensor,
    columns: Tensor,
    readout: Tensor | None,
    n_columns: int,
) -> tuple[Tensor, Tensor]:
    # A copy: for one item the transpose alone would share the caller's memory.
    grad = grad_final.T.clone(memory_format=torch.contiguous_format)
    items, frames, _ = grad_voltages.shape
    to_light = grad.new_zeros((frames, n_columns, items))
    for t in range(frames - 1, -1, -1):
        _add(grad, grad_voltages[:, t], readout)
        driven = leak * grad
        to_light[t].index_add_(0, columns, driven[inputs])
        grad = grad - driven + torch.mm(transposed, driven).mul_(gates[t])
    return to_light.permute(2, 0, 1), grad.T


def _compress(
    row: np.ndarray, column: np.ndarray, tap: np.ndarray, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Row starts, columns and taps of a compressed sparse row matrix, duplicates kept."""
    order = np.lexsort((column, row))
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    return (
        torch.as_tensor(starts.astype(np.int32)),
        torch.as_tensor(column[order].astype(np.int32)),
        torch.as_tensor(tap[order]),
    )


def _matrix(order: tuple[Tensor, Tensor, Tensor], values: Tensor) -> Tensor:
    starts, columns, taps = (part.to(values.device) for part in order)
    n = len(starts) - 1
    with warnings.catch_warnings():
        # torch calls this layout a beta at every first use; the tests hold us to its results.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts, columns, values[taps], size=(n, n), check_invariants=False
        )


def _by_network(network_index: Tensor) -> list[tuple[int, Tensor]]:
    return [
        (int(network), torch.nonzero(network_index == network).flatten())
        for network in torch.unique(network_index)
    ]


def _rows(readout: Tensor | None, chosen: Tensor) -> Tensor | None:
    return None if readout is None else readout[chosen]


def _read(state: Tensor, readout: Tensor | None) -> Tensor:
    return state.T if readout is None else torch.gather(state.T, 1, readout)


def _add(grad: Tensor, incoming: Tensor, readout: Tensor | None) -> None:
    if readout is None:
        grad += incoming.T
    else:
        grad.T.scatter_add_(1, readout, incoming)
