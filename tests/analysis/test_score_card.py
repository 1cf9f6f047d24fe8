"""Score cards: fits by hand, of the built-in circuit, and of trained networks beside flyvis's."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from stimopt.analysis.flyvis_probes import probe_responses
from stimopt.analysis.known_cells import POLARITY, PREFERRED_DIRECTION_DEG, SELECTIVE
from stimopt.analysis.score_card import ScoreCard, score_optima, score_probes
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.results import Variable
from stimopt.runs.trainer import fit
from tests.analysis.cases import DETECTORS

TYPES = ("T4a", "T5b", "Mi1", "Tm1", "Dm1", "L1")
NAN = np.nan


@pytest.fixture
def card() -> ScoreCard:
    return ScoreCard(
        source="probes",
        cell_types=TYPES,
        network_names=("good", "mirrored", "blank"),
        polarity_index=np.array(
            [[1, -1, 1, -1, 0.5, -1], [-1, 1, -1, 1, 0.2, 1], [NAN] * 6], np.float64
        ),
        selectivity=np.array(
            [[0.8, 0.8, 0, 0, 0.5, 0], [0.8, 0.8, 0, 0, 0.3, 0.1], [NAN] * 6], np.float64
        ),
        direction_deg=np.array(
            [[180, 0, NAN, NAN, 350, NAN], [0, 180, NAN, NAN, 50, NAN], [NAN] * 6], np.float64
        ),
    )


def test_fits_by_hand(card: ScoreCard) -> None:
    np.testing.assert_allclose(card.polarity_fit, [1, -1, NAN])
    np.testing.assert_allclose(card.selectivity_fit, [1, 1, NAN])
    np.testing.assert_allclose(card.direction_fit, [1, -1, NAN])
    np.testing.assert_allclose(card.score, [1, -1 / 3, NAN])
    assert card.fitting() == [0]
    assert card.fitting(-0.5) == [0, 1]


def test_two_types_have_no_correlation() -> None:
    index = np.array([[0.1, -0.01]])
    two = ScoreCard("optima", ("T4c", "T5c"), ("a",), index, index, np.array([[90.0, 90.0]]))
    assert np.isnan(two.polarity_fit) and np.isnan(two.selectivity_fit)
    np.testing.assert_allclose(two.score, 1.0)


def test_a_network_whose_motion_cells_are_silent_does_not_fit() -> None:
    types = ("R1", "R2", "L1", "T4a", "T4b", "T5a", "Mi1", "Tm1")
    polarity = np.array([[1.0, 1.0, *[0.0] * 6]])
    nothing = np.full((1, 8), NAN)
    silent = ScoreCard("edges", types, ("silent",), polarity, nothing, nothing)
    assert silent.selectivity_fit == silent.direction_fit == 0
    assert silent.score < 0.5 and silent.fitting() == []
    assert any("selectivity hardly fits (0.00)" in remark for remark in silent.remarks(0))


def test_says_what_does_not_fit(card: ScoreCard) -> None:
    assert card.remarks(0) == []
    assert card.remarks(1) == ["directions reversed: T4a, T5b", "polarity hardly fits (-1.00)"]


def test_weights_leave_out_low_scores_and_reversed_types(card: ScoreCard) -> None:
    networks, types = [2, 1, 0], ["Mi1", "T4a"]
    assert card.weights(types, networks).tolist() == [[0, 0, 1], [0, 0, 1]]
    assert card.weights(types, networks, -1.0).tolist() == [[0, 1, 1], [0, 0, 1]]


def test_predicts_what_is_not_recorded(card: ScoreCard) -> None:
    dm1, l1 = card.predictions([0, 1])
    assert (dm1["cell_type"], dm1["polarity"], dm1["polarity_agreement"]) == ("Dm1", 1, 1.0)
    assert not dm1["polarity_recorded"] and not dm1["selectivity_recorded"]
    assert dm1["selectivity"] == pytest.approx(0.4)
    assert dm1["selectivity_agreement"] == 1
    assert dm1["direction_deg"] == pytest.approx(20)
    assert dm1["direction_agreement"] == pytest.approx(np.cos(np.radians(30)))
    # The polarity of L1 is recorded, its direction selectivity is not.
    assert (l1["cell_type"], l1["polarity_recorded"], l1["selectivity_recorded"]) == (
        "L1",
        True,
        False,
    )
    assert (l1["polarity"], l1["polarity_agreement"], l1["selectivity_agreement"]) == (0, 0.5, 1.0)
    assert np.isnan(l1["direction_deg"])
    with pytest.raises(ValueError, match=r"^expected at least one network, got none; "):
        card.predictions([])


def test_the_circuit_fits_by_probes(circuit: FrozenNetwork) -> None:
    card = score_probes(probe_responses(circuit, speeds=[19.0]))
    assert card.score[0] > 0.9
    assert card.remarks(0) == []
    assert np.nanmax(card.direction_error_deg) < 10


def test_the_circuit_fits_by_its_optima(circuit: FrozenNetwork) -> None:
    optima = fit(StimulusGenerator(circuit, [*DETECTORS, "Mi1"], t_stim=0.3), steps=60)
    card = score_optima(circuit, optima)
    assert card.source == "optima"
    assert card.polarity_fit[0] > 0.9
    assert np.nanmax(card.direction_error_deg) < 45
    assert card.reversed_types(0) == []


def test_refuses_optima_of_others_and_suppressing_ones(circuit: FrozenNetwork) -> None:
    fits = StimulusGenerator(circuit, "T4c", t_stim=0.1, sign=-1)
    with pytest.raises(ValueError, match="suppress"):
        score_optima(circuit, fits.result())
    mixed = StimulusGenerator(circuit, "T4c", t_stim=0.1).result()
    mixed.variables["sign"] = Variable(("item",), np.array([-1]))
    with pytest.raises(ValueError, match="suppress"):
        score_optima(circuit, mixed)
    with pytest.raises(ValueError, match="load that network"):
        score_optima(builtin_network(extent=3), fits.result())
    found = StimulusGenerator(circuit, "T4c", t_stim=0.1, seeds=[0, 1]).result()
    found.variables["fraction"] = Variable(("item",), np.array([-1.0, 1.0]))
    with pytest.raises(ValueError, match="one level, got a ladder of 2"):
        score_optima(circuit, found)


def test_trained_networks_have_the_fits_of_flyvis(
    shared: Path, trained_folder: Path, connectome_file: Path
) -> None:
    names = ("000", "004")
    network = flyvis_network([trained_folder / name for name in names], connectome_file)
    card = score_probes(probe_responses(network, speeds=[9.7, 13.0, 19.0, 25.0]))
    with h5py.File(shared / "reference" / "flyvis-tuning.h5") as file:
        fits = [file[name].attrs["fri_correlation_to_known"] for name in names]
        # Those of 000 are over two more speeds.
        selectivity = file["004"].attrs["dsi_correlation_to_known"]
        error = np.degrees(file["004/angular_distance_to_known"][:])
    np.testing.assert_allclose(card.polarity_fit, fits, atol=1e-3)
    assert card.selectivity_fit[1] == pytest.approx(selectivity, abs=1e-3)
    which = [card.cell_types.index(name) for name in PREFERRED_DIRECTION_DEG]
    # T5a and T5d do not respond to dark edges in 004; flyvis sets their direction to 0.
    error[[4, 7]] = np.nan
    np.testing.assert_allclose(card.direction_error_deg[1, which], error, atol=0.1)
    assert card.remarks(0) == []
    reversed_types, polarity = card.remarks(1)
    assert all(name in reversed_types for name in ("T4b", "T4c", "T4d"))
    assert polarity == "polarity hardly fits (0.24)"
    assert card.fitting() == [0]


def test_known_types_are_those_of_the_reference(shared: Path) -> None:
    with h5py.File(shared / "reference" / "flyvis-tuning.h5") as file:
        names = [each.decode() for each in file["cell_type"][:]]
        polarity = dict(zip(names, file["known/polarity"][:].tolist(), strict=True))
        selective = dict(zip(names, file["known/direction_selective"][:].tolist(), strict=True))
        directions = file["known/preferred_direction_deg"][:].tolist()
        tuned = [each.decode() for each in file["tuned_types"][:]]
    assert {name: value for name, value in polarity.items() if value} == POLARITY
    assert {name: bool(value) for name, value in selective.items() if value >= 0} == SELECTIVE
    assert dict(zip(tuned, directions, strict=True)) == PREFERRED_DIRECTION_DEG
