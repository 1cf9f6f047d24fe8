"""Cells, synapses and parameters of a simulation, in the terms that all implementations share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stimopt.connectome import Connectome
from stimopt.lattice import HexLattice, Ints


class CellLayout:
    """Cells of a connectome on a lattice, listed by type, then column (flyvis's order).

    Args:
        connectome: cell types, strides and taps.
        lattice: the columns.
    """

    def __init__(self, connectome: Connectome, lattice: HexLattice) -> None:
        self.connectome = connectome
        self.lattice = lattice

    @cached_property
    def occupied(self) -> NDArray[np.bool_]:
        """Whether a type has a cell in a column, `(types, columns)`."""
        u, v = self.lattice.u, self.lattice.v
        return np.stack([(u % su == 0) & (v % sv == 0) for su, sv in self.connectome.strides])

    @cached_property
    def cell_index(self) -> Ints:
        """Cell of a type in a column, -1 where there is none, `(types, columns)`."""
        index = np.full(self.occupied.shape, -1, dtype=np.int64)
        index[self.occupied] = np.arange(self.n_cells)
        return index

    @cached_property
    def type_of_cell(self) -> Ints:
        """Position of the cell's type among the cell types, `(cells,)`."""
        return np.nonzero(self.occupied)[0].astype(np.int64)

    @cached_property
    def column_of_cell(self) -> Ints:
        """Column of each cell, `(cells,)`."""
        return np.nonzero(self.occupied)[1].astype(np.int64)

    @property
    def n_cells(self) -> int:
        """Number of cells on this lattice."""
        return int(self.occupied.sum())

    @cached_property
    def input_cells(self) -> tuple[Ints, Ints]:
        """The photoreceptors: cell and column, `(inputs,)` each."""
        types = [self.connectome.type_index[name] for name in self.connectome.input_types]
        cells = np.sort(self.cell_index[types][self.occupied[types]])
        return cells, self.column_of_cell[cells]

    @cached_property
    def synapses(self) -> tuple[Ints, Ints, Ints]:
        """Every connection: source cell, target cell and its tap, `(synapses,)` each."""
        taps = self.connectome.taps
        u, v = self.lattice.u, self.lattice.v
        sources, targets, numbers = [], [], []
        for tap in range(len(taps)):
            column = self.lattice.index(u + taps.du[tap], v + taps.dv[tap])
            source = self.cell_index[taps.source[tap]]
            target = np.where(column >= 0, self.cell_index[taps.target[tap], column], -1)
            there = (source >= 0) & (target >= 0)
            sources.append(source[there])
            targets.append(target[there])
            numbers.append(np.full(there.sum(), tap, dtype=np.int64))
        if not numbers:
            empty = np.zeros(0, dtype=np.int64)
            return empty, empty, empty
        return np.concatenate(sources), np.concatenate(targets), np.concatenate(numbers)


@dataclass(frozen=True)
class Drive:
    """Parameters, step and read-out of one simulation.

    Args:
        bias: resting potential, `(networks, types)`.
        time_const: membrane time constant in seconds, `(networks, types)`.
        tap_weight: signed weight of every tap, multiplicity included, `(networks, taps)`.
        network_index: the parameter set each item uses, `(items,)`.
        dt: Euler step in seconds.
        readout: cells to report, `(items, k)`; None reports all.
    """

    bias: Tensor
    time_const: Tensor
    tap_weight: Tensor
    network_index: Tensor
    dt: float
    readout: Tensor | None = None

    @property
    def leak(self) -> Tensor:
        """a = dt / max(tau, dt), the share of the way to equilibrium in one step."""
        return leak_of(self.time_const, self.dt)


def leak_of(time_const: Tensor, dt: float) -> Tensor:
    """a = dt / max(tau, dt), the share of the way to equilibrium in one step, as in flyvis.

    Args:
        time_const: tau in seconds, of any shape.
        dt: the step in seconds.
    """
    return dt / time_const.clamp(min=dt)
