from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from stimopt import results
from stimopt.networks.frozen import FrozenNetwork
from stimopt.protocol import Protocol
from stimopt.results import Result, ThreeOptima
from stimopt.results.items import select_items
from stimopt.results.three_optima import KINDS
from tests.results.cases import random_optima


@pytest.fixture
def optima(small_network: FrozenNetwork) -> ThreeOptima:
    return random_optima(small_network)


def test_items_are_those_of_the_generation(optima: ThreeOptima) -> None:
    assert len(optima) == 4
    assert [(item.cell_type, item.seed) for item in optima] == [
        ("T4c", 0), ("T4c", 7), ("T5a", 0), ("T5a", 7),
    ]  # fmt: skip
    assert [item.label for item in optima[-2:]] == optima.artificial["label"][2:].tolist()
    with pytest.raises(IndexError):
        optima[4]


def test_seeds_share_the_clip_and_its_regularization(optima: ThreeOptima) -> None:
    assert optima.naturalistic["cell_type"].tolist() == ["T4c", "T5a"]
    one, other = optima[2], optima[3]
    for kind in ("naturalistic", "regularized"):
        np.testing.assert_array_equal(one.optima[kind].stimulus, other.optima[kind].stimulus)
    assert not np.array_equal(one.artificial.stimulus, other.artificial.stimulus)


def test_arrays_are_cut_to_the_length_of_the_item(optima: ThreeOptima) -> None:
    item = optima[2]  # T5a: second of the regularization, where items of that place end early
    assert tuple(item.optima) == KINDS
    assert item.regularized.stimulus.shape == (9, optima.lattice.n_columns)
    assert item.regularized.central_target_response.shape == (9,)
    assert item.artificial.stimulus.shape == (12, optima.lattice.n_columns)
    assert item.artificial.losses.shape == item.regularized.losses.shape == (5,)
    for optimum in item.optima.values():
        assert np.isfinite(optimum.stimulus).all()
        center = optima.lattice.center
        np.testing.assert_array_equal(optimum.response[:, center], optimum.central_response)
    assert optima.dt == 0.01


def test_peaks_are_those_within_the_read_out_window(small_network: FrozenNetwork) -> None:
    window = Protocol(t_pre=0.1, readout_start=0.0, readout_stop=0.06)
    item = random_optima(small_network, window)[0]
    for optimum in item.optima.values():
        assert optimum.peak == optimum.central_response[:6].max()
        assert optimum.peak_frame < 6


def test_a_file_holds_all_three(optima: ThreeOptima, tmp_path: Path) -> None:
    path = optima.write(tmp_path / "optima.h5")
    again = results.read(path)
    assert isinstance(again, ThreeOptima)
    for kind in KINDS:
        one, other = getattr(optima, kind), getattr(again, kind)
        np.testing.assert_array_equal(one["stimulus"], other["stimulus"])
    single = results.read(optima.artificial.write(tmp_path / "result.h5"))
    assert isinstance(single, Result) and single.kind == "artificial"


def test_results_that_do_not_belong_together_are_refused(optima: ThreeOptima) -> None:
    naturalistic, regularized, artificial = (getattr(optima, kind) for kind in KINDS)
    with pytest.raises(ValueError, match="kind naturalistic, got artificial"):
        ThreeOptima(artificial, regularized, naturalistic)
    for other in ({"network_hash": "0" * 64}, {"protocol": Protocol(dt=0.02)}):
        altered = dataclasses.replace(regularized, **other)
        with pytest.raises(ValueError, match="one network and protocol, got a regularized one"):
            ThreeOptima(naturalistic, altered, artificial)
    message = "T5a of network 0 at u=0, v=0 among the regularized optima, got T4c at u=0, v=0;"
    with pytest.raises(ValueError, match=message):
        ThreeOptima(naturalistic, select_items(regularized, [0]), artificial)
    regularized["readout_u"][1] = 1
    with pytest.raises(ValueError, match=r"T5a of network 0 at u=0, .* got .*T5a at u=1, v=0;"):
        ThreeOptima(naturalistic, regularized, artificial)
