"""Blocks of cells, their two orders, and runs of taps."""

from __future__ import annotations

import numpy as np
import pytest

from stimopt.dynamics.blocks import LONGEST_RUN, WIDTHS, Blocks, Runs
from stimopt.dynamics.padded_grid import TapTable
from tests.dynamics.cases import Case


@pytest.mark.parametrize("extent", [0, 1, 2, 4, 6, 7, 15, 25])
def test_each_cell_stands_in_one_block_of_neighbours(extent: int) -> None:
    layout = Case(extent).layout
    blocks = Blocks.of(layout)
    assert set(blocks.count.tolist()) <= set(WIDTHS)
    cells = np.concatenate(
        [np.arange(cell, cell + n) for cell, n in zip(blocks.cell, blocks.count, strict=True)]
    )
    np.testing.assert_array_equal(np.sort(cells), np.arange(layout.n_cells))
    # Packed order is that of the blocks.
    np.testing.assert_array_equal(blocks.packed[cells], np.arange(layout.n_cells))
    np.testing.assert_array_equal(blocks.first, np.concatenate([[0], np.cumsum(blocks.count)]))
    for b in range(len(blocks.kind)):
        own = np.arange(blocks.cell[b], blocks.cell[b] + blocks.count[b])
        assert (layout.type_of_cell[own] == blocks.kind[b]).all()
        columns = blocks.column[b] + np.arange(blocks.count[b])
        np.testing.assert_array_equal(layout.column_of_cell[own], columns)
        places = blocks.position[b] + np.arange(blocks.count[b])
        np.testing.assert_array_equal(blocks.position_of_column[columns], places)


def test_a_strip_has_blocks_of_one_place_and_width() -> None:
    blocks = Blocks.of(Case(extent=15).layout)
    assert blocks.strip[0] == 0 and blocks.strip[-1] == len(blocks.kind)
    for start, stop in zip(blocks.strip[:-1], blocks.strip[1:], strict=True):
        assert len(set(blocks.count[start:stop])) == len(set(blocks.position[start:stop])) == 1


def test_rows_are_worked_on_in_turn_and_single_cells_first_in_each() -> None:
    layout = Case(extent=15).layout
    blocks = Blocks.of(layout)
    row = layout.lattice.u[blocks.column]
    assert (np.diff(row) >= 0).all()
    for u in np.unique(row):
        count = blocks.count[row == u]
        n_single = int((count == 1).sum())
        assert (count[:n_single] == 1).all() and (count[n_single:] > 1).all()
    assert (blocks.count == 1).any()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("extent", "reach"), [(0, 6), (1, 6), (4, 0), (4, 1), (5, 6), (8, 6)])
def test_a_tap_reads_its_source_or_a_border_of_zeros(
    extent: int, reach: int, transposed: bool
) -> None:
    layout = Case(extent, reach=reach).layout
    blocks = Blocks.of(layout)
    used = np.ones(len(layout.connectome.taps), dtype=np.bool_)
    table = TapTable.of(layout, blocks, used, transposed)
    position = blocks.position_of_column[layout.column_of_cell]
    place = blocks.place
    cell_at = dict(zip(place.tolist(), range(layout.n_cells), strict=True))
    assert len(cell_at) == layout.n_cells
    connected = set()
    for cell in range(layout.n_cells):
        kind = layout.type_of_cell[cell]
        for j in range(table.first[kind], table.first[kind + 1]):
            read = int(position[cell] + table.shift[j])
            assert 0 <= read < blocks.size
            if read in cell_at:
                connected.add((cell_at[read], cell, int(table.tap[j])))
    sources, targets, numbers = layout.synapses
    if transposed:
        sources, targets = targets, sources
    expected = set(zip(sources.tolist(), targets.tolist(), numbers.tolist(), strict=True))
    assert connected == expected


@pytest.mark.parametrize("transposed", [False, True])
def test_runs_are_the_taps_in_their_order(transposed: bool) -> None:
    layout = Case().layout
    used = np.ones(len(layout.connectome.taps), dtype=np.bool_)
    table = TapTable.of(layout, Blocks.of(layout), used, transposed)
    step = 1 if transposed else -1
    runs = Runs.of(table, step)
    assert runs.length.min() == 1 and 2 <= runs.length.max() <= LONGEST_RUN
    for kind in range(len(table.first) - 1):
        shifts = [
            runs.shift[r] + step * i
            for r in range(runs.first[kind], runs.first[kind + 1])
            for i in range(runs.length[r])
        ]
        np.testing.assert_array_equal(
            shifts, table.shift[table.first[kind] : table.first[kind + 1]]
        )


def test_runs_of_a_network_without_taps() -> None:
    layout = Case().layout
    used = np.zeros(len(layout.connectome.taps), dtype=np.bool_)
    runs = Runs.of(TapTable.of(layout, Blocks.of(layout), used, transposed=False), -1)
    assert len(runs.length) == 0 and not runs.first.any()


def test_blocks_are_split_into_parts_that_cover_all() -> None:
    layout = Case(extent=5).layout
    blocks = Blocks.of(layout)
    used = np.ones(len(layout.connectome.taps), dtype=np.bool_)
    table = TapTable.of(layout, blocks, used, transposed=False)
    for parts in (1, 2, 3, 7):
        bounds = blocks.split(table, parts)
        assert bounds[0] == 0 and bounds[-1] == len(blocks.strip) - 1
        strips = np.add.reduceat(blocks.work(table), blocks.strip[:-1])
        work = np.add.reduceat(strips, bounds[:-1])
        assert work.max() - work.min() <= 2 * strips.max()
