"""The step tap by tap: whole time loops compiled for the CPU, with no matrix in memory.

W is the same in all columns, so each tap is one weight and one offset in a padded grid of columns.
Items of one network are simulated eight at a time (`eight_items`), those left over one by one
(`one_item`). The speed of both beside that of the sparse step, and as a share of the processor's
peak, is in `benchmarks/`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stimopt.dynamics.blocks import Blocks, Runs
from stimopt.dynamics.compiling import compiled
from stimopt.dynamics.eight_items import FORWARD, TRANSPOSED, adjoint_items, forward_items
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.one_item import adjoint_item, forward_item
from stimopt.dynamics.padded_grid import LANES, PaddedGrid, TapTable
from stimopt.dynamics.threads import pool, step_threads, torch_on_one_thread
from stimopt.lattice import Ints

WORTH_A_GROUP = 7
"""Items of one network that are simulated faster with an empty lane beside them than one by one,
without more memory for their gates."""
WORTH_A_THREAD = 30_000
"""Vector multiply-adds a frame for which a part of a call gets a thread: a few times the cost of
waiting for each other once a frame."""
WORTH_WAKING = 300_000
"""Vector multiply-adds in all for which other threads are woken: twice the cost of waking them."""

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class _Taps:
    """Non-zero taps of one network in one precision and direction, as a time loop takes them."""

    weight: Tensor
    table: TapTable
    rule: Arrays


@dataclass(frozen=True)
class _Call:
    """A compiled time loop over all frames of one item, or of up to eight.

    Args:
        run: the loop; takes scratch arrays and the share of one thread.
        scratch: a context with scratch arrays.
        work: vector multiply-adds a frame.
        split: bounds of the shares of so many threads.
    """

    run: Callable[[Any, Arrays], None]
    scratch: Callable[[], AbstractContextManager[Any]]
    work: int
    split: Callable[[int], Ints]

    def in_parts(self, parts: int) -> None:
        bounds = self.split(parts).tolist()
        counters = np.zeros(2, dtype=np.int64)
        shares = [(bounds[i], bounds[i + 1], i, parts, counters) for i in range(parts)]
        with self.scratch() as scratch:
            if parts == 1:
                self.run(scratch, shares[0])
            else:
                pool.together([functools.partial(self.run, scratch, s) for s in shares], counters)


class FusedStep:
    """Simulates items in compiled calls, eight of one network in each, or one.

    Many calls are shared out between the threads; if there are few, the cells of a call are. The
    number of threads is torch's. Results depend neither on it nor on the other items.
    """

    name = "fused"

    def __init__(self, layout: CellLayout) -> None:
        self.layout = layout
        self.grid = PaddedGrid.of(layout)
        self.blocks = Blocks.of(layout)
        connectome = layout.connectome
        inputs = sorted({connectome.type_index[name] for name in connectome.input_types})
        self._inputs = np.array(inputs, dtype=np.int64)
        self._is_input = np.isin(np.arange(len(connectome.cell_types)), self._inputs)
        self._taps: dict[tuple[int, torch.dtype, bool, bool], _Taps] = {}
        self._idle: dict[torch.dtype, list[Any]] = {}

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
        groups, single = divide(drive.network_index.tolist())
        stored = frames if keep else 1
        gates = [
            torch.empty((len(groups), stored, self.layout.n_cells), dtype=torch.uint8),
            torch.empty((len(single), stored, self.grid.mask.size), dtype=torch.uint8),
        ]
        leak, bias = (_array(values.to(luminance.dtype)) for values in (drive.leak, drive.bias))
        drives = [(leak[n], bias[n], self._is_input) for n in range(len(leak))]
        tensors = (luminance, initial, voltages, final)
        loops = forward_items, forward_item
        self._run(loops, drive, drives, tensors, gates, transposed=False)
        return voltages, final, gates if keep else []

    def adjoint(
        self, drive: Drive, saved: list[Tensor], grad_voltages: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `stimopt.dynamics.simulate.Step.adjoint`."""
        items, frames, _ = grad_voltages.shape
        columns = self.layout.lattice.n_columns
        grad_luminance = grad_voltages.new_empty((items, frames, columns))
        grad_initial = torch.empty_like(grad_final, memory_format=torch.contiguous_format)
        leak = drive.leak.to(grad_final.dtype)
        rate = leak[drive.network_index][:, torch.as_tensor(self.layout.type_of_cell)]
        leak = _array(leak)
        rest = (np.zeros_like(leak[0]), np.zeros_like(self._is_input), self._inputs)
        drives = [(leak[n], *rest) for n in range(len(leak))]
        tensors = (grad_voltages, grad_final * rate, grad_luminance, grad_initial)
        loops = adjoint_items, adjoint_item
        self._run(loops, drive, drives, tensors, saved, transposed=True)
        return grad_luminance, grad_initial.div_(rate)

    def _run(
        self,
        loops: tuple[Callable[..., None], Callable[..., None]],
        drive: Drive,
        drives: list[Arrays],
        tensors: tuple[Tensor, ...],
        gates: list[Tensor],
        transposed: bool,
    ) -> None:
        """Run all items, eight or one in each call of a loop."""
        dtype, frames = tensors[0].dtype, tensors[0].shape[1]
        arrays = [_array(tensor) for tensor in tensors]
        readout = self._readout(drive, len(tensors[0]))
        networks = drive.network_index.tolist()
        groups, single = divide(networks)
        eight, one = (compiled(loop, str(arrays[0].dtype)) for loop in loops)
        group_gates, single_gates = (_array(each) for each in gates)

        def call_eight(number: int) -> _Call:
            items = np.array(groups[number], dtype=np.int64)
            network = networks[items[0]]
            taps = self._tabulated(drive, network, dtype, True, transposed)

            def run(state: Any, share: Arrays) -> None:
                own = (*arrays, group_gates[number], items, state, taps.rule, drives[network])
                eight(*own, self._block_arrays, readout, share)

            work = int(self.blocks.work(taps.table).sum())
            split = functools.partial(self.blocks.split, taps.table)
            return _Call(run, functools.partial(self._lent, dtype), work, split)

        def call_one(number: int) -> _Call:
            item = single[number]
            network = networks[item]
            taps = self._tabulated(drive, network, dtype, False, transposed)
            places = np.ascontiguousarray(self.grid.lane_of_cell[readout[item]])

            def run(scratch: Arrays, share: Arrays) -> None:
                own = (array[item] for array in arrays)
                rest = (single_gates[number], scratch, taps.rule, drives[network])
                one(*own, *rest, self._grid_arrays, places, share)

            work = len(taps.table.shift) * self.grid.n_vectors
            return _Call(run, functools.partial(self._new, dtype), work, taps.table.split)

        _share_out([call_eight(number) for number in range(len(groups))], frames)
        _share_out([call_one(number) for number in range(len(single))], frames)

    def _readout(self, drive: Drive, items: int) -> Ints:
        """Cells to report of each item, `(items, k)`."""
        if drive.readout is None:
            every: Ints = np.tile(np.arange(self.layout.n_cells), (items, 1))
            return every
        chosen: Ints = _array(drive.readout)
        return chosen

    def _tabulated(
        self, drive: Drive, network: int, dtype: torch.dtype, eight: bool, transposed: bool
    ) -> _Taps:
        """Taps of a network for a loop on eight items or one, tabulated once per parameters."""
        values, key = drive.tap_weight[network], (network, dtype, eight, transposed)
        stored = self._taps.get(key)
        same_dtype = stored is not None and stored.weight.dtype == values.dtype
        if stored is None or not same_dtype or not torch.equal(stored.weight, values):
            weight = values.detach().to(dtype).numpy()
            places = self.blocks if eight else self.grid
            table = TapTable.of(self.layout, places, weight != 0, transposed)
            rule: Arrays = (table.first, table.shift)
            if eight:
                runs = Runs.of(table, TRANSPOSED if transposed else FORWARD)
                rule = (runs.first, runs.length, runs.shift, table.first)
            rule = (*rule, np.ascontiguousarray(weight[table.tap]))
            stored = self._taps[key] = _Taps(values.detach().clone(), table, rule)
        return stored

    @functools.cached_property
    def _grid_arrays(self) -> Arrays:
        grid = self.grid
        return (
            grid.position,
            grid.column_of_lane,
            grid.mask.reshape(-1),
            grid.lane_of_cell,
            grid.first_cell,
            grid.stride,
        )

    @functools.cached_property
    def _block_arrays(self) -> Arrays:
        blocks = self.blocks
        return (
            blocks.kind,
            blocks.position,
            blocks.column,
            blocks.cell,
            blocks.count,
            blocks.first,
            blocks.strip,
            blocks.packed,
            blocks.place,
            self.layout.type_of_cell,
            blocks.position_of_column,
            blocks.stride,
            blocks.width,
        )

    @contextmanager
    def _new(self, dtype: torch.dtype) -> Iterator[Arrays]:
        """Scratch arrays of a loop on one item."""
        lanes, size = self.grid.mask.size * LANES, self.grid.size
        yield torch.zeros(lanes, dtype=dtype).numpy(), torch.zeros((2, size), dtype=dtype).numpy()

    @contextmanager
    def _lent(self, dtype: torch.dtype) -> Iterator[Any]:
        """State of a loop on eight items, reused: no loop writes to the borders."""
        idle = self._idle.setdefault(dtype, [])
        try:
            state = idle.pop()
        except IndexError:
            # By torch, as it aligns vectors with the lines of the cache.
            state = torch.zeros((2, self.blocks.size * LANES), dtype=dtype).numpy()
        yield state
        idle.append(state)


def divide(networks: list[int]) -> tuple[list[list[int]], list[int]]:
    """Items that are simulated together, up to eight of one network in each group, and the rest.

    Args:
        networks: the network of each item.
    """
    groups, single = [], []
    for network in dict.fromkeys(networks):
        items = [item for item, own in enumerate(networks) if own == network]
        for start in range(0, len(items), LANES):
            group = items[start : start + LANES]
            if len(group) < WORTH_A_GROUP:
                single += group
            else:
                groups.append(group)
    return groups, single


def _share_out(calls: list[_Call], frames: int) -> None:
    """Run all calls: whole ones side by side, the odd ones left over cut into parts."""
    work = max((call.work for call in calls), default=0)
    threads = 1 if work * frames * len(calls) < WORTH_WAKING else step_threads()
    parts = max(1, min(threads, work // WORTH_A_THREAD))
    odd = len(calls) % threads
    if odd >= parts:  # Side by side is no slower.
        odd = 0
    pool.each(lambda number: calls[number].in_parts(1), range(len(calls) - odd), threads)
    for call in calls[len(calls) - odd :]:
        call.in_parts(parts)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()
