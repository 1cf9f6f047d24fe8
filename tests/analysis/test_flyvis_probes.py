"""flyvis's probes, their pictures and the indices, by hand and against what flyvis gave."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import ArrayLike

from stimopt.analysis import EDGE_SPEEDS
from stimopt.analysis import flyvis_probes as probes
from stimopt.analysis.flyvis_probes import ProbeResponses, probe_responses
from stimopt.analysis.indices import angle_between
from stimopt.analysis.score_card import score_probes
from stimopt.lattice import HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import flyvis_network
from tests.search.cases import two_networks

NETWORKS = ("000", "001", "002", "003", "004")
COMMON_SPEEDS = (9.7, 13.0, 19.0, 25.0)


def test_a_flash_is_a_disc_of_127_columns_for_a_second() -> None:
    lattice = HexLattice(15)
    shown = probes.flash(lattice, 1.0)
    assert shown.shape == (201, 721)
    disc = shown[0] == 1
    assert disc.sum() == 127
    assert disc[lattice.index(6, 0)] and not disc[lattice.index(7, 0)]
    assert (shown[:-1] == shown[0]).all() and (shown[0, ~disc] == 0.5).all()
    assert (shown[-1] == 0.5).all()


@pytest.mark.parametrize(
    ("speed", "frames"),
    [(2.4, 678), (4.8, 339), (9.7, 167), (13.0, 125), (19.0, 85), (25.0, 65)],
)
def test_an_edge_has_the_published_number_of_frames(speed: float, frames: int) -> None:
    positions = probes.edge_positions(speed)
    assert len(positions) == frames
    assert positions[0] == 0 and positions[-1] == 20 and positions[-2] == 19
    assert len(probes.edge(HexLattice(1), 30.0, 1.0, speed)) == frames + 1


def test_an_edge_crosses_the_centre_halfway() -> None:
    lattice = HexLattice(3)
    on, off = (probes.edge_pictures(lattice, 180.0, intensity) for intensity in (1.0, 0.0))
    behind = (on[:, lattice.center] - on[0, lattice.center]) / (1 - on[0, lattice.center])
    assert behind[0] == 0 and behind[10] == pytest.approx(0.5, abs=0.1) and behind[20] == 1
    assert (np.diff(behind) >= 0).all()
    # Grey is 127/255 where the picture was turned.
    for first in (on[0], off[0]):
        assert first[lattice.center] == pytest.approx(127 / 255, abs=1e-9)
    assert probes.edge_pictures(lattice, 0.0, 1.0)[0, lattice.center] == 0.5


def test_refuses_an_edge_that_stands() -> None:
    with pytest.raises(ValueError, match=r"^expected .*speed.*, got 0; "):
        probes.edge_positions(0)


def test_pictures_are_those_of_flyvis(shared: Path) -> None:
    with h5py.File(shared / "reference" / "flyvis-tuning.h5") as file:
        recorded = file["stimuli/edge_frames"][:]
        for speed in EDGE_SPEEDS:
            shown = file[f"stimuli/edge_position/{speed:g}"][:]
            np.testing.assert_array_equal(probes.edge_positions(speed), shown)
    lattice = HexLattice(15)
    for a, angle in enumerate(probes.ANGLES_DEG):
        for i, intensity in enumerate(probes.INTENSITIES):
            off = np.abs(probes.edge_pictures(lattice, angle, intensity) - recorded[a, i])
            # flyvis computes in float16, so that a few pixels at a hexagon's rim differ.
            assert off.max() < 0.01 and off.mean() < 1e-4


# -- indices --------------------------------------------------------------------------------------


def of_one_cell(flashes: ArrayLike = ((0,), (0,)), peaks: ArrayLike = 0) -> ProbeResponses:
    """Traces of the OFF and the ON flash, and peaks `(2, speeds, 12)`."""
    traces, edges = (np.asarray(each, np.float64)[None, None] for each in (flashes, peaks))
    return ProbeResponses(("A",), ("n",), np.array([9.7, 19.0]), traces, edges)


def test_flash_index_is_raised_by_the_size_of_the_minimum() -> None:
    off, on = [0.0, 1.0], [-1.0, 2.0]
    assert of_one_cell([off, on]).flash_index == pytest.approx((3 - 2) / 5)
    # A minimum above zero raises further.
    off, on = [1.0, 2.0], [1.0, 4.0]
    assert of_one_cell([off, on]).flash_index == pytest.approx((5 - 3) / 8)
    assert of_one_cell(np.zeros((2, 3))).flash_index == 0


def test_selectivity_shares_the_larger_denominator_and_averages_indices() -> None:
    peaks = np.zeros((2, 2, 12))  # OFF and ON, two speeds
    peaks[0, :, 0] = [1.0, 2.0]
    peaks[1, 0, [0, 6]] = 2.0
    peaks[1, 1, 3] = 1.0
    np.testing.assert_allclose(
        of_one_cell(peaks=peaks).direction_selectivity[0, 0],
        [(1 / 4 + 2 / 2) / 2, (0 + 1 / 2) / 2],
    )


def test_direction_pools_speeds_before_the_angle() -> None:
    peaks = np.zeros((2, 2, 12))
    peaks[1, 0, 0], peaks[1, 1, 3] = 3.0, 4.0  # 3 to the right, 4 upward
    peaks[0] = 1.0
    off, on = of_one_cell(peaks=peaks).preferred_direction_deg[0, 0]
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
