"""Minimal stimuli, against enumeration of the columns."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import stimopt
from stimopt.networks.module import ModuleNetwork
from stimopt.optimize.minimal import MinimalGenerator, from_the_ends
from stimopt.protocol import Protocol

QUIET = {"enable_progress_bar": False, "logger": False}
SHORT = {"protocol": Protocol(t_pre=0.0), "t_stim": 0.04}
COLUMNS = 19


class Units(nn.Module):
    """r = sum_k a_k max(w_k x_t + v_k x_{t-1} + b_k, 0) with a > 0.

    As max(z, 0) is the larger of z and 0, r is the largest of the linear functions that sum some of
    the units: its largest value on any columns is known, though it has many local optima.
    """

    def __init__(self, seed: int, units: int = 4) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        # Few columns matter much, as in a receptive field.
        size = torch.exp(-3 * torch.rand((units, COLUMNS), generator=random))
        for name in ("w", "v"):
            signs = torch.randint(0, 2, size.shape, generator=random) * 2 - 1
            self.register_buffer(name, size * signs)
        self.register_buffer("a", torch.rand(units, generator=random) + 0.5)
        offset = 2 * torch.rand(units, generator=random) - 1
        self.register_buffer("b", offset - 0.5 * (self.w + self.v).sum(dim=1))

    def forward(self, luminance: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(luminance[:, :1], 0.5), luminance[:, :-1]], dim=1)
        drive = luminance @ self.w.T + before @ self.v.T + self.b
        return (drive.clamp(min=0) @ self.a)[..., None]


def fewest_columns(neuron: Units, level: float) -> int:
    """The least number of columns on which some stimulus reaches the level, by trying all."""
    w, v, a, b = (part.double().numpy() for part in (neuron.w, neuron.v, neuron.a, neuron.b))
    units = np.array(list(product((0.0, 1.0), repeat=len(a)))) * a
    at_grey = units @ (b + 0.5 * (w + v).sum(axis=1))
    # A column adds half its gradient's size in either frame, by black or white.
    added = 0.5 * (np.abs(units @ w) + np.abs(units @ v))
    for n in range(COLUMNS + 1):
        chosen = np.array(list(combinations(range(COLUMNS), n)), int)
        if (at_grey[:, None] + added[:, chosen].sum(axis=2)).max() >= level:
            return n
    raise AssertionError("the level is above the ceiling")


def minimal(network: Any, **options: Any) -> tuple[Any, MinimalGenerator]:
    options = {**SHORT, **options}
    ceiling = stimopt.fit(MinimalGenerator.range_fit(network, "cell", **options), **QUIET)
    fit = MinimalGenerator(network, "cell", ceiling=ceiling, **options)
    return stimopt.fit(fit, **QUIET), fit


@pytest.mark.parametrize("seed", range(4))
def test_no_fewer_columns_do_than_those_of_the_minimal_stimulus(seed: int) -> None:
    neuron = Units(seed)
    network = ModuleNetwork(neuron, {"cell": 0}, extent=2)
    result, fit = minimal(network, fraction=0.4)
    expected = fewest_columns(neuron, float(fit.level[0]))
    assert result["level_met"].all()
    assert result["columns_used"].tolist() == [expected]
    # The last frame depends on two.
    assert result["frames_used"].tolist() == [2]


def test_all_else_is_exactly_grey() -> None:
    network = ModuleNetwork(Units(0), {"cell": 0}, extent=2)
    result, _ = minimal(network, fraction=0.4)
    stimulus = result["stimulus"][0]
    used = (stimulus != 0.5).any(axis=0)
    assert used.sum() == result["columns_used"][0] < COLUMNS
    assert (stimulus[:, ~used] == 0.5).all() and (stimulus[:2] == 0.5).all()
    # The optimum on what is left: black and white.
    assert {*np.unique(stimulus)} <= {0.0, 0.5, 1.0}
    assert result["stop_reason"][0] == "its steps had become as short as planned"


def test_a_stretch_is_left_whatever_number_of_frames_is_left_out() -> None:
    added = np.array([3.0, 1.0, 5.0, 2.0])
    assert from_the_ends(added, 0, 3).tolist() == [3, 0, 1, 2]
    assert from_the_ends(added, 0, 3, other=True).tolist() == [0, 1, 3, 2]
    assert from_the_ends(added, 1, 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 1.5}, "fraction"),
        ({"polish": 1}, "polish in steps"),
        ({}, "the ceiling of the cells, got none"),
    ],
)
def test_what_cannot_be_sought_is_refused(options: dict[str, Any], message: str) -> None:
    network = ModuleNetwork(Units(0), {"cell": 0}, extent=2)
    with pytest.raises(ValueError, match=message):
        MinimalGenerator(network, "cell", **SHORT, **options)
