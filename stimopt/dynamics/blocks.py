"""The cells of a network in blocks of neighbours, for the time loops on eight items at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stimopt.dynamics.layout import CellLayout
from stimopt.dynamics.padded_grid import TapTable
from stimopt.lattice import Ints

WIDEST = 12
"""Most cells of a block: their sums, a tap and what it reads fit in the 16 registers of AVX2.

Twice as many, in the 32 registers of AVX-512, were hardly faster and took twice as long to compile.
"""
WIDTHS = (*range(WIDEST, WIDEST // 2 - 1, -1), 1)
"""Cells a block may have. Any length above `WIDEST` can be cut evenly into such blocks."""
LONGEST_RUN = 4
"""Most taps of a run."""
RUNS_AHEAD = 6
"""Runs between the one that is computed and the one of whose source the first line is fetched into
the first-level cache; the processor then fetches those behind it by itself."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of cells of one type in successive columns of one row (constant u), in two orders.

    *Padded*, for reading by taps: for each row of the lattice the types one after another, with a
    border of zeros as wide as the longest tap, so that a tap never needs to ask whether its source
    exists. *Packed*, for the gates: cells in the order in which blocks are worked on. That is row
    by row, and in a row a piece of every type, then the next piece of every type: what the taps
    read for a piece fits in the second-level cache, and pieces of one width are worked on in a
    strip without a choice between.

    A place is that of a vector with a number for each of the eight items.

    Args:
        width: distance in padded order between (u, v) and (u + 1, v).
        stride: distance in padded order between two types.
        size: length of padded order, borders included.
        kind: type of each block, `(blocks,)`.
        position: padded place of its first column, for the first type, `(blocks,)`.
        column: its first column, `(blocks,)`.
        cell: its first cell, `(blocks,)`.
        count: its number of cells, `(blocks,)`.
        first: packed place of its first cell, and the number of cells, `(blocks + 1,)`.
        strip: first block of each strip, which has blocks of one piece and count, and the number of
            blocks, `(strips + 1,)`.
        packed: packed place of each cell, `(cells,)`.
        place: padded place of each cell, `(cells,)`.
        position_of_column: padded place of each column, for the first type, `(columns,)`.
    """

    width: int
    stride: int
    size: int
    kind: Ints
    position: Ints
    column: Ints
    cell: Ints
    count: Ints
    first: Ints
    strip: Ints
    packed: Ints
    place: Ints
    position_of_column: Ints

    @classmethod
    def of(cls, layout: CellLayout) -> Blocks:
        """The blocks of a layout, with borders for the longest of its taps."""
        taps, n = layout.connectome.taps, layout.lattice.extent
        reach_u, reach_v = (int(np.abs(d).max(initial=0)) for d in (taps.du, taps.dv))
        rows = 2 * n + 1
        # The border right of one type is the border left of the next.
        stride = rows + reach_v
        width = stride * len(layout.connectome.cell_types)
        border = reach_u * width + reach_v
        position = border + (layout.lattice.u + n) * width + layout.lattice.v + n
        cell, count = _cut(layout, position)
        row = layout.lattice.u[layout.column_of_cell[cell]]
        kind, column = layout.type_of_cell[cell], layout.column_of_cell[cell]
        # Single cells, of types that stand in few columns, come first, not to lie between strips.
        order = np.lexsort((kind, count, column, count > 1, row))
        kind, column, cell, count = (each[order] for each in (kind, column, cell, count))
        first = np.concatenate([[0], np.cumsum(count)])
        within = np.arange(layout.n_cells) - np.repeat(first[:-1], count)
        packed = np.empty(layout.n_cells, dtype=np.int64)
        packed[np.repeat(cell, count) + within] = np.arange(layout.n_cells)
        ends = np.flatnonzero((np.diff(column, append=-1) != 0) | (np.diff(count, append=-1) != 0))
        return cls(
            width=width,
            stride=stride,
            size=rows * width + 2 * border,
            kind=kind,
            position=position[column],
            column=column,
            cell=cell,
            count=count,
            first=first,
            strip=np.concatenate([[0], ends + 1]),
            packed=packed,
            place=position[layout.column_of_cell] + layout.type_of_cell * stride,
            position_of_column=position,
        )

    def split(self, table: TapTable, parts: int) -> Ints:
        """Bounds that cut the strips into `parts` runs of about equal work, `(parts + 1,)`."""
        work = np.concatenate([[0], np.cumsum(self.work(table))])
        bounds: Ints = np.searchsorted(work[self.strip], work[-1] * np.arange(parts + 1) / parts)
        return bounds

    def work(self, table: TapTable) -> Ints:
        """Vector multiply-adds of each block, and as much for the rest of its work, `(blocks,)`."""
        # Leak, gate and storing cost a cell about as much as six taps.
        work: Ints = (np.diff(table.first)[self.kind] + 6) * self.count
        return work


def _cut(layout: CellLayout, position: Ints) -> tuple[Ints, Ints]:
    """First cell of each block and its number of cells, types one after another."""
    place = position[layout.column_of_cell]
    starts = np.flatnonzero(
        (np.diff(place, prepend=-1) != 1) | (np.diff(layout.type_of_cell, prepend=-1) != 0)
    )
    cells, counts = [], []
    for start, length in zip(starts, np.diff(starts, append=layout.n_cells), strict=True):
        parts = -(-length // WIDEST)
        if length // parts not in WIDTHS:
            parts = length
        edges = length * np.arange(parts + 1) // parts
        cells.append(start + edges[:-1])
        counts.append(np.diff(edges))
    return np.concatenate(cells), np.concatenate(counts)


@dataclass(frozen=True)
class Runs:
    """Taps to a type that read successive places: what one reads, the next one reads, too.

    Args:
        first: first run of each receiving type, and the number of runs, `(types + 1,)`.
        length: number of taps of each run, `(runs,)`.
        shift: padded place read by its first tap minus the `position`, `(runs + RUNS_AHEAD,)`.
    """

    first: Ints
    length: Ints
    shift: Ints

    @classmethod
    def of(cls, table: TapTable, direction: int) -> Runs:
        """The runs of a table in which the place read grows by `direction` from tap to tap."""
        starts: list[int] = []
        for start, stop in zip(table.first[:-1], table.first[1:], strict=True):
            for j in range(start, stop):
                successive = j > start and table.shift[j] == table.shift[j - 1] + direction
                if not successive or j - starts[-1] == LONGEST_RUN:
                    starts.append(j)
        begin = np.array(starts, dtype=np.int64)
        return cls(
            first=np.searchsorted(begin, table.first).astype(np.int64),
            length=np.diff(begin, append=table.first[-1]),
            shift=np.concatenate([table.shift[begin], np.zeros(RUNS_AHEAD, dtype=np.int64)]),
        )
