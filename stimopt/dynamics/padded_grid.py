"""The lattice with a border of zeros, laid out so that a tap is one constant offset in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stimopt.dynamics.layout import CellLayout
from stimopt.lattice import HexLattice, Ints

Bytes = NDArray[np.uint8]

LANES = 8
"""Columns worked on at once; the mask or gate of that many cells is one byte.

Rows of 16 to 31 columns fill vectors of 8 better than vectors of 16, and a read that is not aligned
crosses a cache line half as often.
"""
GROUP = 8
"""Vectors whose sums stay in registers at once; 4, 6 and 10 were slower (AVX-512)."""


@dataclass(frozen=True)
class PaddedGrid:
    """The places of the columns in two orders.

    *Padded*, for reading by taps: each type has rows of constant u, `width` apart, with a border of
    zeros as wide as the longest tap, so that a tap never needs to ask whether its source exists.
    *Packed*, for all else: the vectors that cover the rows one after another, `LANES` columns each.

    Args:
        width: distance in padded order between (u, v) and (u + 1, v).
        stride: distance in padded order between two types.
        size: length of padded order over all types, borders included.
        position: padded place of each vector's first column, for the first type, `(vectors,)`.
        column_of_lane: column of each place in packed order, -1 where none, `(vectors * LANES,)`.
        mask: one bit for each column of a vector in which the type has a cell,
            `(types, vectors)`.
        lane_of_cell: packed place of each cell, types one after another, `(cells,)`.
        first_cell: first cell of each type, and the number of cells, `(types + 1,)`.
    """

    width: int
    stride: int
    size: int
    position: Ints
    column_of_lane: Ints
    mask: Bytes
    lane_of_cell: Ints
    first_cell: Ints

    @property
    def n_vectors(self) -> int:
        """Vectors of one type."""
        return len(self.position)

    @classmethod
    def of(cls, layout: CellLayout) -> PaddedGrid:
        """The grid of a layout, with a border for the longest of its taps."""
        n = layout.lattice.extent
        taps = layout.connectome.taps
        reach_u = int(np.abs(taps.du).max(initial=0))
        reach_v = int(np.abs(taps.dv).max(initial=0))
        # The border right of one row is the border left of the next.
        width = 2 * n + 1 + reach_v
        # A vector may extend beyond the end of the last row by LANES - 1.
        border = reach_u * width + reach_v + LANES
        rows = 2 * n + 1
        position, column_of_lane = _vectors(layout.lattice, width, border)
        there = layout.occupied[:, column_of_lane] & (column_of_lane >= 0)
        n_types = len(there)
        mask = np.packbits(there.reshape(n_types, -1, LANES), axis=2, bitorder="little")[..., 0]
        lane_of_column = np.empty(layout.lattice.n_columns, dtype=np.int64)
        lane_of_column[column_of_lane[column_of_lane >= 0]] = np.flatnonzero(column_of_lane >= 0)
        lane_of_cell = (
            layout.type_of_cell * len(column_of_lane) + lane_of_column[layout.column_of_cell]
        )
        stride = rows * width + border
        return cls(
            width=width,
            stride=stride,
            size=n_types * stride + 2 * border,
            position=position,
            column_of_lane=column_of_lane,
            mask=np.ascontiguousarray(mask),
            lane_of_cell=lane_of_cell,
            first_cell=np.searchsorted(layout.type_of_cell, np.arange(n_types + 1)).astype(
                np.int64
            ),
        )


def _vectors(lattice: HexLattice, width: int, border: int) -> tuple[Ints, Ints]:
    """Padded place of each vector's first column, and column of each of its lanes, -1 for none."""
    n = lattice.extent
    position, columns = [], []
    for u in range(-n, n + 1):
        low, high = max(-n, -n - u), min(n, n - u)
        for v in range(low, high + 1, LANES):
            # The last vector of a row may overlap the start of the next row; vectors are worked on
            # in this order, so that the next row overwrites the overlap.
            position.append(border + (u + n) * width + v + n)
            columns.append(lattice.index(u, np.arange(v, v + LANES)))
    while len(position) % GROUP:
        # Vectors without columns fill the last group; they write zeros into the border.
        position.append(border + (2 * n + 1) * width)
        columns.append(np.full(LANES, -1))
    return np.array(position, dtype=np.int64), np.concatenate(columns).astype(np.int64)


class Distances(Protocol):
    """Distances in a padded order."""

    @property
    def width(self) -> int:
        """Between (u, v) and (u + 1, v)."""

    @property
    def stride(self) -> int:
        """Between two types."""


@dataclass(frozen=True)
class TapTable:
    """Taps sorted by the type they lead to, then by the type they come from, then by offset.

    The order is fixed by the connectome, so that sums do not depend on how work is shared out.

    Args:
        first: first tap of each receiving type, and the number of taps, `(types + 1,)`.
        shift: padded place read by a tap minus the vector's `position`, `(taps,)`.
        tap: number of each tap in the connectome, `(taps,)`.
    """

    first: Ints
    shift: Ints
    tap: Ints

    @classmethod
    def of(
        cls, layout: CellLayout, grid: Distances, used: NDArray[np.bool_], transposed: bool
    ) -> TapTable:
        """The taps in use, as they stand or, for the adjoint, from target to source."""
        taps = layout.connectome.taps
        read, receive, sign = taps.source, taps.target, -1
        if transposed:
            read, receive, sign = receive, read, 1
        chosen = np.flatnonzero(used)
        order = chosen[
            np.lexsort((taps.dv[chosen], taps.du[chosen], read[chosen], receive[chosen]))
        ]
        counts = np.bincount(receive[order], minlength=len(layout.connectome.cell_types))
        offset = sign * (taps.du[order] * grid.width + taps.dv[order])
        return cls(
            first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            shift=(read[order] * grid.stride + offset).astype(np.int64),
            tap=order,
        )

    def split(self, parts: int) -> Ints:
        """Bounds that cut the types into `parts` runs of about equal work, `(parts + 1,)`.

        A cut by columns would move fewer cache lines between cores, but was not faster.
        """
        # Leak, gate and storing cost a type about as much as six taps.
        work = self.first + 6 * np.arange(len(self.first))
        bounds: Ints = np.searchsorted(work, work[-1] * np.arange(parts + 1) / parts)
        return bounds
