"""Tuning read from one stimulus and its images."""

from __future__ import annotations

import pytest

from stimopt.analysis import angle_between, moving_edge, stimulus_tuning
from stimopt.networks.frozen import FrozenNetwork
from tests.analysis.cases import DETECTORS, PREFERRED, PROTOCOL, edge_at_centre, peak


def test_responses_to_images_are_those_to_edges_so_transformed(circuit: FrozenNetwork) -> None:
    lattice = circuit.lattice
    edge = moving_edge(lattice, 20.0, 1, 19.0, PROTOCOL)
    tuning = stimulus_tuning(circuit, edge, "T4c", PROTOCOL)
    for k in range(6):
        for mirrored in (0, 1):
            angle = (160.0 if mirrored else 20.0) + 60 * k
            for inverted in (0, 1):
                image = moving_edge(lattice, angle, -1 if inverted else 1, 19.0, PROTOCOL)
                forth, back = tuning.responses[k, mirrored, inverted]
                assert forth == pytest.approx(peak(circuit, image, "T4c"), abs=1e-5)
                assert back == pytest.approx(peak(circuit, image[::-1], "T4c"), abs=1e-5)
    forth, back = peak(circuit, edge, "T4c"), max(0.0, peak(circuit, edge[::-1], "T4c"))
    assert tuning.reversal_index == pytest.approx((forth - back) / (forth + back), abs=1e-4)


@pytest.mark.parametrize("cell", DETECTORS)
@pytest.mark.parametrize("angle", [0.0, 110.0])
@pytest.mark.parametrize("polarity", [1, -1])
def test_one_edge_shows_what_the_cell_prefers(
    circuit: FrozenNetwork, cell: str, angle: float, polarity: int
) -> None:
    edge = moving_edge(circuit.lattice, angle, polarity, 19.0, PROTOCOL)
    tuning = stimulus_tuning(circuit, edge, cell, PROTOCOL)
    sign = 1 if cell.startswith("T4") else -1
    # Whatever its direction and polarity, one of its images is the preferred one.
    assert angle_between(tuning.preferred_direction_deg, PREFERRED[cell[2]]) < 10
    assert tuning.polarity == sign
    assert sign * tuning.polarity_index == 1
    assert polarity * sign * tuning.contrast_index > 2 / 3
    assert tuning.direction_selectivity > 0.4


def test_peak_ends_the_motion(circuit: FrozenNetwork) -> None:
    up = moving_edge(circuit.lattice, 90.0, 1, 19.0, PROTOCOL)
    tuning = stimulus_tuning(circuit, up, "T4c", PROTOCOL)
    # The front is at the centre after as many columns as lie before it; the cell follows.
    at_centre = PROTOCOL.frames(6 / 19.0)
    assert at_centre < tuning.peak_frame < at_centre + 15
    assert angle_between(tuning.motion.direction_deg, 90) < 3


def test_rejects_a_stimulus_of_another_lattice(circuit: FrozenNetwork) -> None:
    with pytest.raises(ValueError, match=r"^expected a stimulus .*extent 5"):
        stimulus_tuning(circuit, edge_at_centre(0.0, 1, 19.0, PROTOCOL), "T4c")
