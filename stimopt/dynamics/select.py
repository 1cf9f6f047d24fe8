"""Which implementation of the step serves a network on a device."""

from __future__ import annotations

import torch

from stimopt.dynamics.layout import CellLayout
from stimopt.dynamics.simulate import Step
from stimopt.dynamics.sparse import SparseStep

BACKENDS = ("auto", "sparse")


def choose_step(layout: CellLayout, backend: str, device: torch.device) -> Step:
    """The step to use; `auto` takes the fastest that runs here.

    Raises:
        ValueError: for an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"expected a backend of {BACKENDS}, got {backend!r}; 'auto' always works")
    return SparseStep(layout)
