"""Tuning that is added to the three optima."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stimopt.analysis import moving_edge
from stimopt.networks.opening import builtin_network
from stimopt.protocol import Protocol
from stimopt.report.optima_tuning import with_tuning
from stimopt.results.three_optima import ThreeOptima
from tests.report.cases import LATTICE, optima_of


def test_tuning_of_edges_is_measured_and_stored(tmp_path: Path) -> None:
    optima = optima_of(["T4c", "T5a"])
    result = optima.artificial
    for i, (angle, polarity) in enumerate(((90.0, 1), (180.0, -1))):
        edge = moving_edge(LATTICE, angle, polarity, 19.0, Protocol())
        result["stimulus"][i] = edge[:25]
    tuned = with_tuning(optima, builtin_network(LATTICE.extent))
    # The optima themselves are left as they were.
    assert "polarity" not in optima.artificial.variables
    stored = ThreeOptima.read(tuned.write(tmp_path / "optima.h5")).artificial
    np.testing.assert_array_equal(stored["polarity"], [1, -1])
    np.testing.assert_allclose(stored["preferred_direction_deg"], [90, 180], atol=10)
    assert (stored["direction_selectivity"] > 0.3).all()
    assert (stored["polarity_index"] * [1, -1] > 0.5).all()
