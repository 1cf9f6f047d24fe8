from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.parametrization import PARAMETRIZATIONS, find_parametrization
from tests.optimize.cases import linear_network


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_parameters_stand_for_the_luminance_they_came_from(name: str) -> None:
    luminance = torch.rand((2, 3, 7)).clamp(0.01, 0.99)
    way = find_parametrization(name)
    torch.testing.assert_close(way.luminance(way.parameters(luminance)), luminance)


def test_what_each_does_with_values_out_of_range() -> None:
    out = torch.tensor([-3.0, 0.25, 3.0])
    after = {}
    for name, way in PARAMETRIZATIONS.items():
        moved = out.clone()
        way.project_(moved)
        after[name] = way.luminance(moved)
    assert after["clamp"].tolist() == [0.0, 0.25, 1.0]
    assert after["free"].tolist() == out.tolist()
    torch.testing.assert_close(after["sigmoid"], 1 / (1 + torch.exp(-out)))
    # A logit at infinity would never move again.
    ends = find_parametrization("sigmoid").parameters(torch.tensor([0.0, 1.0]))
    assert torch.isfinite(ends).all()


@dataclass(frozen=True)
class Held:
    """Each frame is shown twice."""

    def parameters(self, luminance: Tensor) -> Tensor:
        return luminance[:, ::2].clone()

    def luminance(self, parameters: Tensor) -> Tensor:
        return parameters.repeat_interleave(2, dim=1)

    def project_(self, parameters: Tensor) -> None:
        parameters.clamp_(0, 1)


def test_one_of_your_own_is_fitted(make_trainer: Callable[..., pl.Trainer]) -> None:
    network, kernel = linear_network()
    fit = StimulusGenerator(
        network,
        "linear",
        t_stim=0.04,
        objective="last_frame",
        penalties={},
        init="grey",
        parametrization=Held(),
    )
    make_trainer(120).fit(fit)
    assert fit.stimulus.shape == (1, 2, 7) and fit.settings()["parametrization"] == "Held()"
    # The last response is sum_s k_s x_{T-s}: frames 2, 3 share k_0 + k_1, frames 0, 1 have k_2.
    best = torch.stack([kernel[2], kernel[0] + kernel[1]]) > 0
    torch.testing.assert_close(
        fit.record.best_stimulus[0], best.float().repeat_interleave(2, dim=0), atol=0, rtol=0
    )


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("tanh", "parametrization as one of 'clamp', 'sigmoid', 'free', got 'tanh'"),
        (object(), "got object without parameters, luminance, project_"),
    ],
)
def test_anything_else_is_rejected(wanted: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_parametrization(wanted)
