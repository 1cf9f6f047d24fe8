"""Moving edges, and tuning to them of the circuit, a known detector and a trained network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stimopt.analysis import (
    EdgeTuning,
    angle_between,
    direction_tuning,
    edge_tuning,
    grey_voltage,
    moving_edge,
    responses_to,
)
from stimopt.lattice import HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.opening import builtin_network
from stimopt.protocol import Protocol
from tests.analysis.cases import DETECTORS, PREFERRED, PROTOCOL, RECORDED, peak
from tests.search.cases import two_networks


@pytest.mark.parametrize("angle", [0.0, 47.0, 90.0, 210.0])
@pytest.mark.parametrize("polarity", [1, -1])
def test_edge_reaches_each_column_when_it_should(angle: float, polarity: int) -> None:
    lattice, speed, dt = HexLattice(4), 7.0, 0.005
    edge = moving_edge(lattice, angle, polarity, speed, Protocol(dt=dt))
    assert (edge[0] == 0.5).all()
    assert (edge[-1] == (1.0 if polarity > 0 else 0.0)).all()
    switched = (edge != 0.5).argmax(axis=0)
    # It starts outside, a column further from the centre than any column lies.
    assert switched[lattice.center] == round(5 / speed / dt)
    x, y = lattice.picture_coordinates()
    along = (x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))) / np.sqrt(3)
    late = (switched - switched[lattice.center]) * dt - along / speed
    # A frame too late at most, never early.
    assert late.min() > -1e-9
    assert late.max() < dt


def test_edges_turn_and_mirror_with_the_lattice() -> None:
    lattice = HexLattice(4)
    edge = moving_edge(lattice, 20.0, 1, 13.0, PROTOCOL)
    for k in range(6):
        turned = moving_edge(lattice, 20.0 + 60 * k, 1, 13.0, PROTOCOL)
        np.testing.assert_array_equal(edge[:, lattice.rotation(k)], turned)
    mirrored = moving_edge(lattice, 160.0, 1, 13.0, PROTOCOL)
    np.testing.assert_array_equal(edge[:, lattice.mirroring(1)], mirrored)


@pytest.mark.parametrize(
    ("angle", "polarity", "speed"), [(0, 0, 19), (0, 2, 19), (0, 1, 0), (np.nan, 1, 19)]
)
def test_rejects_impossible_edges(angle: float, polarity: int, speed: float) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, got .*; "):
        moving_edge(HexLattice(2), angle, polarity, speed, PROTOCOL)


def test_edge_indices_by_hand() -> None:
    angles = np.array([0.0, 90.0, 180.0, 270.0])
    responses = np.zeros((1, 2, 2, 2, 4))
    responses[0, 0, 0] = [[1, 3, 1, -1], [0, 2, 0, 1]]  # ON, slow and fast
    responses[0, 0, 1] = [[0, 0, 1, 0], [0, 0, 0, 0]]
    responses[0, 1] = -1.0
    tuning = EdgeTuning(("A", "B"), ("n",), angles, np.array([5.0, 20.0]), responses)
    assert tuning.polarity[0, 0] == 1
    np.testing.assert_allclose(tuning.polarity_index, [[0.5, np.nan]])
    np.testing.assert_allclose(tuning.preferred_direction_deg, [[90, np.nan]])
    np.testing.assert_allclose(tuning.direction_selectivity, [[4 / 8, np.nan]])
    assert [part[0, 0] for part in tuning.best_edge] == [1, 5.0, 90.0]
    assert tuning.best_response[0, 0] == 3


@pytest.mark.parametrize("cell", DETECTORS)
def test_the_circuit_is_tuned_to_edges(edges: EdgeTuning, cell: str) -> None:
    at = (0, DETECTORS.index(cell))
    assert angle_between(edges.preferred_direction_deg[at], PREFERRED[cell[2]]) < 10
    assert edges.direction_selectivity[at] > 0.4
    assert edges.polarity[at] == (1 if cell.startswith("T4") else -1)
    assert edges.polarity[at] * edges.polarity_index[at] > 2 / 3


def test_responses_to_edges_are_those_of_single_edges(
    circuit: FrozenNetwork, edges: EdgeTuning
) -> None:
    for cell, polarity, speed, angle in (("T4c", 0, 1, 3), ("T5a", 1, 0, 7), ("T5d", 0, 1, 10)):
        edge = moving_edge(
            circuit.lattice, 30.0 * angle, (1, -1)[polarity], (13.0, 19.0)[speed], PROTOCOL
        )
        together = edges.responses[0, DETECTORS.index(cell), polarity, speed, angle]
        # Items side by side may sum in another order: float32.
        assert together == pytest.approx(peak(circuit, edge, cell), abs=1e-5)


class Reichardt(nn.Module):
    """One multiplying detector of upward motion at about 17 columns a second."""

    def __init__(self, lattice: HexLattice, delay: int = 6) -> None:
        super().__init__()
        self.near, self.far = lattice.center, int(lattice.index(-1, 0))
        self.delay = delay

    def forward(self, luminance: Tensor) -> Tensor:
        change = torch.diff(luminance, dim=1, prepend=luminance[:, :1]).clamp(min=0)
        earlier = nn.functional.pad(change, (0, 0, self.delay, 0))[:, : change.shape[1]]
        # Each rise lasts 20 ms, because an edge rarely arrives in the very frame.
        lasting = sum(
            nn.functional.pad(earlier, (0, 0, i, 0))[:, : change.shape[1]] for i in range(3)
        )
        return (lasting[..., self.near] * change[..., self.far])[..., None]


def test_tuning_of_a_motion_detector() -> None:
    lattice = HexLattice(3)
    # Not checked: the noise of the check seldom rises at both columns in turn.
    network = ModuleNetwork(Reichardt(lattice), {"detector": 0}, 3, check=False)
    tuning = edge_tuning(network, "detector", PROTOCOL, speeds=(15.0,))
    assert angle_between(tuning.preferred_direction_deg[0, 0], 90) < 1e-6
    assert tuning.polarity[0, 0] == 1
    assert tuning.polarity_index[0, 0] == 1
    # c(t - delay) c(t) of two rises from 0.5 to 1.
    assert tuning.best_response[0, 0] == pytest.approx(0.25)


def test_each_network_has_its_own_tuning() -> None:
    both = two_networks(extent=3)
    together = edge_tuning(both, "T4c", speeds=(19.0,), angles=4)
    assert together.responses.shape == (2, 1, 2, 1, 4)
    assert together.network_names == ("first", "other")
    plain = edge_tuning(builtin_network(extent=3), "T4c", speeds=(19.0,), angles=4)
    np.testing.assert_allclose(together.responses[0], plain.responses[0], atol=1e-5)
    assert np.abs(together.responses[1] - together.responses[0]).max() > 0.01
    only = edge_tuning(both, "T4c", speeds=(19.0,), angles=4, networks=[1])
    np.testing.assert_array_equal(only.responses[0], together.responses[1])


def test_responses_are_those_of_each_network_to_each_stimulus() -> None:
    both = two_networks(extent=2)
    stimuli = np.random.default_rng(0).random((3, 8, both.lattice.n_columns), np.float32)
    responses = responses_to(both, stimuli, "T4c,Mi1")
    assert responses.shape == (2, 2, 3, 8)
    for network, (t, name), i in ((0, (1, "Mi1"), 2), (1, (0, "T4c"), 0)):
        shown = torch.as_tensor(stimuli[i : i + 1])
        cell, position = torch.tensor([both.cell_index(name)]), torch.tensor([network])
        own = both.respond(shown, Protocol(baseline="grey"), cell, position)[0, :, 0]
        np.testing.assert_allclose(responses[network, t, i], own, atol=1e-5)
    with pytest.raises(ValueError, match=r"^expected stimuli \(stimuli, frames, 19\)"):
        responses_to(both, np.zeros((3, 19)))


def test_rejects_unknown_names_and_empty_choices(circuit: FrozenNetwork) -> None:
    for message, arguments in (
        ("T4c", {"cell_types": "T4x"}),
        ("at least one", {"cell_types": "T4c", "speeds": ()}),
        ("number of directions", {"cell_types": "T4c", "angles": 0}),
        ("at least one", {"cell_types": "T4c", "networks": []}),
    ):
        with pytest.raises(ValueError, match=message):
            edge_tuning(circuit, **arguments)


def test_trained_network_has_its_recorded_tuning(real_network: FrozenNetwork) -> None:
    tuning = edge_tuning(real_network, DETECTORS, PROTOCOL, speeds=(19.0,))
    for i, (cell, (direction, *peaks)) in enumerate(RECORDED.items()):
        own = 0 if cell.startswith("T4") else 1
        measured, _ = direction_tuning(tuning.responses[0, i, own, 0], tuning.angles_deg)
        assert angle_between(measured, direction) < 6, cell
        # Recorded relative to zero, within 0.04 of which these cells rest at grey. The peak at the
        # weaker polarity depends on where the edge enters.
        voltages = tuning.polarity_peaks[0, i] + grey_voltage(real_network, cell, PROTOCOL)
        assert voltages[own] == pytest.approx(peaks[own], abs=0.04), cell
        assert voltages[1 - own] == pytest.approx(peaks[1 - own], abs=0.13), cell
