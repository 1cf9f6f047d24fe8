"""Transfer matrices by hand, and against stimuli shown one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from stimopt.analysis import ResponseScale, TransferMatrix, normalized_responses, transfer
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol
from stimopt.results import Result, Variable
from tests.search.cases import two_networks

TYPES = ("T4c", "T5a")
CEILING, GREY = np.array([[2.0, 3.0], [4.0, 5.0]]), np.array([[0.5, -1.0], [0.0, 1.0]])


@pytest.fixture(scope="module")
def both() -> FrozenNetwork:
    return two_networks(extent=3)


@pytest.fixture(scope="module")
def optima(both: FrozenNetwork) -> Result:
    return StimulusGenerator(both, list(TYPES), t_stim=0.1).result()


@pytest.fixture(scope="module")
def ranges(optima: Result) -> Result:
    """Ceilings and greys of the two types in the two networks, in another order."""
    types, networks = np.array(["T5a", "T4c"] * 2), np.array([1, 1, 0, 0])
    at = networks, [TYPES.index(name) for name in types]
    variables = {
        "cell_type": types,
        "network": networks,
        "sign": np.ones(4, int),
        "objective": CEILING[at],
        "grey_objective": GREY[at],
    }
    return dataclasses.replace(
        optima,
        kind="range",
        config={"objective": "last_frame"},
        variables={name: Variable(("item",), values) for name, values in variables.items()},
    )


def test_scale_is_read_by_type_and_network(ranges: Result) -> None:
    scale = ResponseScale.of(ranges, TYPES, [0, 1])
    np.testing.assert_array_equal(scale.grey, GREY)
    np.testing.assert_array_equal(scale.span, CEILING - GREY)
    turned = ResponseScale.of(ranges, TYPES[::-1], [1])
    np.testing.assert_array_equal(turned.grey, GREY[1:, ::-1])


def test_responses_are_those_of_stimuli_shown_one_by_one(
    both: FrozenNetwork, optima: Result, ranges: Result
) -> None:
    matrix = transfer(both, optima, ranges)
    assert (matrix.cell_types, matrix.network_names) == (TYPES, both.names)
    for i in range(4):
        name, made_for = str(optima["cell_type"][i]), int(optima["network"][i])
        t = TYPES.index(name)
        cell = torch.tensor([both.cell_index(name)])
        for shown_to in range(2):
            stimulus = torch.as_tensor(optima["stimulus"][i : i + 1])
            voltage = both.respond(stimulus, optima.protocol, cell, torch.tensor([shown_to]))
            share = (float(voltage.max()) - GREY[shown_to, t]) / (CEILING - GREY)[shown_to, t]
            assert matrix.values[made_for, shown_to, t] == pytest.approx(share, abs=1e-5)


def test_the_lowest_point_counts_where_suppression_was_sought(
    both: FrozenNetwork, ranges: Result
) -> None:
    lowest = StimulusGenerator(both, "T4c", t_stim=0.1, sign=-1, networks=[0]).result()
    floors = {
        **ranges.variables,
        "sign": Variable(("item",), -np.ones(4, int)),
        "objective": ranges.variables["objective"]._replace(values=np.full(4, -2.0)),
    }
    responses = normalized_responses(both, lowest, dataclasses.replace(ranges, variables=floors))
    assert responses.shape == (1, 2)
    share = (lowest["central_response"][0].min() - GREY[0, 0]) / (-2.0 - GREY[0, 0])
    assert responses[0, 0] == pytest.approx(share, abs=1e-5)
    both_ways = StimulusGenerator(both, "T4c", t_stim=0.1, seeds=[0, 1], networks=[0]).result()
    both_ways.variables["sign"] = Variable(("item",), np.array([1, -1]))
    with pytest.raises(ValueError, match="all excite or all suppress, got both"):
        normalized_responses(both, both_ways, ranges)


def test_summaries_by_hand() -> None:
    values = np.zeros((3, 3, 1))
    values[:, :, 0] = [[1.0, 0.8, 0.6], [0.2, 1.0, 0.4], [-0.2, 0.0, 1.0]]
    matrix = TransferMatrix(("T4c",), ("a", "b", "c"), values)
    np.testing.assert_allclose(matrix.travels[:, 0], [0.7, 0.3, -0.1])
    np.testing.assert_allclose(matrix.generality, [0.3])
    assert matrix.best_traveller.tolist() == [0]
    np.testing.assert_allclose(matrix.likeness, [[1, 0.5, 0.2], [0.5, 1, 0.2], [0.2, 0.2, 1]])
    np.testing.assert_array_equal(matrix.of_type("T4c"), values[:, :, 0])
    with pytest.raises(ValueError, match="did you mean 'T4c'"):
        matrix.of_type("T4")


def test_what_is_not_finite_is_left_out_of_means(
    both: FrozenNetwork, optima: Result, ranges: Result
) -> None:
    ceilings = ranges["objective"].copy()
    ceilings[ranges["network"] == 1] = np.nan
    variables = {**ranges.variables, "objective": Variable(("item",), ceilings)}
    matrix = transfer(both, optima, dataclasses.replace(ranges, variables=variables))
    assert np.isnan(matrix.values[:, 1]).all() and np.isfinite(matrix.values[:, 0]).all()
    np.testing.assert_allclose(matrix.travels[1], matrix.values[1, 0])
    np.testing.assert_allclose(matrix.generality, matrix.values[1, 0])
    assert matrix.best_traveller.tolist() == [1, 1]


def test_refuses_what_cannot_be_compared(
    both: FrozenNetwork, optima: Result, ranges: Result
) -> None:
    one = builtin_network(extent=3)
    one_optimum = StimulusGenerator(one, "T4c", t_stim=0.1).result()
    lacking = StimulusGenerator(both, list(TYPES), t_stim=0.1, networks=[0]).result()
    mean = dataclasses.replace(ranges, config={"objective": "window_mean"})
    several = {**ranges.variables, "reading_response": Variable(("item",), np.zeros(4))}
    rungs = Variable(("item",), np.array([-1.0, -1.0, 1.0, 1.0]))
    ladder = dataclasses.replace(optima, variables={**optima.variables, "fraction": rungs})
    flat = dataclasses.replace(
        ranges,
        variables={**ranges.variables, "objective": ranges.variables["grey_objective"]},
    )
    for message, network, stimuli, scale in (
        ("first, other), got", one, one_optimum, ranges),
        ("dt=0.01", both, optima, dataclasses.replace(ranges, protocol=Protocol(dt=0.02))),
        ("got one; load", one, optima, ranges),
        ("got none of T4c of", both, lacking, ranges),
        ("load that network", both, one_optimum, ranges),
        ("one of kind artificial", both, optima, None),
        ("constant ones of T4c", both, optima, flat),
        ("those of objective window_mean", both, optima, mean),
        ("of several cells", both, optima, dataclasses.replace(ranges, variables=several)),
        ("a ladder of 2", both, ladder, ranges),
    ):
        with pytest.raises(ValueError, match=r"^expected .*, got .*; ") as error:
            (normalized_responses if "first" in message else transfer)(network, stimuli, scale)
        assert message in str(error.value)
    with pytest.raises(ValueError, match=r"got none of Mi1 of "):
        ResponseScale.of(ranges, ["T4c", "Mi1"], [0])
    with pytest.raises(ValueError, match=r"got none of T4c of network 2"):
        ResponseScale.of(ranges, ["T4c"], [0, 2])
    with pytest.raises(ValueError, match=r"expected the floor .*got none of T4c"):
        ResponseScale.of(ranges, ["T4c"], [0], sign=-1)
