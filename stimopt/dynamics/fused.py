"""The step tap by tap: whole time loops compiled for the CPU, with no matrix in memory.

W is the same in all columns, so each tap is one weight and one offset in a padded grid of columns
(`padded_grid`). The state of an item fits in the processor's second-level cache. Its speed beside
that of the sparse step, and as a share of the processor's peak, is in `benchmarks/`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stimopt.dynamics.kernels import kernels
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.padded_grid import LANES, PaddedGrid, TapTable
from stimopt.dynamics.threads import pool, step_threads, torch_on_one_thread

WORTH_A_THREAD = 30_000
"""Vector multiply-adds a frame for which a part of an item gets a thread: a few times the cost of
waiting for each other once a frame."""
WORTH_WAKING = 300_000
"""Vector multiply-adds in all for which other threads are woken: twice the cost of waking them."""

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class _Taps:
    """Non-zero taps of one network in one precision and direction."""

    table: TapTable
    arrays: Arrays

    @classmethod
    def of(cls, layout: CellLayout, grid: PaddedGrid, weight: Any, transposed: bool) -> _Taps:
        table = TapTable.of(layout, grid, weight != 0, transposed)
        return cls(table, (table.first, table.shift, np.ascontiguousarray(weight[table.tap])))


class FusedStep:
    """Simulates each item in one compiled call.

    Many items are shared out between the threads; if there are few, the cell types of an item are.
    The number of threads is torch's. Results depend neither on it nor on the other items.
    """

    name = "fused"

    def __init__(self, layout: CellLayout) -> None:
        self.layout = layout
        self.grid = PaddedGrid.of(layout)
        connectome = layout.connectome
        inputs = sorted({connectome.type_index[name] for name in connectome.input_types})
        self._inputs = np.array(inputs, dtype=np.int64)
        self._is_input = np.isin(np.arange(len(connectome.cell_types)), self._inputs)
        self._taps: dict[tuple[int, torch.dtype], tuple[Tensor, _Taps, _Taps]] = {}

    def threads(self) -> AbstractContextManager[None]:
        """See `stimopt.dynamics.simulate.Step.threads`."""
        return torch_on_one_thread()

    def forward(
        self, drive: Drive, luminance: Tensor, initial: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See `stimopt.dynamics.simulate.Step.forward`."""
        items, frames, _ = luminance.shape
        k = self.layout.n_cells if drive.readout is None else drive.readout.shape[1]
        voltages = luminance.new_empty((items, frames, k))
        final = torch.empty_like(initial, memory_format=torch.contiguous_format)
        n_gates = self.grid.mask.size
        gates = torch.empty((items, frames if keep else 0, n_gates), dtype=torch.uint8)
        arrays = [_array(tensor) for tensor in (luminance, initial, voltages, final, gates)]
        leak, bias = (_array(values.to(luminance.dtype)) for values in (drive.leak, drive.bias))
        networks = drive.network_index.tolist()
        tabulated = self._tabulated(drive, luminance.dtype)
        taps = [tabulated[network][0] for network in networks]
        drives = [(leak[network], bias[network], self._is_input) for network in networks]
        forward_item, _ = kernels(str(arrays[0].dtype))
        self._run(forward_item, arrays, taps, drives, self._readout(drive, items), frames)
        return voltages, final, [gates]

    def adjoint(
        self, drive: Drive, saved: list[Tensor], grad_voltages: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `stimopt.dynamics.simulate.Step.adjoint`."""
        items, frames, _ = grad_voltages.shape
        columns = self.layout.lattice.n_columns
        grad_luminance = grad_voltages.new_empty((items, frames, columns))
        grad_initial = torch.empty_like(grad_final, memory_format=torch.contiguous_format)
        tensors = (grad_voltages, grad_final, grad_luminance, grad_initial, saved[0])
        arrays = [_array(tensor) for tensor in tensors]
        leak = _array(drive.leak.to(grad_final.dtype))
        networks = drive.network_index.tolist()
        tabulated = self._tabulated(drive, grad_final.dtype)
        taps = [tabulated[network][1] for network in networks]
        drives = [(leak[network], self._inputs) for network in networks]
        _, adjoint_item = kernels(str(arrays[0].dtype))
        self._run(adjoint_item, arrays, taps, drives, self._readout(drive, items), frames)
        return grad_luminance, grad_initial

    def _readout(self, drive: Drive, items: int) -> list[Any]:
        """Packed places to report for each item, `(k,)`."""
        lanes = self.grid.lane_of_cell
        if drive.readout is None:
            return [lanes] * items
        return list(np.ascontiguousarray(lanes[drive.readout.numpy()]))

    def _tabulated(self, drive: Drive, dtype: torch.dtype) -> dict[int, tuple[_Taps, _Taps]]:
        """Taps of the networks in use and their transpose, tabulated once per parameters."""
        used = {}
        for network in set(drive.network_index.tolist()):
            values, key = drive.tap_weight[network], (network, dtype)
            stored = self._taps.get(key)
            same_dtype = stored is not None and stored[0].dtype == values.dtype
            if stored is None or not same_dtype or not torch.equal(stored[0], values):
                weight = values.detach().to(dtype).numpy()
                forward = _Taps.of(self.layout, self.grid, weight, transposed=False)
                adjoint = _Taps.of(self.layout, self.grid, weight, transposed=True)
                stored = self._taps[key] = (values.detach().clone(), forward, adjoint)
            used[network] = stored[1:]
        return used

    def _run(
        self,
        kernel: Callable[..., None],
        arrays: list[Any],
        taps: list[_Taps],
        drives: list[Arrays],
        readout: list[Any],
        frames: int,
    ) -> None:
        """Run all items: whole ones side by side, the odd ones left over cut by cell types."""
        items, dtype, grid = len(taps), arrays[0].dtype, self._grid

        def run(item: int, scratch: Arrays, share: Arrays) -> None:
            own = (array[item] for array in arrays)
            kernel(*own, scratch, taps[item].arrays, drives[item], grid, readout[item], share)

        def run_whole(item: int) -> None:
            run(item, self._scratch(dtype), _shares(taps[item].table, 1)[0])

        def run_parts(item: int, parts: int) -> None:
            scratch, shares = self._scratch(dtype), _shares(taps[item].table, parts)
            calls = [functools.partial(run, item, scratch, share) for share in shares]
            pool.together(calls, shares[0][-1])

        work = max((len(each.table.shift) for each in taps), default=0) * self.grid.n_vectors
        threads = 1 if work * frames * items < WORTH_WAKING else step_threads()
        parts = max(1, min(threads, work // WORTH_A_THREAD))
        odd = items % threads
        if odd >= parts:  # Side by side is no slower.
            odd = 0
        pool.each(run_whole, range(items - odd), threads)
        for item in range(items - odd, items):
            run_parts(item, parts)

    @property
    def _grid(self) -> Arrays:
        grid = self.grid
        return (
            grid.position,
            grid.column_of_lane,
            grid.mask.reshape(-1),
            grid.lane_of_cell,
            grid.first_cell,
            grid.stride,
        )

    def _scratch(self, dtype: np.dtype[Any]) -> Arrays:
        return np.zeros(self.grid.mask.size * LANES, dtype), np.zeros((2, self.grid.size), dtype)


def _shares(table: TapTable, parts: int) -> list[Arrays]:
    bounds = table.split(parts).tolist()
    counters = np.zeros(2, dtype=np.int64)
    return [(bounds[i], bounds[i + 1], i, parts, counters) for i in range(parts)]


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
