"""The step as a sparse matrix product in torch: any device, any number of items."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.lattice import Ints

CsrOrder = tuple[Tensor, Tensor, Tensor]
"""Row starts, columns and taps of the entries of a compressed sparse row matrix."""


class SparseStep:
    """Simulates with one sparse matrix per network and its transpose for the adjoint.

    The state is laid out `(cells, items)`, so that one pass over the matrix serves all items.
    """

    name = "sparse"

    def __init__(self, layout: CellLayout) -> None:
        self.layout = layout
        source, target, tap = layout.synapses
        self._order = csr_order(target, source, tap, layout.n_cells)
        self._transposed_order = csr_order(source, target, tap, layout.n_cells)
        self._matrices: dict[object, tuple[Tensor, Tensor, Tensor]] = {}

    def threads(self) -> AbstractContextManager[None]:
        """Nothing: torch's threads compute the products."""
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
            readout = None if drive.readout is None else drive.readout[chosen]
            voltages[chosen], final[chosen], gates = self._forward_frames(
                drive, network, luminance[chosen], initial[chosen], readout, keep
            )
            saved.append(gates)
        return voltages, final, saved

    def _forward_frames(
        self,
        drive: Drive,
        network: int,
        luminance: Tensor,
        initial: Tensor,
        readout: Tensor | None,
        keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All frames of the items of one network. Nothing in the loop waits for the device."""
        weights, _ = self._weights(drive, network, initial.dtype)
        type_of_cell, inputs, columns = self._indices(luminance.device)
        leak = drive.leak[network].to(initial.dtype)[type_of_cell, None]
        bias = drive.bias[network].to(initial.dtype)[type_of_cell, None]
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

    def adjoint(
        self, drive: Drive, saved: list[Tensor], grad_voltages: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `stimopt.dynamics.simulate.Step.adjoint`."""
        items, frames, _ = grad_voltages.shape
        grad_luminance = grad_voltages.new_empty((items, frames, self.layout.lattice.n_columns))
        grad_initial = torch.empty_like(grad_final)
        for (network, chosen), gates in zip(_by_network(drive.network_index), saved, strict=True):
            readout = None if drive.readout is None else drive.readout[chosen]
            grad_luminance[chosen], grad_initial[chosen] = self._adjoint_frames(
                drive, network, gates, grad_voltages[chosen], grad_final[chosen], readout
            )
        return grad_luminance, grad_initial

    def _adjoint_frames(
        self,
        drive: Drive,
        network: int,
        gates: Tensor,
        grad_voltages: Tensor,
        grad_final: Tensor,
        readout: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The adjoint of `_forward_frames`."""
        _, transposed = self._weights(drive, network, grad_final.dtype)
        type_of_cell, inputs, columns = self._indices(grad_final.device)
        leak = drive.leak[network].to(grad_final.dtype)[type_of_cell, None]
        # A copy: for one item the transpose alone would share the caller's memory.
        grad = grad_final.T.clone(memory_format=torch.contiguous_format)
        items, frames, _ = grad_voltages.shape
        to_light = grad.new_zeros((frames, self.layout.lattice.n_columns, items))
        for t in range(frames - 1, -1, -1):
            _add(grad, grad_voltages[:, t], readout)
            driven = leak * grad
            to_light[t].index_add_(0, columns, driven[inputs])
            grad = grad - driven + torch.mm(transposed, driven).mul_(gates[t])
        return to_light.permute(2, 0, 1), grad.T

    def _weights(self, drive: Drive, network: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Matrix and transpose of one network, built once per parameters, device and dtype."""
        values = drive.tap_weight[network]
        key = (network, values.device, dtype)
        stored = self._matrices.get(key)
        if stored is None or not torch.equal(stored[0], values):
            matrix = csr_matrix(self._order, values.to(dtype))
            transposed = csr_matrix(self._transposed_order, values.to(dtype))
            stored = self._matrices[key] = (values.clone(), matrix, transposed)
        return stored[1], stored[2]

    def _indices(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        cells, columns = self.layout.input_cells
        arrays = (self.layout.type_of_cell, cells, columns)
        type_of_cell, inputs, column = (torch.as_tensor(a, device=device) for a in arrays)
        return type_of_cell, inputs, column


def csr_order(row: Ints, column: Ints, tap: Ints, n: int) -> CsrOrder:
    """Entries of an n x n compressed sparse row matrix in order; entries at one place add up.

    Indices are 32-bit: a product reads its matrix once, and 64-bit ones would be half as much more
    to read.
    """
    order = np.lexsort((column, row))
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    return (
        torch.as_tensor(starts.astype(np.int32)),
        torch.as_tensor(column[order].astype(np.int32)),
        torch.as_tensor(tap[order]),
    )


def csr_matrix(order: CsrOrder, tap_weight: Tensor) -> Tensor:
    """The matrix with the weight of its tap in every entry, on the device of the weights."""
    starts, columns, taps = (part.to(tap_weight.device) for part in order)
    n = len(starts) - 1
    with warnings.catch_warnings():
        # torch calls this layout a beta at every first use; the tests check its results.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts, columns, tap_weight[taps], size=(n, n), check_invariants=False
        )


def _by_network(network_index: Tensor) -> list[tuple[int, Tensor]]:
    return [
        (int(network), torch.nonzero(network_index == network).flatten())
        for network in torch.unique(network_index)
    ]


def _read(state: Tensor, readout: Tensor | None) -> Tensor:
    return state.T if readout is None else torch.gather(state.T, 1, readout)


def _add(grad: Tensor, incoming: Tensor, readout: Tensor | None) -> None:
    if readout is None:
        grad += incoming.T
    else:
        grad.T.scatter_add_(1, readout, incoming)
