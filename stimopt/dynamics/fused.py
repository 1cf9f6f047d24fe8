"""The step as a stencil over the lattice: whole time loops on the CPU, no matrix in memory.

Milliseconds of processor time a frame and item (network flow/0000/000, extent 15, 80 frames,
float32, AMD EPYC with AVX-512, least of many repeats on a busy machine):

| items | sparse forward | and adjoint | fused forward | and adjoint |
|---|---|---|---|---|
| 1 | 1.33 | 2.86 | 0.085 | 0.168 |
| 16 | 0.32 | 0.70 | 0.080 | 0.159 |
| 65 | 0.34 | 0.67 | 0.080 | 0.171 |

Of the 0.085, 0.072 are the kernel itself: 42 GFLOP/s in connections that exist, 52 in those
worked on. With offsets that keep all reads aligned and in the first-level cache it takes 0.068:
memory beyond that is not what limits it. Two threads take the same time in
sum, with adjoint 0.19 for one item and 0.17 for 16.

The taps of a type read one vector for every multiply-add, at places that cross a cache line in
seven of sixteen cases: with the tap's weight and offset 13.5 reads for 8 multiply-adds, of which
this processor does two a cycle. That is 0.057 of the 0.072; storing the new state is the rest.
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
"""Vector multiply-adds a frame for which a part of an item gets a thread: about 10 us of work, a
few times the cost of waiting for each other once a frame."""
WORTH_WAKING = 300_000
"""Vector multiply-adds for which other threads are woken at all: about 100 us, as that takes 50."""

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class _Rule:
    """The taps of one network that are not zero, forward and transposed, in one precision."""

    values: Tensor
    forward: TapTable
    adjoint: TapTable
    forward_weight: Arrays
    adjoint_weight: Arrays


class FusedStep:
    """Simulates each item in one compiled call, which keeps its state in the second-level cache.

    Many items share out the threads; for few, the cell types of an item do. The number of threads
    is torch's. Results do not depend on it, nor on what else is in the batch.
    """

    name = "fused"

    def __init__(self, layout: CellLayout) -> None:
        self.layout = layout
        self.grid = PaddedGrid.of(layout)
        connectome = layout.connectome
        inputs = sorted({connectome.type_index[name] for name in connectome.input_types})
        self._inputs = np.array(inputs, dtype=np.int64)
        self._is_input = np.isin(np.arange(len(connectome.cell_types)), self._inputs)
        self._rules: dict[tuple[int, torch.dtype], _Rule] = {}

    def threads(self) -> AbstractContextManager[None]:
        """See `stimopt.dynamics.simulate.Step.threads`."""
        return torch_on_one_thread()

    def forward(
        self, drive: Drive, luminance: Tensor, initial: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See `stimopt.dynamics.simulate.Step.forward`."""
        items, frames, _ = luminance.shape
        luminance, initial = luminance.contiguous(), initial.contiguous()
        readout = self._readout(drive, items)
        k = self.layout.n_cells if drive.readout is None else drive.readout.shape[1]
        voltages = luminance.new_empty((items, frames, k))
        final = torch.empty_like(initial)
        n_gates = self.grid.mask.size
        gates = torch.empty((items, frames if keep else 0, n_gates), dtype=torch.uint8)
        light, start, out, end, gate = map(_array, (luminance, initial, voltages, final, gates))
        kernel = kernels(str(light.dtype))[0]
        rules, leak, bias = self._parameters(drive, luminance.dtype)
        networks = drive.network_index.tolist()

        def run(item: int, scratch: Arrays, share: Arrays) -> None:
            network = networks[item]
            kernel(
                light[item],
                start[item],
                out[item],
                end[item],
                gate[item],
                scratch,
                rules[network].forward_weight,
                (leak[network], bias[network], self._is_input),
                self._grid,
                readout[item],
                share,
            )

        self._share_out(run, [rules[n].forward for n in networks], frames, light.dtype)
        return voltages, final, [gates]

    def adjoint(
        self, drive: Drive, saved: list[Tensor], grad_voltages: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `stimopt.dynamics.simulate.Step.adjoint`."""
        items, frames, _ = grad_voltages.shape
        grad_voltages, grad_final = grad_voltages.contiguous(), grad_final.contiguous()
        readout = self._readout(drive, items)
        columns = self.layout.lattice.n_columns
        grad_luminance = grad_voltages.new_empty((items, frames, columns))
        grad_initial = torch.empty_like(grad_final)
        incoming, end, light, start, gate = map(
            _array, (grad_voltages, grad_final, grad_luminance, grad_initial, saved[0])
        )
        kernel = kernels(str(end.dtype))[1]
        rules, leak, _ = self._parameters(drive, grad_final.dtype)
        networks = drive.network_index.tolist()

        def run(item: int, scratch: Arrays, share: Arrays) -> None:
            network = networks[item]
            kernel(
                incoming[item],
                end[item],
                light[item],
                start[item],
                gate[item],
                scratch,
                rules[network].adjoint_weight,
                (leak[network], self._inputs),
                self._grid,
                readout[item],
                share,
            )

        self._share_out(run, [rules[n].adjoint for n in networks], frames, end.dtype)
        return grad_luminance, grad_initial

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

    def _readout(self, drive: Drive, items: int) -> list[Any]:
        """Packed places to report for each item, `(k,)`."""
        lanes = self.grid.lane_of_cell
        if drive.readout is None:
            return [lanes] * items
        return list(np.ascontiguousarray(lanes[drive.readout.numpy()]))

    def _parameters(self, drive: Drive, dtype: torch.dtype) -> tuple[dict[int, _Rule], Any, Any]:
        """Taps of the networks in use, and leak and bias `(networks, types)`."""
        networks = sorted(set(drive.network_index.tolist()))
        rules = {network: self._rule(drive, network, dtype) for network in networks}
        return rules, _array(drive.leak.to(dtype)), _array(drive.bias.to(dtype))

    def _rule(self, drive: Drive, network: int, dtype: torch.dtype) -> _Rule:
        """Taps of one network, tabulated once per parameters and precision."""
        values = drive.tap_weight[network]
        held = self._rules.get((network, dtype))
        same_type = held is not None and held.values.dtype == values.dtype
        if held is not None and same_type and torch.equal(held.values, values):
            return held
        weight = values.detach().to(dtype).numpy()
        used = weight != 0
        tables = [TapTable.of(self.layout, self.grid, used, transposed=t) for t in (False, True)]
        weights = [(t.first, t.shift, np.ascontiguousarray(weight[t.tap])) for t in tables]
        rule = _Rule(values.detach().clone(), tables[0], tables[1], weights[0], weights[1])
        self._rules[network, dtype] = rule
        return rule

    def _share_out(
        self,
        run: Callable[[int, Arrays, Arrays], None],
        tables: list[TapTable],
        frames: int,
        dtype: np.dtype[Any],
    ) -> None:
        """Run all items: whole ones side by side, the odd ones left over cut by cell types."""
        items = len(tables)
        work = max((len(t.shift) for t in tables), default=0) * self.grid.n_vectors
        threads = step_threads()
        if work * frames * items < WORTH_WAKING:
            threads = 1
        parts = max(1, min(threads, work // WORTH_A_THREAD))
        odd = items % threads
        if odd >= parts:  # side by side is no slower
            odd = 0
        whole = items - odd

        def run_whole(item: int) -> None:
            run(item, self._scratch(dtype), self._shares(tables[item], 1)[0])

        def run_parts(item: int) -> None:
            scratch, shares = self._scratch(dtype), self._shares(tables[item], parts)
            calls = [functools.partial(run, item, scratch, share) for share in shares]
            pool.together(calls, shares[0][-1])

        pool.each(run_whole, range(whole), threads)
        for item in range(whole, items):
            run_parts(item)

    def _scratch(self, dtype: np.dtype[Any]) -> Arrays:
        return np.zeros(self.grid.mask.size * LANES, dtype), np.zeros((2, self.grid.size), dtype)

    def _shares(self, table: TapTable, parts: int) -> list[Arrays]:
        bounds = table.split(parts).tolist()
        counters = np.zeros(2, dtype=np.int64)
        return [(bounds[i], bounds[i + 1], i, parts, counters) for i in range(parts)]


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
