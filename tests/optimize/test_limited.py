"""Optima within a contrast budget, and stimuli on which networks differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.limited import LimitedRange, discriminating, separation, size_of_budget
from stimopt.results import Result
from stimopt.runs.trainer import fit
from tests.optimize.cases import linear_network
from tests.search.cases import two_networks


def test_the_optimum_of_a_linear_neuron_is_known() -> None:
    """Of r = k . x with |x - 1/2|^2 = B it is 1/2 + k sqrt(B) / |k|, if no pixel is at a bound."""
    network, kernel = linear_network(taps=3)
    module = LimitedRange(network, "linear", rms_contrast=0.1, t_stim=0.03, anneal=60)
    result = fit(module, steps=60)
    budget = (0.5 * 0.1) ** 2 * 3 * 7
    wanted = 0.5 + kernel.flip(0) * np.sqrt(budget) / kernel.norm()
    np.testing.assert_allclose(result["stimulus"][0], wanted, atol=2e-3)
    assert result["rms_contrast"][0] == pytest.approx(0.1, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.01, 0.99))
def test_the_budget_is_spent_and_never_exceeded(seed: int, share: float) -> None:
    direction = torch.randn((1, 4, 9), generator=torch.Generator().manual_seed(seed))
    budget = share * 0.25 * 36
    size = size_of_budget(direction, budget)
    spent = float((size[:, None, None] * direction).clamp(-0.5, 0.5).square().sum())
    assert 0.95 * budget <= spent <= 1.0001 * budget


@pytest.fixture(scope="module")
def both() -> FrozenNetwork:
    return two_networks(extent=3)


@pytest.fixture(scope="module")
def ranges(both: FrozenNetwork) -> Result:
    return fit(ResponseRange(both, "T4c", t_stim=0.1), steps=20)


def test_every_iterate_keeps_to_the_budget(both: FrozenNetwork) -> None:
    module = LimitedRange(both, "T4c", rms_contrast=0.05, t_stim=0.1)
    fit(module, steps=4)
    contrast = 2 * (module.luminance() - 0.5).square().mean(dim=(1, 2)).sqrt()
    assert bool((contrast <= 0.05 * 1.0001).all())


def test_separation_by_hand() -> None:
    values = torch.tensor([[1.0, 0.6, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0]])
    # Means 0.8 and 0.1; variances 0.04 and 0.01.
    wanted = [0.7 / np.sqrt(0.1**2 + 0.025), 0.0]
    assert separation(values, 2, 0.1).tolist() == pytest.approx(wanted)


def test_the_first_group_responds_more_and_the_order_counts(
    both: FrozenNetwork, ranges: Result
) -> None:
    for first, second in ((0, 1), (1, 0)):
        module = discriminating(both, "T4c", [first], [second], ranges, noise=0.1, t_stim=0.1)
        result = fit(module, steps=15)
        grey, ceiling = (
            [float(ranges[name][ranges["network"] == k][0]) for k in (first, second)]
            for name in ("grey_objective", "objective")
        )
        response = result["reading_response"][0, :, -1]
        part = (response - grey) / (np.array(ceiling) - grey)
        assert part[0] > part[1]
        assert result["objective"][0] == pytest.approx((part[0] - part[1]) / 0.1, rel=1e-4)


def test_refuses_what_makes_no_sense(both: FrozenNetwork, ranges: Result) -> None:
    for message, change in (
        ("a finite rms_contrast > 0", {"rms_contrast": 0.0}),
        ("a finite noise > 0", {"noise": 0.0}),
        ("without a network in common", {"second": [0]}),
        ("without a network in common", {"first": []}),
    ):
        options = {"first": [0], "second": [1], "t_stim": 0.1, **change}
        with pytest.raises(ValueError, match=r"^expected .*, got .*") as error:
            discriminating(both, "T4c", ranges=ranges, **options)  # type: ignore[arg-type]
        assert message in str(error.value)
