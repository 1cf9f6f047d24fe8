"""The memory layout of the fused step."""

from __future__ import annotations

import numpy as np
import pytest

from stimopt.dynamics.padded_grid import GROUP, LANES, PaddedGrid, TapTable
from tests.dynamics.cases import Case


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("extent", "reach"), [(0, 6), (1, 6), (2, 6), (4, 0), (4, 1), (5, 6), (8, 6)]
)
def test_a_tap_reads_its_source_or_a_border_of_zeros(
    extent: int, reach: int, transposed: bool
) -> None:
    layout = Case(extent, reach=reach).layout
    grid = PaddedGrid.of(layout)
    taps = layout.connectome.taps
    table = TapTable.of(layout, grid, np.ones(len(taps), dtype=np.bool_), transposed)
    assert sorted(table.tap) == list(range(len(taps)))

    lane_place = (grid.position[:, None] + np.arange(LANES)).reshape(-1)
    width = len(lane_place)
    types, lanes = np.divmod(grid.lane_of_cell, width)
    np.testing.assert_array_equal(types, layout.type_of_cell)
    np.testing.assert_array_equal(grid.column_of_lane[lanes], layout.column_of_cell)
    place = types * grid.stride + lane_place[lanes]
    assert len(set(place.tolist())) == layout.n_cells
    cell_at = dict(zip(place.tolist(), range(layout.n_cells), strict=True))

    connected = set()
    for kind in range(len(layout.connectome.cell_types)):
        for j in range(table.first[kind], table.first[kind + 1]):
            # Reads that no cell needs stay within the array, too.
            assert lane_place.min() + table.shift[j] >= 0
            assert lane_place.max() + table.shift[j] < grid.size
            for cell in np.flatnonzero(layout.type_of_cell == kind):
                source = cell_at.get(int(lane_place[lanes[cell]] + table.shift[j]))
                if source is not None:
                    connected.add((source, int(cell), int(table.tap[j])))
    sources, targets, numbers = layout.synapses
    if transposed:
        sources, targets = targets, sources
    expected = set(zip(sources.tolist(), targets.tolist(), numbers.tolist(), strict=True))
    assert connected == expected


@pytest.mark.parametrize("extent", [0, 1, 4, 15])
def test_the_mask_has_a_bit_for_every_cell_and_no_other(extent: int) -> None:
    layout = Case(extent).layout
    grid = PaddedGrid.of(layout)
    assert grid.n_vectors % GROUP == 0
    bits = np.unpackbits(grid.mask, axis=1, bitorder="little").reshape(-1)
    np.testing.assert_array_equal(np.flatnonzero(bits), grid.lane_of_cell)
    for kind in range(len(grid.mask)):
        cells = np.arange(grid.first_cell[kind], grid.first_cell[kind + 1])
        np.testing.assert_array_equal(cells, np.flatnonzero(layout.type_of_cell == kind))


def test_types_are_split_into_runs_that_cover_all() -> None:
    layout = Case().layout
    used = np.ones(len(layout.connectome.taps), dtype=np.bool_)
    table = TapTable.of(layout, PaddedGrid.of(layout), used, transposed=False)
    for parts in (1, 2, 3, 6, 20):
        bounds = table.split(parts)
        assert bounds[0] == 0
        assert bounds[-1] == len(layout.connectome.cell_types)
        assert (np.diff(bounds) >= 0).all()
