"""The sparse step: its matrices, and a loop over frames that never waits for the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stimopt.dynamics.simulate import simulate
from stimopt.dynamics.sparse import SparseStep, csr_matrix, csr_order
from tests.dynamics.cases import Case
from tests.dynamics.dense_step import dense_weights


@pytest.mark.parametrize("extent", [0, 3])
def test_the_matrix_is_the_dense_one(extent: int) -> None:
    case = Case(extent)
    source, target, tap = case.layout.synapses
    order = csr_order(target, source, tap, case.layout.n_cells)
    matrix = csr_matrix(order, torch.as_tensor(case.tap_weight[0]))
    dense = dense_weights(case.connectome, case.lattice, case.tap_weight[0])
    # Entries at one place, as of a pair that the connectome lists twice, add up.
    np.testing.assert_allclose(matrix.to_dense().numpy(), dense, atol=1e-15)
    assert matrix.crow_indices().dtype == matrix.col_indices().dtype == torch.int32


class Waits(TorchDispatchMode):
    """Counts the operations that make the host wait for a device."""

    # What torch.cuda.set_sync_debug_mode warns of, among the operations used here.
    NAMES = ("_local_scalar_dense", "nonzero", "unique", "equal", "is_nonzero", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += any(name in str(func).split(".") for name in self.NAMES)
        return func(*args, **(kwargs or {}))


def test_no_frame_waits_for_the_device() -> None:
    counts = []
    for frames in (2, 9):
        case = Case(extent=2, items=3, frames=frames)
        step = SparseStep(case.layout)
        readout = torch.tensor([[1, 2], [3, 4], [5, 5]])
        light = case.luminance.requires_grad_()
        with Waits() as waits:
            voltages, _ = simulate(step, case.drive(readout), light, case.initial)
            voltages.sum().backward()
        counts.append(waits.count)
    assert counts[0] == counts[1] > 0  # Some before the loop, none in it.
