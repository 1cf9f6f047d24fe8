"""The cells that items read out, and when a response can be compared with a ceiling."""

from __future__ import annotations

import numpy as np
import pytest

import stimopt
from stimopt.items import Reading
from stimopt.networks.frozen import FrozenNetwork
from stimopt.results import Result, Variable
from stimopt.results.items import Span, cells_of, select_items
from tests.results.cases import random_result


def with_ceiling(network: FrozenNetwork, **changed: object) -> Result:
    """A result of two items whose responses are 1 at grey and 5 at the ceiling."""
    result = random_result(network)
    result.config["objective"] = "last_frame"
    for name, value in {"grey_objective": 1.0, "ceiling": 5.0, **changed}.items():
        result.variables[name] = Variable(("item",), np.full(2, value))
    return result


def test_cells_are_those_read_out(small_network: FrozenNetwork) -> None:
    fit = stimopt.StimulusGenerator(small_network, ["T4c", "Mi1"], t_stim=0.05, u=1, v=-1)
    assert cells_of(fit.result()) == [Reading("T4c", 1, -1), Reading("Mi1", 1, -1)]


def test_some_items_of_a_result(small_network: FrozenNetwork) -> None:
    result = random_result(small_network, cell_types="Mi1,T4c,T5a")
    some = select_items(result, [2, 0])
    assert some["cell_type"].tolist() == ["T5a", "Mi1"]
    np.testing.assert_array_equal(some["stimulus"], result["stimulus"][[2, 0]])
    np.testing.assert_array_equal(some["losses"], result["losses"][:, [2, 0]])
    np.testing.assert_array_equal(some["time"], result["time"])


def test_a_span_is_from_grey_to_the_ceiling(small_network: FrozenNetwork) -> None:
    span = Span.of(with_ceiling(small_network), 1)
    assert span == (1.0, 5.0) and span.known
    assert [span.fraction(r) for r in (1.0, 2.0, 5.0, -1.0)] == [0.0, 0.25, 1.0, -0.5]
    assert np.isnan(Span(2.0, 2.0).fraction(2.0))


@pytest.mark.parametrize("objective", ["window_mean", "exp_last_frame", None])
def test_only_a_response_of_one_frame_compares_with_peaks(
    small_network: FrozenNetwork, objective: str | None
) -> None:
    result = with_ceiling(small_network)
    result.config["objective"] = objective
    assert not Span.of(result, 0).known
    del result.config["objective"]
    assert not Span.of(result, 0).known


def test_the_floor_of_a_cell_is_no_ceiling(small_network: FrozenNetwork) -> None:
    result = with_ceiling(small_network)
    result.variables["sign"] = Variable(("item",), np.array([-1, 1]))
    assert [Span.of(result, i).known for i in (0, 1)] == [False, True]


def test_a_difference_of_readings_does_not_compare_with_one_cell(
    small_network: FrozenNetwork,
) -> None:
    fits = [
        stimopt.fit(
            stimopt.ResponseRange(small_network, "T4c", t_stim=0.05, contrast=contrast),
            steps=2,
            enable_progress_bar=False,
            logger=False,
        )
        for contrast in ([], ["T4d"])
    ]
    assert [Span.of(result, 0).known for result in fits] == [True, False]


def test_without_a_ceiling_there_is_no_fraction(small_network: FrozenNetwork) -> None:
    span = Span.of(random_result(small_network), 0)
    assert not span.known and np.isnan(span.fraction(1.0))
    assert not Span(0.5, 0.5).known  # so that no part of the way is asked for
