"""Which implementation of the step serves a network on a device."""

from __future__ import annotations

import torch

from stimopt.dynamics.gpu import GraphStep
from stimopt.dynamics.layout import CellLayout
from stimopt.dynamics.simulate import Step
from stimopt.dynamics.sparse import SparseStep

BACKENDS = ("auto", "sparse", "fused", "graph")


def choose_step(layout: CellLayout, backend: str, device: torch.device) -> Step:
    """The step to use; `auto` takes the fastest that runs here.

    `fused` runs on the CPU and needs Numba; `sparse` runs anywhere; `graph` is `sparse` with its
    loop launched as one CUDA graph, and has not been run on a GPU yet, so `auto` leaves it alone.

    Raises:
        ValueError: for an unknown backend, or `fused` on another device than the CPU.
        RuntimeError: for `fused` where Numba cannot be imported.
    """
    if backend not in BACKENDS:
        raise ValueError(f"expected a backend of {BACKENDS}, got {backend!r}; 'auto' always works")
    if backend == "sparse" or (backend == "auto" and device.type != "cpu"):
        return SparseStep(layout)
    if backend == "graph":
        return GraphStep(layout)
    if device.type != "cpu":
        raise ValueError(
            f"expected the CPU for the backend 'fused', got {device}; use 'auto' or 'sparse'"
        )
    try:
        # Here, so that stimopt can be imported without Numba, and in half the time.
        from stimopt.dynamics.fused import FusedStep
    except ImportError as error:
        if backend == "auto":
            return SparseStep(layout)
        raise RuntimeError(
            f"expected Numba for the backend 'fused', got {error}; pip install numba, or use "
            "'sparse', which is 4 (many items) to 16 times (one) slower"
        ) from error
    return FusedStep(layout)
