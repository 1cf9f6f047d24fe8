"""Choice of the step by backend and device."""

from __future__ import annotations

import sys

import pytest
import torch

from stimopt.dynamics.select import choose_step
from tests.dynamics.cases import CPU, Case

META = torch.device("meta")


def test_auto_follows_the_device() -> None:
    layout = Case().layout
    assert choose_step(layout, "auto", CPU).name == "fused"
    assert choose_step(layout, "auto", META).name == "sparse"
    assert choose_step(layout, "sparse", CPU).name == "sparse"


def test_without_numba_auto_is_sparse_and_fused_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "stimopt.dynamics.fused", None)
    layout = Case().layout
    assert choose_step(layout, "auto", CPU).name == "sparse"
    with pytest.raises(RuntimeError, match="pip install numba"):
        choose_step(layout, "fused", CPU)


def test_an_impossible_choice_is_refused() -> None:
    layout = Case().layout
    with pytest.raises(ValueError, match="backend as one of 'auto', 'sparse', 'fused', got 'fast'"):
        choose_step(layout, "fast", CPU)
    with pytest.raises(ValueError, match="expected the CPU for backend 'fused', got meta"):
        choose_step(layout, "fused", META)
