"""Starts tried side by side: one stimulus shows several, each around another cell of the type.

A column has the same inputs as any other, so a start may be tried around a cell beside the one it
is for, and then be moved there. The gradient of the sum of the cells' responses is that of every
start with respect to its own pixels, but for what neighbours add across the borders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from stimopt.items import Item, Reading, Readout
from stimopt.lattice import NEIGHBOURS, HexLattice, Ints, column_steps
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY

Shift = tuple[int, int]
"""Axial steps (du, dv)."""
APART = 10
"""Columns from a cell to the six around it: each start has five in every direction, within which
most of what drives a cell lies. The lattice of the published network has room for all six."""
ASIDE = 2
"""Columns by which a place may be off, as some types have no cell in every column."""


class Places(nn.Module):
    """The cell of every item and the cells around it, with the columns that belong to each.

    Attributes:
        readout: reads the item's readings at every place, place by place.
        count: places of every item, `(items,)`; the other ones repeat the first and own no column.
        column: of the stimulus, for every column of a start, `(items, places, columns)`; the number
            of columns where the place does not own it.
        owner: place that owns a column, `(items, columns)`; the number of places where none does.

    Args:
        network: with the cells.
        items: of the fit.
    """

    count: Tensor
    column: Tensor
    owner: Tensor

    def __init__(self, network: ResponseModel, items: Sequence[Item]) -> None:
        super().__init__()
        lattice = network.lattice
        known: dict[tuple[Reading, ...], list[Shift]] = {}
        shifts = []
        for item in items:
            cells = tuple(replace(reading, network=0) for reading in item.readings)
            if cells not in known:
                known[cells] = _shifts(network, cells)
            shifts.append(known[cells])
        most = max(map(len, shifts))
        column = np.full((len(items), most, lattice.n_columns), lattice.n_columns)
        moved = []
        for i, (item, own) in enumerate(zip(items, shifts, strict=True)):
            column[i, : len(own)] = _columns(lattice, item, own)
            filled = [*own, *[own[0]] * (most - len(own))]
            readings = (_moved(reading, shift) for shift in filled for reading in item.readings)
            moved.append(replace(item, readings=tuple(readings)))
        self.readout = Readout(network, moved)
        count = torch.tensor([len(own) for own in shifts])
        self.register_buffer("count", count, persistent=False)
        self.register_buffer("column", torch.as_tensor(column), persistent=False)
        # A last column takes what no place owns.
        owner = torch.full((len(items), lattice.n_columns + 1), most)
        for place in range(most):
            owner.scatter_(1, self.column[:, place], place)
        self.register_buffer("owner", owner[:, :-1].contiguous(), persistent=False)

    def together(self, starts: Iterable[Tensor]) -> Tensor:
        """One stimulus that shows the starts at their places, grey elsewhere.

        Args:
            starts: one for every place, `(items, frames, columns)`.

        Returns:
            `(items, frames, columns)`.
        """
        whole: Tensor | None = None
        for place, start in enumerate(starts):
            if whole is None:
                items, frames, columns = start.shape
                whole = start.new_full((items, frames, columns + 1), GREY)
            whole.scatter_(2, self.column[:, place, None, :].expand_as(start), start)
        assert whole is not None  # every item has a place
        return whole[..., :-1]

    def apart(self, stimulus: Tensor, place: Tensor) -> Tensor:
        """What a stimulus shows at one place of every item, moved to the item's own cell.

        Args:
            stimulus: `(items, frames, columns)`.
            place: of every item, `(items,)`.

        Returns:
            `(items, frames, columns)`, grey beyond what the place owns.
        """
        grey = torch.full_like(stimulus[..., :1], GREY)
        where = self.column[torch.arange(len(place), device=place.device), place][:, None, :]
        whole = torch.cat([stimulus, grey], dim=2)
        return whole.gather(2, where.expand(-1, stimulus.shape[1], -1))

    def owned(self, place: int) -> Tensor:
        """Columns of the stimulus that belong to a place, `(items, columns)`, bool."""
        return self.owner == place


def _moved(reading: Reading, shift: Shift) -> Reading:
    return replace(reading, u=reading.u + shift[0], v=reading.v + shift[1])


def _shifts(network: ResponseModel, cells: Sequence[Reading]) -> list[Shift]:
    """Steps (du, dv) from the cells to their places, the first of which is their own."""
    aside = HexLattice(ASIDE)
    order = np.argsort(aside.ring, kind="stable")
    near = list(zip(aside.u[order].tolist(), aside.v[order].tolist(), strict=True))
    shifts = [(0, 0)]
    for u, v in NEIGHBOURS:
        tried = ((APART * u + a, APART * v + b) for a, b in near)
        shifts += [shift for shift in tried if _exist(network, cells, shift)][:1]
    return shifts


def _exist(network: ResponseModel, cells: Sequence[Reading], shift: Shift) -> bool:
    """Whether there are such cells so many columns aside."""
    for cell in cells:
        moved = _moved(cell, shift)
        column = int(network.lattice.index(moved.u, moved.v))
        if column < 0 or int(network.cells_of(cell.cell_type)[column]) < 0:
            return False
    return True


def _columns(lattice: HexLattice, item: Item, shifts: Sequence[Shift]) -> Ints:
    """See `Places.column`, of one item: `(places, columns)`. The nearest place owns a column."""
    du, dv = np.array(shifts).T[..., None]
    u, v = lattice.u - item.u - du, lattice.v - item.v - dv
    owner = column_steps(u, v).argmin(axis=0)
    column = lattice.index(lattice.u + du, lattice.v + dv)
    own = (column >= 0) & (owner[column] == np.arange(len(shifts))[:, None])
    return np.where(own, column, lattice.n_columns)
