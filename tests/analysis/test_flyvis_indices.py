"""The formulas of flyvis, by hand and against what flyvis gave for five trained networks."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from stimopt.analysis.flyvis_indices import (
    ProbeResponses,
    direction_selectivity_index,
    flash_response_index,
    preferred_direction,
    probe_responses,
)
from stimopt.analysis.indices import angle_between
from stimopt.analysis.score_card import score_probes
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import flyvis_network
from tests.search.cases import two_networks

NETWORKS = ("000", "001", "002", "003", "004")
COMMON_SPEEDS = (9.7, 13.0, 19.0, 25.0)


def test_flash_index_is_raised_by_the_size_of_the_minimum() -> None:
    off, on = [0.0, 1.0], [-1.0, 2.0]
    assert flash_response_index([off, on]) == pytest.approx((3 - 2) / 5)
    # A minimum above zero raises further.
    off, on = [1.0, 2.0], [1.0, 4.0]
    assert flash_response_index([off, on]) == pytest.approx((5 - 3) / 8)
    assert flash_response_index(np.zeros((2, 3))) == 0


def test_selectivity_shares_the_larger_denominator_and_averages_indices() -> None:
    peaks = np.zeros((2, 2, 12))  # OFF and ON, two speeds
    peaks[0, :, 0] = [1.0, 2.0]
    peaks[1, 0, [0, 6]] = 2.0
    peaks[1, 1, 3] = 1.0
    np.testing.assert_allclose(
        direction_selectivity_index(peaks), [(1 / 4 + 2 / 2) / 2, (0 + 1 / 2) / 2]
    )


def test_direction_pools_speeds_before_the_angle() -> None:
    peaks = np.zeros((2, 2, 12))
    peaks[1, 0, 0], peaks[1, 1, 3] = 3.0, 4.0  # 3 to the right, 4 upward
    peaks[0] = 1.0
    off, on = preferred_direction(peaks)
    assert np.isnan(off)
    assert on == pytest.approx(np.degrees(np.arctan2(4, 3)))


def test_each_network_has_its_own_row() -> None:
    both = two_networks(extent=3)
    responses = probe_responses(both, "T4c,Mi1", speeds=[25.0])
    assert responses.edge_peaks.shape == (2, 2, 2, 1, 12)
    assert responses.flash_traces.shape == (2, 2, 2, 201)
    only = probe_responses(both, "Mi1", speeds=[25.0], networks=[1])
    np.testing.assert_allclose(only.edge_peaks[0, 0], responses.edge_peaks[1, 1], atol=1e-6)
    np.testing.assert_allclose(only.flash_index[0, 0], responses.flash_index[1, 1], atol=1e-6)
    assert only.network_names == both.names[1:]


def test_a_network_that_leaves_the_finite_numbers_has_no_index() -> None:
    both = two_networks(extent=2)
    both.tap_weight[1].abs_().mul_(1e3)  # all excite
    responses = probe_responses(both, "T4c,Mi1", speeds=[25.0])
    for index in (responses.flash_index, responses.direction_selectivity):
        assert np.isnan(index[1]).all() and np.isfinite(index[0]).all()
    card = score_probes(responses)
    assert np.isnan(card.score[1]) and card.remarks(1) == []
    assert card.fitting(-1.0) == [0]


@pytest.mark.parametrize(
    "wrong", [{"cell_types": "T4x"}, {"speeds": []}, {"speeds": [-1.0]}, {"networks": [5]}]
)
def test_rejects_what_cannot_be_shown(circuit: FrozenNetwork, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, got .*; "):
        probe_responses(circuit, **{"cell_types": "T4c", **wrong})


@pytest.fixture(scope="module")
def responses(trained_folder: Path, connectome_file: Path) -> ProbeResponses:
    network = flyvis_network([trained_folder / name for name in NETWORKS], connectome_file)
    return probe_responses(network, speeds=COMMON_SPEEDS)


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_networks_have_the_indices_of_flyvis(
    name: str, responses: ProbeResponses, shared: Path
) -> None:
    n = NETWORKS.index(name)
    with h5py.File(shared / "reference" / "flyvis-tuning.h5") as file:
        assert [each.decode() for each in file["cell_type"][:]] == list(responses.cell_types)
        known = {key: file[f"{name}/{key}"][:] for key in ("fri", "dsi_common", "edge_peak")}
        known["direction"] = file[f"{name}/preferred_direction_common_deg"][:]
        which = np.isin(np.round(file[f"{name}/speeds"][:], 3), COMMON_SPEEDS)
    np.testing.assert_allclose(responses.flash_index[n], known["fri"], atol=1e-3)
    np.testing.assert_allclose(responses.direction_selectivity[n], known["dsi_common"], atol=1e-3)
    peaks = known["edge_peak"][:, :, which]
    assert np.abs(responses.edge_peaks[n] - peaks).max() < 1e-3 * peaks.max()
    # Where directions are nearly alike, the angle is that of small differences.
    tuned = known["dsi_common"] > 0.01
    off = angle_between(responses.preferred_direction_deg[n], known["direction"])[tuned]
    assert np.radians(off).max() < 1e-3
