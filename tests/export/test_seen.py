"""What is left of a response, against simulations made here by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from stimopt.export.directions import Eye
from stimopt.export.displays import Arena, Sphere
from stimopt.export.formats import Film, Npz, Shown
from stimopt.export.g6 import G6
from stimopt.export.light import Light
from stimopt.export.seen import Seen, seen_back
from stimopt.export.session import Order, on_rig, write_session
from stimopt.export.stimuli import Stimulus
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.protocol import Protocol
from tests.export.cases import LATTICE

PROTOCOL = Protocol(t_pre=0.3)
FINE = Sphere(width_deg=60, width_px=60, height_px=60)


def edge(cell_type: str = "T4c", n_frames: int = 30) -> Stimulus:
    """A bright edge that moves upward."""
    _, y = LATTICE.picture_coordinates()
    bright = y[None] < -6 + 0.5 * np.arange(n_frames)[:, None]
    return Stimulus("edge", np.where(bright, 1, 0.3).astype(np.float32), LATTICE, cell_type)


def shown_on(rig: Rig, stimulus: Stimulus | None = None) -> Shown:
    return on_rig([stimulus or edge()], rig, Npz(), PROTOCOL, Order())[0]


def seen_on(network: FrozenNetwork, rig: Rig, stimulus: Stimulus | None = None) -> Seen:
    shown = shown_on(rig, stimulus)
    return seen_back(shown, shown.levels(), network, PROTOCOL)


def peak_above_grey(network: FrozenNetwork, luminance: np.ndarray, cell_type: str) -> float:
    """By the public interface: last voltage in grey, and the largest one after it."""
    grey = np.full((1, luminance.shape[1]), 0.5, np.float32)
    clip = torch.as_tensor(np.concatenate([grey, luminance]))[None]
    cell = torch.tensor([network.cell_index(cell_type)])
    trace = network.respond(clip, PROTOCOL, cell)[0, :, 0]
    return float(trace[1:].max() - trace[0])


def test_the_response_is_the_rise_above_grey(small_network: FrozenNetwork) -> None:
    seen = seen_on(small_network, Rig(FINE, outside="grey"))
    expected = peak_above_grey(small_network, edge().luminance, "T4c")
    assert seen.ideal == pytest.approx(expected, rel=1e-3)
    assert sum(seen.lost.values()) == pytest.approx(1 - seen.left)
    assert list(seen.lost) == [
        "hold in time", "columns outside", "pixels and acceptance angle", "levels",
    ]  # fmt: skip


def test_a_perfect_rig_loses_nothing(small_network: FrozenNetwork) -> None:
    """Pixels that see no neighbour: columns far apart, each with a narrow acceptance."""
    eye = Eye(degrees=15, acceptance=1.6)
    rig = Rig(Sphere(180, 180, 180), eye, Light(65536), outside="grey")
    seen = seen_on(small_network, rig)
    assert seen.left == pytest.approx(1, abs=0.01)


def test_the_more_columns_overlap_the_less_is_left(small_network: FrozenNetwork) -> None:
    left = [
        seen_on(small_network, Rig(FINE, Eye(acceptance=wide), outside="grey")).lost[
            "pixels and acceptance angle"
        ]
        for wide in (3, 6, 12)
    ]
    assert left == sorted(left) and left[2] > left[0] + 0.05


def test_a_hold_is_simulated_as_it_is_shown(small_network: FrozenNetwork) -> None:
    stimulus = edge()
    timing = Timing(50, "hold")
    seen = seen_on(small_network, Rig(FINE, timing=timing, outside="grey"))
    every_other = stimulus.luminance[::2].repeat(2, axis=0)
    expected = peak_above_grey(small_network, every_other, "T4c")
    assert seen.after["hold in time"] == pytest.approx(expected, rel=1e-3)
    assert seen.lost["hold in time"] == pytest.approx(1 - expected / seen.ideal, abs=1e-3)


@pytest.mark.parametrize("outside", ["dark", "grey"])
def test_columns_past_the_display_see_dark_or_grey(small_network: FrozenNetwork, outside) -> None:
    rig = Rig(Arena("G4.1 1x12"), Eye(degrees=9), Light(16), outside=outside)
    shown = shown_on(rig)
    assert not shown.view.shown.all()
    luminance = seen_back(shown, shown.levels(), small_network, PROTOCOL).luminance
    far = np.abs(shown.view.directions[:, 2]) > np.sin(np.radians(28))
    assert far.any()
    surround = 0.0 if outside == "dark" else 0.5
    np.testing.assert_allclose(luminance[:, far], surround, atol=1e-3)


def test_levels_and_a_gamma_are_causes_of_their_own(small_network: FrozenNetwork) -> None:
    coarse = seen_on(small_network, Rig(FINE, light=Light(16, gamma=2.2), outside="grey"))
    assert list(coarse.lost)[-2:] == ["levels", "gamma"]
    fine = seen_on(small_network, Rig(FINE, light=Light(65536, gamma=2.2), outside="grey"))
    assert max(abs(fine.lost["levels"]), abs(fine.lost["gamma"])) < 1e-3
    two = seen_on(small_network, Rig(FINE, light=Light(2, threshold=0.5), outside="grey"))
    assert abs(two.lost["levels"]) > 0.02


def test_a_suppressed_cell_is_measured_downward(small_network: FrozenNetwork) -> None:
    bright = np.full((20, LATTICE.n_columns), 1, np.float32)
    stimulus = Stimulus("bright", bright, LATTICE, "L1", sign=-1)
    seen = seen_on(small_network, Rig(FINE, outside="grey"), stimulus)
    assert seen.ideal < 0 and 0.5 < seen.left < 1.2


@pytest.mark.parametrize("made", [Film(), G6()])
def test_the_file_decides(small_network: FrozenNetwork, tmp_path, made) -> None:
    """The same from the file as from memory; another file is noticed in the response."""
    display = FINE if made.name == "film" else Arena("G6 3x10")
    rig = Rig(display, light=Light(made.levels[0]), outside="dark")
    shown = on_rig([edge()], rig, made, PROTOCOL, Order())
    (path,) = write_session(shown, made, tmp_path / "out", Order())
    levels = made.read(path, "edge")
    seen = seen_back(shown[0], levels, small_network, PROTOCOL)
    again = seen_back(shown[0], shown[0].levels(), small_network, PROTOCOL)
    assert seen.to_dict() == again.to_dict()
    dark = seen_back(shown[0], 0 * levels, small_network, PROTOCOL)
    assert abs(dark.left) < 0.2 < seen.left


def test_the_sentence(small_network: FrozenNetwork) -> None:
    rig = Rig(Arena("G4.1 1x12"), Eye(degrees=9), Light(16), outside="dark")
    text = str(seen_on(small_network, rig))
    assert "% of the response is left" in text
    assert text.endswith("columns lie outside the display and see 0")
    small = Seen("T4c", 4.2e-4, {"levels": 2.1e-4}, np.zeros((1, 1)), 0, 0.5, 1.0)
    assert "50 % of the response is left (0.00042 to 0.00021)" in str(small)


def test_what_does_not_fit_is_refused(small_network: FrozenNetwork) -> None:
    shown = shown_on(Rig(FINE, outside="grey"))
    with pytest.raises(ValueError, match="a network of extent 4"):
        seen_back(shown, shown.levels(), builtin_network(extent=3), PROTOCOL)
    with pytest.raises(ValueError, match="levels of edge"):
        seen_back(shown, shown.levels()[1:], small_network, PROTOCOL)
    grey = dataclasses.replace(edge(), luminance=np.full((5, LATTICE.n_columns), 0.5, np.float32))
    shown = shown_on(Rig(FINE, outside="grey"), grey)
    with pytest.raises(ValueError, match="a response to edge"):
        seen_back(shown, shown.levels(), small_network, Protocol(t_pre=3.0))
