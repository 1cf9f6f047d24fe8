"""The augmented Lagrangian of a band, by its formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stimopt.optimize.band import (
    FARTHER,
    FIRST_STIFFNESS,
    GROWTH,
    LARGEST_MARGIN,
    LARGEST_STIFFNESS,
    MARGIN,
    PERIOD,
    Band,
    band_term,
    largest_curvature,
    next_multiplier,
    off_the_ends,
    stiffen,
    trace_range,
)
from tests.optimize.cases import linear_jacobian, linear_network, noise_clip


def test_multiplier_is_the_gradient_of_the_band_term() -> None:
    generator = torch.Generator().manual_seed(0)
    multiplier, off = torch.randn((2, 3, 2, 5), generator=generator, dtype=torch.float64)
    below, above = torch.rand((2, 3, 2, 5), generator=generator, dtype=torch.float64) + 0.1
    above[1] = torch.inf
    below[2, 1] = torch.inf
    stiffness = torch.tensor([0.3, 2.0, 50.0], dtype=torch.float64)
    off.requires_grad_()
    term = band_term(multiplier, off, below, above, stiffness)
    (gradient,) = torch.autograd.grad(term.sum(), off)
    torch.testing.assert_close(
        gradient, next_multiplier(multiplier, off.detach(), below, above, stiffness)
    )
    # Without multipliers the term is half the stiffness times the squared distance to the band.
    free = band_term(torch.zeros_like(multiplier), off.detach(), below, above, stiffness)
    beyond = (off.detach() - above).clamp(min=0) + (-off.detach() - below).clamp(min=0)
    torch.testing.assert_close(free, stiffness / 2 * beyond.square().sum(dim=(1, 2)))


def test_a_lower_bound_alone_presses_upwards_alone() -> None:
    level = torch.zeros((1, 1, 2))
    band = Band(level, torch.full_like(level, 0.5), torch.full_like(level, torch.inf))
    band.curvature.fill_(1.0)
    low, high = torch.tensor([[[-1.0, 0.0]]]), torch.tensor([[[9.0, 9.0]]])
    assert (band.next_multiplier(high) == 0).all() and float(band.violation(high)) == 0
    pressed = band.next_multiplier(low)
    assert float(pressed[0, 0, 0]) < 0 and float(pressed[0, 0, 1]) == 0
    assert float(band.violation(low)) == 1.0  # twice as far as allowed


def test_frames_without_a_bound_do_not_count() -> None:
    level = torch.zeros((1, 1, 3))
    bound = torch.tensor([[[torch.inf, 0.1, torch.inf]]])
    band = Band(level, bound, bound)
    assert band.deviation(torch.tensor([[[5.0, 0.2, -5.0]]])).tolist() == [[[0.0, 0.2, 0.0]]] or (
        torch.allclose(
            band.deviation(torch.tensor([[[5.0, 0.2, -5.0]]])), torch.tensor([[[0.0, 0.2, 0.0]]])
        )
    )
    torch.testing.assert_close(
        band.violation(band.deviation(torch.tensor([[[5.0, 0.2, -5.0]]]))), torch.tensor([1.0])
    )


def test_multipliers_move_once_a_period_and_stiffen_what_is_stuck() -> None:
    level = torch.zeros((2, 1, 1))
    bound = torch.full_like(level, 0.1)
    band = Band(level, bound, bound)
    band.curvature.fill_(1.0)
    off = torch.tensor([[[0.5]], [[0.05]]])
    for step in range(3 * PERIOD):
        pressed = band.next_multiplier(off)
        band.update(off, pressed, torch.ones(2), step)
        if step == PERIOD - 2:
            assert (band.multiplier == 0).all()
        if step == PERIOD - 1:
            # rho (d - the bound aimed at), with rho = 2 * stiffness / curvature
            expected = 2 * FIRST_STIFFNESS * (0.5 - (1 - MARGIN) * 0.1)
            assert abs(float(band.multiplier[0]) - expected) < 1e-4
    # The first period has nothing to compare with; the two after it made no progress.
    np.testing.assert_allclose(band.stiffness, [FIRST_STIFFNESS * GROWTH**2, FIRST_STIFFNESS])
    # That of grey's distance is 2, that of the band rho times the response's own.
    torch.testing.assert_close(band.step_curvature, 2 + band.rho * band.curvature)


def test_what_is_outside_though_as_stiff_as_it_may_be_aims_farther_inside() -> None:
    level = torch.zeros((3, 1, 1))
    bound = torch.full_like(level, 0.1)
    band = Band(level, bound, bound)
    band.curvature.fill_(1.0)
    band.stiffness.copy_(torch.tensor([LARGEST_STIFFNESS, LARGEST_STIFFNESS, FIRST_STIFFNESS]))
    off = torch.tensor([[[0.11]], [[0.09]], [[0.11]]])
    for step in range(PERIOD):
        band.update(off, band.next_multiplier(off), torch.ones(3), step)
    farther = MARGIN + FARTHER
    torch.testing.assert_close(band.margin, torch.tensor([farther, MARGIN, MARGIN]))
    torch.testing.assert_close(band.aimed[1][0, 0], torch.tensor([(1 - farther) * 0.1]))
    for step in range(PERIOD, 100 * PERIOD):
        band.update(off, band.next_multiplier(off), torch.ones(3), step)
    assert float(band.margin[0]) == pytest.approx(LARGEST_MARGIN)


def test_only_what_is_settled_and_out_of_band_is_stiffened() -> None:
    one, infinite = torch.ones(4), torch.full((4,), torch.inf)
    ratio = torch.tensor([2.0, 2.0, 0.99, 2.0])
    before = torch.tensor([1.0, 3.0, 0.01, 1.0])
    grey = torch.tensor([1.0, 1.0, 1.0, 0.5])
    margin = torch.full((4,), MARGIN)
    stiffness, excess = stiffen(one, ratio, margin, before, grey, one)
    # Stuck; halved its violation; within the band; still moving to grey.
    assert stiffness.tolist() == [GROWTH, 1.0, 1.0, 1.0]
    torch.testing.assert_close(excess, ratio - (1 - MARGIN))
    assert stiffen(one, ratio, margin, infinite, grey, one)[0].tolist() == [1.0] * 4


def test_curvature_is_the_largest_singular_value_squared() -> None:
    network, kernel = linear_network(taps=3, seed=4, base=0.5)
    bounded = torch.ones((1, 1, 10), dtype=torch.bool)
    bounded[..., :3] = False
    measured = largest_curvature(
        lambda x: network.module(x).transpose(1, 2), noise_clip(1, 10, 7), bounded
    )
    exact = np.linalg.norm(linear_jacobian(kernel, 10)[3:], 2) ** 2
    assert 0.9 * exact <= float(measured) <= exact * (1 + 1e-3)


def test_a_larger_curvature_is_learnt_from_the_gradient() -> None:
    level = torch.zeros((2, 1, 2))
    band = Band(level, level + 1, level + 1)
    band.curvature.copy_(torch.tensor([1.0, 9.0]))
    pull = torch.full((2, 1, 4), 1.0)
    multiplier = torch.full((2, 1, 2), 1.0)
    band.learn_curvature(pull, multiplier, torch.tensor([True, True]))
    assert band.curvature.tolist() == [2.0, 9.0]
    band.learn_curvature(10 * pull, multiplier, torch.tensor([False, True]))
    assert band.curvature.tolist() == [2.0, 200.0]
    # Without a multiplier nothing is learnt.
    band.learn_curvature(pull, 0 * multiplier, torch.tensor([True, True]))
    assert band.curvature.tolist() == [2.0, 200.0]


def test_range_within_the_window_and_a_start_off_the_ends() -> None:
    trace = torch.tensor([[9.0, 1.0, 4.0, -9.0]])
    window = torch.tensor([[False, True, True, False]])
    assert trace_range(trace, window).tolist() == [3.0]
    torch.testing.assert_close(
        off_the_ends(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([0.001, 0.5, 0.999])
    )
