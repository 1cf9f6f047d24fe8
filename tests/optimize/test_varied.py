"""Varied optima, on cells whose solutions are one, two or a circle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import stimopt
from stimopt.networks.module import ModuleNetwork
from stimopt.optimize.varied import VariedGenerator
from stimopt.protocol import Protocol
from stimopt.results import Result
from tests.optimize.cases import linear_network

QUIET = {"enable_progress_bar": False, "logger": False}
SHORT = {"protocol": Protocol(t_pre=0.0), "t_stim": 0.05}


class Filters(nn.Module):
    """A function of the outputs of causal filters, `(filters, taps, 7)`."""

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.register_buffer("filters", filters)

    def outputs(self, luminance: Tensor) -> Tensor:
        """`(filters, items, frames)`."""
        taps, frames = self.filters.shape[1], luminance.shape[1]
        padded = nn.functional.pad(luminance - 0.5, (0, 0, taps - 1, 0))
        return torch.stack(
            [
                sum(padded[:, taps - 1 - k : taps - 1 - k + frames] @ each[k] for k in range(taps))
                for each in self.filters
            ]
        )


class Energy(Filters):
    """r = sum of squares: with two filters of equal length at right angles no phase is better."""

    def forward(self, luminance: Tensor) -> Tensor:
        return self.outputs(luminance).square().sum(dim=0)[..., None]


class Either(Filters):
    """r = the larger output: either filter's stimulus does."""

    def forward(self, luminance: Tensor) -> Tensor:
        return self.outputs(luminance).amax(dim=0)[..., None]


class Saturating(Filters):
    """r = tanh of one output."""

    def forward(self, luminance: Tensor) -> Tensor:
        return torch.tanh(self.outputs(luminance)[0])[..., None]


def filters(n: int, taps: int = 3) -> Tensor:
    """Of length 1, at right angles."""
    random = torch.randn((taps * 7, n), generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(random)[0].T.reshape(n, taps, 7)


def varied(network: Any, **options: Any) -> Result:
    cell = network.cell_types[0]
    ceiling = stimopt.fit(VariedGenerator.range_fit(network, cell, **SHORT), **QUIET)
    fit = VariedGenerator(network, cell, ceiling=ceiling, **{**SHORT, **options})
    return stimopt.fit(fit, steps=100, **QUIET)


@pytest.mark.parametrize("fraction", [0.5, 0.85])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_linear_cell_has_one_solution_at_any_scale_and_level(
    scale: float, fraction: float
) -> None:
    network, _ = linear_network(scale=scale)
    result = varied(network, fraction=fraction)
    assert result["level_met"].all()
    np.testing.assert_allclose(result["diversity"], 0, atol=0.01)
    # The stimuli that repel each other come to the efficient one all the same.
    np.testing.assert_allclose(result["distance"], 0, atol=0.05)
    np.testing.assert_allclose(result["control_reached"], fraction, atol=0.02)


def test_a_saturating_output_adds_no_solution() -> None:
    network = ModuleNetwork(Saturating(2 * filters(1)), {"cell": 0}, extent=1)
    np.testing.assert_allclose(varied(network)["diversity"], 0, atol=0.01)


def test_stimuli_of_a_linear_cell_differ_in_no_pixel_that_it_does_not_see() -> None:
    # Of five frames the last frame depends on three.
    stimuli = varied(linear_network()[0])["stimulus"]
    np.testing.assert_allclose(stimuli[:, :2], 0.5, atol=0.01)


@pytest.mark.parametrize("stimuli", [2, 4])
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_a_phase_invariant_energy_cell_has_diversity_1(scale: float, stimuli: int) -> None:
    network = ModuleNetwork(Energy(scale * filters(2)), {"cell": 0}, extent=1)
    result = varied(network, stimuli=stimuli)
    assert result["level_met"].all()
    assert result["label"].tolist() == [
        "cell-efficient", *(f"cell-varied {i + 1}" for i in range(stimuli)),
    ]  # fmt: skip
    np.testing.assert_allclose(result["diversity"], 1, atol=0.02)
    # A random stimulus as far from the optimum and of the same contrast drives it less.
    assert (result["control_reached"][1:] < result["fraction_reached"][1:]).all()
    assert result["control_reached"][1:].mean() < 0.6


def test_stimuli_of_two_solutions_that_share_nothing_have_half() -> None:
    apart = torch.zeros(2, 3, 7)
    apart[0, :, :3], apart[1, :, 4:] = 1.0, 1.0
    network = ModuleNetwork(Either(apart), {"cell": 0}, extent=1)
    result = varied(network, stimuli=2)
    assert result["level_met"].all()
    np.testing.assert_allclose(result["diversity"], 0.5, atol=0.02)


def test_a_control_has_the_contrast_and_distance_of_its_stimulus() -> None:
    network = ModuleNetwork(Energy(filters(2)), {"cell": 0}, extent=1)
    ceiling = stimopt.fit(VariedGenerator.range_fit(network, "cell", **SHORT), **QUIET)
    fit = VariedGenerator(network, "cell", ceiling=ceiling, **SHORT)
    # Faint, so that no pixel reaches a bound.
    stimuli = 0.5 + 0.1 * (fit.stimulus.detach() - 0.5)
    controls = fit.controls(stimuli)
    for x in (stimuli, controls):
        assert x.shape == stimuli.shape
    for other in (torch.full_like(stimuli, 0.5), stimuli[:1].expand_as(stimuli)):
        torch.testing.assert_close(
            (controls - other).flatten(1).norm(dim=1), (stimuli - other).flatten(1).norm(dim=1)
        )
    assert (controls[1:] - stimuli[1:]).abs().amax() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, "fraction"),
        ({"stimuli": 1}, "stimuli of a group as a whole number >= 2"),
        ({"anneal": 0}, "anneal in steps"),
        ({}, "the ceiling of the cells, got none"),
    ],
)
def test_what_cannot_be_sought_is_refused(options: dict[str, Any], message: str) -> None:
    network, _ = linear_network()
    with pytest.raises(ValueError, match=message):
        VariedGenerator(network, "linear", **SHORT, **options)
