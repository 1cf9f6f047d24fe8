"""Choice of the implementation of the step for a network on a device."""

from __future__ import annotations

import torch

from stimopt import expect
from stimopt.dynamics.layout import CellLayout
from stimopt.dynamics.simulate import Step
from stimopt.dynamics.sparse import SparseStep

BACKENDS = ("auto", "sparse", "fused")


def choose_step(layout: CellLayout, backend: str, device: torch.device) -> Step:
    """The step to use; `auto` takes the fastest that runs on the device.

    `fused` runs on the CPU and needs Numba; `sparse` runs anywhere.

    Raises:
        ValueError: for an unknown backend, or `fused` on another device than the CPU.
        RuntimeError: for `fused` where Numba cannot be imported.
    """
    expect.one_of("backend", backend, BACKENDS)
    if backend == "sparse" or (backend == "auto" and device.type != "cpu"):
        return SparseStep(layout)
    expect.that(
        device.type == "cpu", "the CPU for backend 'fused'", device, "use 'auto' or 'sparse'"
    )
    try:
        # Here, so that stimopt can be imported without Numba, and in half the time.
        from stimopt.dynamics.fused import FusedStep
    except ImportError as error:
        if backend == "auto":
            return SparseStep(layout)
        raise RuntimeError(
            f"expected Numba for backend 'fused', got {error}; pip install numba, or use the "
            "slower 'sparse'"
        ) from error
    return FusedStep(layout)
