from __future__ import annotations

import numpy as np

from stimopt.items import Item, Reading
from stimopt.networks.frozen import FrozenNetwork
from stimopt.protocol import Protocol
from stimopt.results.variables import LUMINANCE, VOLTAGE, item_variables
from tests.networks.circuits import latch, together

ITEMS = [Item((Reading("T4c", u=1, v=-2),), seed=3), Item((Reading("T5a"), Reading("Mi1")))]


def test_items_stimuli_and_responses(small_network: FrozenNetwork) -> None:
    lattice, protocol = small_network.lattice, Protocol(dt=0.02, t_pre=0.1)
    stimulus = np.random.default_rng(0).random((2, 6, lattice.n_columns))
    variables = item_variables(small_network, protocol, ITEMS, ["a", "b"], stimulus, [6, 4])
    per_item = {
        "label": ["a", "b"],
        "cell_type": ["T4c", "T5a"],
        "seed": [3, 0],
        "network": [0, 0],
        "readout_u": [1, 0],
        "readout_v": [-2, 0],
        "n_frames": [6, 4],
    }
    for name, values in per_item.items():
        assert variables[name].dims == ("item",) and variables[name].values.tolist() == values
    np.testing.assert_allclose(variables["time"].values, 0.02 * np.arange(6))
    np.testing.assert_array_equal(variables["u"].values, lattice.u)
    for name, units in (("stimulus", LUMINANCE), ("response", VOLTAGE)):
        dims, values, said = variables[name]
        assert (dims, said, values.dtype) == (("item", "frame", "column"), units, np.float32)
        assert np.isnan(values[1, 4:]).all()
        assert not np.isnan(values[0]).any() and not np.isnan(values[1, :4]).any()
    np.testing.assert_array_equal(variables["stimulus"].values[0], stimulus[0].astype(np.float32))


def test_the_central_response_is_that_of_the_column_read_out(small_network: FrozenNetwork) -> None:
    lattice = small_network.lattice
    stimulus = np.random.default_rng(0).random((2, 6, lattice.n_columns))
    variables = item_variables(small_network, Protocol(), ITEMS, ["a", "b"], stimulus, [6, 4])
    response, central = variables["response"].values, variables["central_response"].values
    for i, item in enumerate(ITEMS):
        column = int(np.flatnonzero((lattice.u == item.u) & (lattice.v == item.v))[0])
        np.testing.assert_array_equal(central[i], response[i, :, column])
    assert not np.array_equal(central[0], response[0, :, lattice.center])


def test_items_of_unstable_networks_and_responses_that_are_not_finite_are_marked() -> None:
    # Stable; growing after a stimulus; and beyond the finite numbers.
    networks = together(latch(0.8, 0.8), latch(1.2, 0.8), latch(40.0, 0.3))
    readings = [Reading("A", network=k) for k in range(3)]
    items = [*(Item((reading,)) for reading in readings), Item((readings[0], readings[1]))]
    stimulus = np.full((4, 30, 7), 0.5)
    labels = list("abcd")
    variables = item_variables(networks, Protocol(), items, labels, stimulus, [30] * 4)
    assert variables["stable"].dims == ("item",)
    assert variables["stable"].values.tolist() == [True, False, False, False]
    assert np.isfinite(variables["central_response"].values).all(axis=1).tolist()[:2] == [True] * 2
    # What a stable network answers to one stimulus may leave the finite numbers all the same.
    stimulus[0, 5:] = np.float32(3e38)
    variables = item_variables(networks, Protocol(), items[:1], ["a"], stimulus[:1], [30])
    assert variables["stable"].values.tolist() == [False]
