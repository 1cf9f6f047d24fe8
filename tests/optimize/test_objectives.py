from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stimopt.optimize.objectives import (
    find_objective,
    find_pool,
    flyvis_exp,
    pooled_objective,
    soft_peak,
    window_mean,
    worst,
)


def test_each_objective_is_its_formula() -> None:
    responses = torch.tensor([[0.0, 1.0, 3.0], [2.0, -1.0, 0.5]])
    by_hand = {
        "last_frame": [3.0, 0.5],
        "window_mean": [4 / 3, 0.5],
        "exp": [(1 + math.e + math.e**3) / 3, (math.e**2 + math.e**-1 + math.e**0.5) / 3],
        "exp_last_frame": [math.e**3, math.e**0.5],
    }
    for name, expected in by_hand.items():
        assert find_objective(name)(responses).tolist() == pytest.approx(expected, rel=1e-6)


def test_soft_peak_lies_between_the_peak_and_log_frames_above() -> None:
    responses = torch.randn((50, 30), generator=torch.Generator().manual_seed(0)).double()
    peak = responses.amax(dim=1)
    for temperature in (1.0, 0.1, 0.01):
        soft = soft_peak(responses, temperature)
        assert (soft >= peak).all()
        assert (soft <= peak + temperature * math.log(30)).all()
    torch.testing.assert_close(soft_peak(responses, 1e-4), peak, atol=1e-3, rtol=0)


def test_soft_peak_shares_its_gradient_as_a_softmax() -> None:
    responses = torch.tensor([[1.0, 2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    soft_peak(responses, 0.5).sum().backward()
    weights = np.exp(np.array([1, 2, 2]) / 0.5)
    np.testing.assert_allclose(responses.grad, (weights / weights.sum())[None])


def test_exp_overflows_to_infinity_not_to_an_error() -> None:
    assert torch.isinf(flyvis_exp(torch.full((1, 2), 100.0))).all()


def test_pools_over_readings_are_their_formulas() -> None:
    values = torch.tensor([[5.0, 1.0, 3.0], [4.0, 0.0, 2.0]])
    by_hand = {
        "mean": [3.0, 2.0],
        "worst": [1.0, 0.0],
        "difference": [3.0, 3.0],
        "spread": [math.sqrt(8 / 3), math.sqrt(8 / 3)],
    }
    for name, expected in by_hand.items():
        assert find_pool(name, 3)(values).tolist() == pytest.approx(expected, rel=1e-6)
    for name in ("difference", "spread"):
        with pytest.raises(ValueError, match="several readings"):
            find_pool(name, 1)


def test_an_objective_is_reduced_over_time_then_pooled() -> None:
    responses = torch.arange(12.0).reshape(2, 2, 3)
    pooled = pooled_objective(responses, window_mean, worst)
    assert pooled.tolist() == [1.0, 7.0]
    with pytest.raises(ValueError, match=r"values of the objective \(4\), got \(4, 3\)"):
        pooled_objective(responses, lambda traces: traces, worst)
    with pytest.raises(ValueError, match=r"the pool \(2\), got \(\); return one number for"):
        pooled_objective(responses, window_mean, torch.amin)


def test_functions_pass_through_and_names_are_checked() -> None:
    def mine(responses: torch.Tensor) -> torch.Tensor:
        return responses.sum(dim=1)

    assert find_objective(mine) is mine
    with pytest.raises(ValueError, match="exp_last_frame"):
        find_objective("peak")
    with pytest.raises(ValueError, match="temperature with objective 'soft_peak' alone"):
        find_objective("exp", temperature=0.1)
    with pytest.raises(ValueError, match="temperature > 0"):
        find_objective("soft_peak", temperature=0.0)
