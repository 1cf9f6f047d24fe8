"""Fixtures of the tests of threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from stimopt.dynamics import fused


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use threads however small the network."""
    monkeypatch.setattr(fused, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(fused, "WORTH_WAKING", 0)


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
