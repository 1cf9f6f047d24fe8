"""Indices of tuning in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from stimopt.analysis import angle_between, direction_tuning, percentile_of
from stimopt.analysis.indices import finite_mean, mean_interval, opponent_index


@pytest.mark.parametrize("preferred", [0.0, 10.0, 137.0, 359.0])
@pytest.mark.parametrize("modulation", [0.0, 0.3, 1.0])
def test_indices_of_a_cosine(preferred: float, modulation: float) -> None:
    # sum (1 + m cos(angle - p)) e^(i angle) = n m / 2 e^(i p)
    angles = np.arange(0, 360, 30)
    responses = 1 + modulation * np.cos(np.radians(angles - preferred))
    direction, selectivity = direction_tuning(responses, angles)
    assert selectivity == pytest.approx(modulation / 2, abs=1e-12)
    if modulation:
        assert angle_between(direction, preferred) < 1e-9


def test_a_cell_without_response_has_no_direction() -> None:
    direction, selectivity = direction_tuning([[-1, -2, 0], [1, -5, -5]], [0, 120, 240])
    np.testing.assert_array_equal(np.isnan(direction), [True, False])
    np.testing.assert_array_equal(selectivity, [np.nan, 1.0])


def test_opponent_indices_count_negative_responses_as_zero() -> None:
    np.testing.assert_array_equal(
        opponent_index([3, 1, -2, 2, -1, 0], [1, 3, 4, -5, -1, 0]),
        [0.5, -0.5, -1, 1, np.nan, np.nan],
    )


def test_angles_between_directions() -> None:
    np.testing.assert_allclose(
        angle_between([350, 10, 0, 90], [10, 350, 180, 90]), [20, 20, 180, 0]
    )


def test_percentiles_are_midranks() -> None:
    assert percentile_of(3, [1, 2, 3, 4]) == 62.5
    assert percentile_of(9, [1, 2]) == 100
    assert percentile_of(0, [1, 2]) == 0
    with pytest.raises(ValueError, match="at least one response"):
        percentile_of(1, [])
    with pytest.raises(ValueError, match="1 NaN"):
        percentile_of(1, [0, np.nan])


def test_means_are_over_what_is_finite() -> None:
    values = [[1.0, np.nan, 3.0], [np.inf, np.nan, np.nan]]
    np.testing.assert_array_equal(finite_mean(values), [2.0, np.nan])
    np.testing.assert_array_equal(finite_mean(values, axis=0), [1.0, np.nan, 3.0])


def test_the_interval_of_a_mean_is_that_of_its_members_drawn_anew() -> None:
    found = mean_interval([[0.0, 1.0], [1.0, 1.0]])
    assert found.mean.tolist() == [0.5, 1.0]
    assert (found.low[0], found.high[0]) == (0.0, 1.0) and found.low[1] == found.high[1] == 1.0
    with pytest.raises(ValueError, match="expected at least one value for a mean, got none; "):
        mean_interval(np.zeros((0, 3)))
