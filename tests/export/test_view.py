"""Columns drawn as pixels and seen again, against slow references."""

from __future__ import annotations

import numpy as np
import pytest

from stimopt.export.directions import Eye
from stimopt.export.displays import Arena, Display, FlatScreen, Sphere
from stimopt.export.light import Light
from stimopt.export.view import Rig
from stimopt.lattice import HexLattice

LATTICE = HexLattice(4)
SMALL = Sphere(width_deg=80, width_px=40, height_px=36)
FINE = Light(65536)
DISPLAYS = [SMALL, FlatScreen(width_px=60, height_px=50), Arena("G6 2x4of10")]


def rig(display: Display = SMALL, **options) -> Rig:
    return Rig(display, **{"light": FINE, "outside": "grey", **options})


def random_luminance(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((n, LATTICE.n_columns), np.float32)


def pairwise_angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees, by the chord, which is exact where the cosine is not."""
    chord = np.linalg.norm(one[:, None] - other[None], axis=-1)
    return np.degrees(2 * np.arcsin(chord / 2))


@pytest.mark.parametrize("display", DISPLAYS, ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_pixel_shows_the_nearest_column(display: Display, side) -> None:
    view = rig(display, eye=Eye(side=side, azimuth=3.14, elevation=-4.56)).view(LATTICE)
    angles = pairwise_angles(display.directions().reshape(-1, 3), view.directions)
    luminance = random_luminance()
    expected = luminance[:, angles.argmin(axis=1)]
    expected[:, angles.min(axis=1) > view.spacing] = 0.5
    np.testing.assert_array_equal(view.levels(luminance).reshape(3, -1), FINE.encode(expected))
    assert view.spacing == pytest.approx(5.8, abs=0.05)


@pytest.mark.parametrize("display", DISPLAYS, ids=str)
def test_a_gaussian_draws_the_weighted_mean(display: Display) -> None:
    view = rig(display, width=6.5).view(LATTICE)
    angles = pairwise_angles(display.directions().reshape(-1, 3), view.directions)
    weights = np.exp(-4 * np.log(2) * (angles / 6.5) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    luminance = random_luminance()
    expected = luminance @ weights.T
    expected[:, angles.min(axis=1) > view.spacing] = 0.5
    drawn = FINE.decode(view.levels(luminance)).reshape(3, -1)
    np.testing.assert_allclose(drawn, expected, atol=2e-3)  # the Gaussian is cut at two widths


def test_a_narrow_gaussian_is_the_nearest_column() -> None:
    luminance = random_luminance()
    narrow = rig(width=0.01).view(LATTICE).levels(luminance)
    np.testing.assert_array_equal(narrow, rig().view(LATTICE).levels(luminance))


@pytest.mark.parametrize("display", DISPLAYS, ids=str)
@pytest.mark.parametrize("outside", ["dark", "grey"])
def test_a_column_sees_pixels_by_solid_angle_and_acceptance(display: Display, outside) -> None:
    """sum(luminance S w) / sum(S w), where the sum of weights includes what is no display."""
    view = rig(display, outside=outside, eye=Eye(acceptance=7.0)).view(LATTICE)
    pixels = np.random.default_rng(1).integers(0, 65535, (2, *display.shape), np.uint16)
    angles = pairwise_angles(view.directions, display.directions().reshape(-1, 3))
    weights = np.exp(-4 * np.log(2) * (angles / 7.0) ** 2) * display.solid_angles().ravel()
    # The whole of a narrow Gaussian on the sphere: 2 pi sigma^2.
    whole = 2 * np.pi * (np.radians(7.0) / np.sqrt(8 * np.log(2))) ** 2
    covered = weights.sum(axis=1) / whole
    light = FINE.decode(pixels).reshape(2, -1) @ weights.T / whole
    expected = light + (0.5 if outside == "grey" else 0.0) * (1 - covered)
    np.testing.assert_allclose(view.see(pixels), expected, atol=5e-3)


def test_grey_is_seen_as_grey_and_the_rest_as_dark() -> None:
    arena = Arena("G4.1 2x12")
    grey = np.full((1, 721), 0.5, np.float32)
    for outside, seen in (("grey", 0.5), ("dark", 0.0)):
        view = Rig(arena, light=Light(16), outside=outside).view(HexLattice(15))
        values = view.see(view.levels(grey))[0]
        far = np.abs(view.directions[:, 2]) > np.sin(np.radians(40))
        np.testing.assert_allclose(values[far], seen, atol=1e-4)
        near = np.abs(view.directions[:, 2]) < np.sin(np.radians(16))
        np.testing.assert_allclose(values[near], 0.5, atol=1e-3)


def test_fine_pixels_are_averaged_in_blocks_before_they_are_seen() -> None:
    fine, coarse = Sphere(60, 240, 200), Sphere(60, 60, 50)
    eye = Eye(acceptance=6.0)
    pixels = np.random.default_rng(2).integers(0, 65535, (1, 50, 60), np.uint16)
    enlarged = pixels.repeat(4, axis=1).repeat(4, axis=2)
    seen = [
        rig(display, eye=eye).view(LATTICE).see(frames)
        for display, frames in ((fine, enlarged), (coarse, pixels))
    ]
    np.testing.assert_allclose(*seen, atol=3e-3)


@pytest.mark.parametrize("width", [0.0, 5.8])
def test_the_matrix_is_drawing_and_seeing(width: float) -> None:
    view = rig(Arena("G6 2x4of10"), width=width, outside="dark").view(LATTICE)
    luminance = random_luminance(1)
    weights, rest = view.matrix
    expected = view.see(view.levels(luminance))
    np.testing.assert_allclose(luminance @ weights.T + rest, expected, atol=1e-4)


def test_columns_without_a_direction_are_neither_drawn_nor_see(tmp_path) -> None:
    table = tmp_path / "eye.csv"
    table.write_text("u,v,azimuth_deg,elevation_deg\n0,0,0,0\n0,1,6,3\n")
    view = rig(eye=Eye(table=str(table))).view(LATTICE)
    assert int(view.shown.sum()) == 2
    seen = view.see(view.levels(np.ones((1, LATTICE.n_columns), np.float32)))[0]
    assert seen[~view.shown].tolist() == [0.5] * (LATTICE.n_columns - 2)
    assert seen[view.shown].min() > 0.9


def test_a_display_too_small_says_how_many_columns_fall_outside() -> None:
    with pytest.raises(ValueError, match="got Arena before 295: 426 fall outside"):
        Rig(Arena("G4.1 2x12")).view(HexLattice(15))


def test_the_column_read_out_must_be_on_the_display() -> None:
    place = "the column read out on the display, got u=0, v=0 at azimuth 0 and elevation 60 degrees"
    with pytest.raises(ValueError, match=place):
        rig(Arena("G4.1 2x12"), eye=Eye(azimuth=0, elevation=60)).view(LATTICE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": -1}, "width"),
        ({"outside": "white"}, "outside"),
        ({"eye": Eye(acceptance=2.0)}, "an acceptance angle of at least 1.5 pixels"),
    ],
)
def test_bad_options_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        view = rig(**options).view(LATTICE)
        view.see(view.levels(random_luminance()))
