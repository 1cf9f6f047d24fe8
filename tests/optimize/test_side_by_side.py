"""Starts side by side: places, what belongs to them, and responses that do not depend on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import stimopt
from stimopt.items import Item, Reading, make_items
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.side_by_side import APART, Places

QUIET: dict[str, Any] = {"enable_progress_bar": False, "logger": False}


@pytest.fixture(scope="module")
def wide() -> FrozenNetwork:
    """Extent 13, so that six cells lie ten columns from the central one."""
    return builtin_network(extent=13)


def distance(u: int, v: int) -> int:
    """Steps from one column to another whose axial coordinates differ by u and v."""
    return (abs(u) + abs(v) + abs(u + v)) // 2


def test_each_column_belongs_to_the_nearest_place(wide: FrozenNetwork) -> None:
    lattice = wide.lattice
    places = Places(wide, make_items(wide, "T4c", 0))
    assert places.count.tolist() == [7]
    centres = [(0, 0), (-10, 0), (-10, 10), (0, 10), (10, 0), (10, -10), (0, -10)]
    owned = torch.stack([places.owned(place) for place in range(7)])[:, 0].numpy()
    assert (owned.sum(axis=0) <= 1).all()
    for column, (u, v) in enumerate(zip(lattice.u, lattice.v, strict=True)):
        far = [distance(u - a, v - b) for a, b in centres]
        # Where two are as near, the one listed first owns it, if the start has such a column.
        owner = int(np.argmin(far))
        a, b = centres[owner]
        assert owned[owner, column] == (distance(u - a, v - b) <= lattice.extent)


def test_starts_are_put_together_and_taken_apart(wide: FrozenNetwork) -> None:
    items = make_items(wide, ["T4c", "L1"], 0)
    places = Places(wide, items)
    random = torch.Generator().manual_seed(0)
    starts = torch.rand((2, 7, 3, wide.lattice.n_columns), generator=random)
    whole = places.together(starts.unbind(1))
    for place in range(7):
        back = places.apart(whole, torch.tensor([place, place]))
        kept = places.column[:, place] < wide.lattice.n_columns
        assert kept.sum(dim=1).min() >= 50
        for item in range(2):
            assert torch.equal(back[item][:, kept[item]], starts[item, place][:, kept[item]])
            assert (back[item][:, ~kept[item]] == 0.5).all()
        assert kept[:, wide.lattice.center].all()


def test_a_start_drives_its_cell_as_it_did_beside_others(wide: FrozenNetwork) -> None:
    """The circuit's cells see few columns, so what is around them does not matter."""
    fit = ResponseRange(wide, ["T4c", "Mi1"], t_stim=0.2)
    places = Places(wide, fit.items)
    random = torch.Generator().manual_seed(1)
    starts = torch.rand((2, 7, 20, wide.lattice.n_columns), generator=random)
    whole = places.together(starts.unbind(1))
    with torch.no_grad():
        together = fit._values_at(places, whole)
        for place in range(7):
            alone = places.apart(whole, torch.tensor([place, place]))
            values = fit.objective_values(fit.respond(alone))
            torch.testing.assert_close(values, together[:, place], rtol=0, atol=2e-3)
    assert together.std(dim=1).min() > 0.02


def test_a_ceiling_tried_side_by_side_is_no_lower(wide: FrozenNetwork) -> None:
    options: Any = {"cell_types": ["T4c", "Mi9"], "t_stim": 0.2}
    beside = stimopt.fit(ResponseRange(wide, **options), **QUIET)
    single = stimopt.fit(ResponseRange(wide, trial=0, **options), **QUIET)
    span = single["objective"] - single["grey_objective"]
    assert (beside["objective"] >= single["objective"] - 0.005 * span).all()


def test_an_item_is_tried_as_it_is_alone(wide: FrozenNetwork) -> None:
    both = ResponseRange(wide, ["T4c", "Mi1"], t_stim=0.1, trial=3)
    alone = ResponseRange(wide, "Mi1", t_stim=0.1, trial=3)
    for fit in (both, alone):
        stimopt.fit(fit, 2, **QUIET)
    history, again = both.record.history["loss/total"], alone.record.history["loss/total"]
    assert torch.equal(history[:, 1], again[:, 0])


def test_places_of_types_without_a_cell_in_every_column() -> None:
    n = stimopt.HexLattice(13)
    sparse = np.where((n.u % 3 == 0) & (n.v % 3 == 0), np.arange(n.n_columns), -1)
    cells = {"sparse": sparse.tolist(), "central": n.center}
    network = ModuleNetwork(torch.nn.Identity(), cells, extent=13)
    items = [Item((Reading(name),)) for name in cells]
    places = Places(network, items)
    assert places.count.tolist() == [7, 1]
    read = places.readout.cells
    assert read.shape == (2, 7) and set(read[1].tolist()) == {n.center}
    for column in read[0].tolist():
        u, v = int(n.u[column]), int(n.v[column])
        assert u % 3 == v % 3 == 0
        assert u == v == 0 or abs(distance(u, v) - APART) <= 2
    # All columns belong to the only place of the central type.
    assert torch.equal(places.column[1, 0], torch.arange(n.n_columns))
