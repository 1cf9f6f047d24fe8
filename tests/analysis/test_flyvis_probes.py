"""Flashes and edges of flyvis: their frames, and their pictures against recorded ones."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from stimopt.analysis import flyvis_probes as probes
from stimopt.lattice import HexLattice


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
        for speed in probes.SPEEDS:
            shown = file[f"stimuli/edge_position/{speed:g}"][:]
            np.testing.assert_array_equal(probes.edge_positions(speed), shown)
    lattice = HexLattice(15)
    for a, angle in enumerate(probes.ANGLES_DEG):
        for i, intensity in enumerate(probes.INTENSITIES):
            off = np.abs(probes.edge_pictures(lattice, angle, intensity) - recorded[a, i])
            # flyvis computes in float16, so that a few pixels at a hexagon's rim differ.
            assert off.max() < 0.01 and off.mean() < 1e-4
