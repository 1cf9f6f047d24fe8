"""An optimum compared with the tuning of its cell to edges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import stimopt
from stimopt.analysis import (
    EdgeTuning,
    angle_between,
    moving_edge,
    stimulus_tuning,
    summarize_optimum,
)
from stimopt.networks.frozen import FrozenNetwork
from tests.analysis.cases import PREFERRED, PROTOCOL


@pytest.mark.parametrize("cell", ["T4c", "T5a"])
def test_an_optimum_agrees_with_the_edges(
    circuit: FrozenNetwork, edges: EdgeTuning, cell: str
) -> None:
    fit = stimopt.StimulusGenerator(circuit, cell, t_stim=0.4)
    result = stimopt.fit(fit, steps=120, accelerator="cpu", enable_progress_bar=False)
    tuning = stimulus_tuning(circuit, result["stimulus"][0], cell, PROTOCOL)
    row = summarize_optimum(tuning, edges, naturalistic=[0.0, 100.0])
    assert angle_between(row.direction_deg, PREFERRED[cell[2]]) < 30
    assert angle_between(row.preferred_direction_deg, PREFERRED[cell[2]]) < 30
    assert row.polarity == (1 if cell == "T4c" else -1)
    assert abs(row.polarity_index) > 0.3
    assert row.selective
    assert row.direction_agrees
    assert row.polarity_agrees
    assert row.times_best_edge > 1.1
    assert row.naturalistic_percentile == 50


def test_disagreement_of_an_optimum_is_shown(circuit: FrozenNetwork, edges: EdgeTuning) -> None:
    down = moving_edge(circuit.lattice, 270.0, -1, 19.0, PROTOCOL)
    tuning = stimulus_tuning(circuit, down, "T5d", PROTOCOL)
    row = summarize_optimum(tuning, edges)
    assert row.direction_agrees
    assert row.polarity_agrees
    assert row.times_best_edge == pytest.approx(1, abs=0.05)
    assert np.isnan(row.naturalistic_percentile)
    row = summarize_optimum(dataclasses.replace(tuning, cell_type="T4c"), edges)
    assert not row.direction_agrees
    assert not row.polarity_agrees
    with pytest.raises(ValueError, match=r"^expected edge tuning of L1"):
        summarize_optimum(dataclasses.replace(tuning, cell_type="L1"), edges)
    with pytest.raises(ValueError, match="network 1"):
        summarize_optimum(tuning, edges, network=1)
