"""Central responses in batches, and the voltage at grey."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stimopt.analysis import central_response, central_traces, grey_voltage
from stimopt.networks.frozen import FrozenNetwork
from tests.analysis.cases import PROTOCOL


def test_batches_and_baseline(circuit: FrozenNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    luminance = torch.rand(5, 8, circuit.lattice.n_columns, generator=torch.Generator())
    names = ["T4c", "L1"]
    together = central_traces(circuit, luminance, names, PROTOCOL, 0)
    assert together.shape == (5, 8, 2)
    monkeypatch.setattr(central_response, "ITEM_FRAMES", 16)
    np.testing.assert_allclose(
        central_traces(circuit, luminance, names, PROTOCOL, 0), together, atol=1e-6
    )
    absolute = central_traces(circuit, luminance, names, PROTOCOL, 0, baseline="absolute")
    grey = [grey_voltage(circuit, name, PROTOCOL) for name in names]
    np.testing.assert_allclose(absolute - together, np.broadcast_to(grey, (5, 8, 2)), atol=1e-6)
    # The circuit was at rest when grey ended.
    cells = [circuit.cell_index(name) for name in names]
    frame = torch.full((1, 1, circuit.lattice.n_columns), 0.5)
    np.testing.assert_allclose(circuit.initial_state(frame, PROTOCOL)[0, cells], grey, atol=1e-6)
