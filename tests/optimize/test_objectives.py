from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stimopt.lattice import HexLattice
from stimopt.optimize import penalties
from stimopt.optimize.objectives import central_signal, find_objective, flyvis_exp, soft_peak


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


def test_signal_is_signed_contrast() -> None:
    responses = torch.tensor([[[5.0, 1.0, 2.0], [4.0, 0.0, 2.0]]])
    assert central_signal(responses, 1).tolist() == [[3.5, 3.0]]
    assert central_signal(responses, -1).tolist() == [[-3.5, -3.0]]
    assert central_signal(responses[..., :1], 1).tolist() == [[5.0, 4.0]]


def test_functions_pass_through_and_names_are_checked() -> None:
    def mine(responses: torch.Tensor) -> torch.Tensor:
        return responses.sum(dim=1)

    assert find_objective(mine) is mine
    with pytest.raises(ValueError, match="exp_last_frame"):
        find_objective("peak")
    with pytest.raises(ValueError, match="temperature only"):
        find_objective("exp", temperature=0.1)
    with pytest.raises(ValueError, match="temperature > 0"):
        find_objective("soft_peak", temperature=0.0)


def test_penalties_against_loops() -> None:
    lattice = HexLattice(2)
    stimulus = torch.rand((2, 4, lattice.n_columns), generator=torch.Generator().manual_seed(3))
    x = stimulus.numpy().astype(np.float64)
    pairs = torch.as_tensor(lattice.neighbour_pairs())
    # A hexagon of n rings has 3 n (3 n + 1) adjacent pairs.
    assert len(pairs) == 3 * 2 * 7
    for i in range(2):
        grey = [(p - 0.5) ** 2 for p in x[i].ravel()]
        assert float(penalties.grey(stimulus)[i]) == pytest.approx(np.mean(grey), rel=1e-5)
        assert float(penalties.grey_sum(stimulus)[i]) == pytest.approx(np.sum(grey), rel=1e-5)
        jumps = []
        for t in range(4):
            for a in range(lattice.n_columns):
                for b in range(a):
                    du, dv = lattice.u[a] - lattice.u[b], lattice.v[a] - lattice.v[b]
                    if max(abs(du), abs(dv), abs(du + dv)) == 1:
                        jumps.append(abs(x[i, t, a] - x[i, t, b]))
        found = float(penalties.total_variation(stimulus, pairs)[i])
        assert found == pytest.approx(np.mean(jumps), rel=1e-5)
        steps = [(x[i, t + 1, c] - x[i, t, c]) ** 2 for t in range(3) for c in range(19)]
        found = float(penalties.temporal_roughness(stimulus)[i])
        assert found == pytest.approx(np.mean(steps), rel=1e-5)
    assert penalties.temporal_roughness(stimulus[:, :1]).tolist() == [0.0, 0.0]
