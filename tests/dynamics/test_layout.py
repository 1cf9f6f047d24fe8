"""Cells of a layout against a listing; synapses and inputs are tested in test_simulate.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stimopt.dynamics.layout import Drive
from tests.dynamics.cases import Case
from tests.dynamics.dense_step import cells_on


@pytest.mark.parametrize("extent", [0, 1, 4])
def test_cells_stand_by_type_then_column_where_the_stride_allows(extent: int) -> None:
    layout = Case(extent).layout
    cells = cells_on(layout.connectome, layout.lattice)
    types, columns = layout.type_of_cell, layout.column_of_cell
    lattice, names = layout.lattice, layout.connectome.cell_types
    listed = [
        (names[kind], int(lattice.u[column]), int(lattice.v[column]))
        for kind, column in zip(types, columns, strict=True)
    ]
    assert listed == cells and layout.n_cells == len(cells)
    np.testing.assert_array_equal(layout.cell_index[types, columns], np.arange(len(cells)))
    assert (layout.cell_index == -1).sum() == layout.cell_index.size - len(cells)


def test_a_cell_faster_than_the_step_goes_all_the_way() -> None:
    empty = torch.zeros(1)
    drive = Drive(empty, torch.tensor([0.005, 0.01, 0.04]), empty, empty, dt=0.01)
    torch.testing.assert_close(drive.leak, torch.tensor([1.0, 1.0, 0.25]))
