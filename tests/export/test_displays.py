"""Geometry of displays: closed forms, and coordinates of the labs' own tools."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stimopt.export.directions import Eye, angles
from stimopt.export.displays import Arena, Display, FlatScreen, Sphere
from stimopt.lattice import HexLattice

DISPLAYS = [
    Arena("G4 3x12"),
    Arena("G6 2x8of10", front=70.0),
    Arena("G6 3x16", polygon=False),
    FlatScreen(azimuth=30, elevation=-20, roll=45, width_px=31, height_px=22),
    Sphere(),
    Sphere(width_deg=90, width_px=40, height_px=30, azimuth=-120, elevation=20),
]


@pytest.mark.parametrize("display", DISPLAYS, ids=str)
def test_a_pixel_lies_where_it_is_looked_for(display: Display) -> None:
    row, column = display.pixel_at(display.directions())
    rows, columns = display.shape
    np.testing.assert_allclose(row, np.broadcast_to(np.arange(rows)[:, None], row.shape), atol=1e-6)
    np.testing.assert_allclose(column, np.broadcast_to(np.arange(columns), row.shape), atol=1e-6)
    assert display.contains(display.directions()).all()
    assert display.directions().shape == (*display.shape, 3)


@pytest.mark.parametrize(
    ("name", "outermost", "top_edge"),
    [
        ("G4 3x12", 179.06, 38.79),
        ("G4 2x12", 179.06, 28.19),
        ("G4 4x12", 179.06, 46.98),
        ("G4 3x12of18", 119.38, 27.88),
        ("G4.1 2x12", 179.06, 28.19),
        ("G6 2x10", 179.10, 33.02),
        ("G6 3x10", 179.10, 44.27),
        ("G6 4x10", 179.10, 52.42),
        ("G6 3x12of18", 119.50, 27.88),
    ],
)
def test_arenas_are_where_the_lab_has_them(name: str, outermost: float, top_edge: float) -> None:
    smooth = angles(Arena(name, polygon=False).directions())[0]
    assert smooth.max() == pytest.approx(outermost, abs=0.01) == -smooth.min()
    arena = Arena(name)
    half = arena.shape[1] / arena.panels[1] / 2
    middle_of_a_panel = np.array(half - 0.5)
    _, elevation = angles(arena.direction_at(np.array(-0.5), middle_of_a_panel))
    assert float(elevation) == pytest.approx(top_edge, abs=0.01)


def test_a_smooth_cylinder_has_equal_angles_around_and_equal_heights_up() -> None:
    arena = Arena("G6 2x10", polygon=False)
    azimuth, elevation = angles(arena.directions())
    d = 1.8
    np.testing.assert_allclose(azimuth[0], (np.arange(200) + 0.5 - 100) * d, atol=1e-9)
    height = np.radians(d) * (np.arange(40)[::-1] - 19.5)
    np.testing.assert_allclose(elevation[:, 0], np.degrees(np.arctan(height)), atol=1e-9)
    # p^2 cos^3(elevation), to the order of the pixel's own curvature
    expected = np.radians(d) ** 2 * np.cos(np.radians(elevation)) ** 3
    np.testing.assert_allclose(arena.solid_angles(), expected, rtol=5e-4)


def test_the_front_of_a_course_rig() -> None:
    """The centre of panel column 3 in front: azimuth(c) = 1.8 (c + 1/2 - 50)."""
    azimuth, _ = angles(Arena("G6 2x10", polygon=False, front=50).directions())
    wrapped = (1.8 * (np.arange(200) + 0.5 - 50) + 180) % 360 - 180
    np.testing.assert_allclose(azimuth[0], wrapped, atol=1e-9)


def test_solid_angles_sum_to_closed_forms() -> None:
    w, h, d = 300, 200, 100
    screen = FlatScreen(d, w, h, 300, 200, azimuth=40, roll=10)
    closed = 4 * math.asin(w * h / math.sqrt((4 * d**2 + w**2) * (4 * d**2 + h**2)))
    assert screen.solid_angles().sum() == pytest.approx(closed, rel=1e-4)
    patch = Sphere(width_deg=100, width_px=100, height_px=60)
    zone = math.radians(100) * 2 * math.sin(math.radians(30))
    assert patch.solid_angles().sum() == pytest.approx(zone, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "n_columns"),
    [("G4.1 2x12", 295), ("G4 3x12", 419), ("G4 3x12of18", 295), ("G6 2x10", 357)],
)
def test_arenas_see_part_of_the_lattice(name: str, n_columns: int) -> None:
    directions = Eye().directions(HexLattice(15))
    assert int(Arena(name).contains(directions).sum()) == n_columns


def test_nothing_behind_the_fly_is_on_a_screen() -> None:
    behind = np.array([[0.0, -1.0, 0.0], [np.nan, np.nan, np.nan]])
    assert not FlatScreen().contains(behind).any()


def test_flips_undo_themselves() -> None:
    frames = np.arange(24).reshape(2, 3, 4)
    for flip, turned in (
        ("none", frames),
        ("left-right", frames[:, :, ::-1]),
        ("up-down", frames[:, ::-1]),
        ("rotate180", frames[:, ::-1, ::-1]),
    ):
        screen = FlatScreen(width_px=4, height_px=3, flip=flip)
        np.testing.assert_array_equal(screen.flipped(frames), turned)
        np.testing.assert_array_equal(screen.flipped(turned), frames)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arena("G5 2x10"), "an arena such as"),
        (lambda: Arena("G6 2x11of10"), "within a ring"),
        (lambda: Arena("G6 2x10", arena_id=7), "own arenas are 51 to 62"),
        (lambda: FlatScreen(distance_mm=0), "distance_mm"),
        (lambda: FlatScreen(width_px=100_000, height_px=1000), "pixels"),
        (lambda: FlatScreen(flip="both"), "flip"),
        (lambda: Arena("G4 3x12", front=193), "front .* <= 192 or None, got 193"),
        (lambda: Arena("G6 2x8of10", front=-201), "front >= -200"),
        (lambda: Sphere(width_deg=180, width_px=10, height_px=11), "at most 180 degrees"),
    ],
)
def test_what_is_no_display_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_own_arenas_have_ids_of_their_own() -> None:
    assert Arena("G6 1x5of9", arena_id=60).header_id == 60
    assert Arena("G6 1x5of9").header_id == 0
    assert Arena("G6 4x10").header_id == 6


@pytest.mark.parametrize(
    "display", [Arena("G4 3x12"), Arena("G6 2x10", polygon=False), Sphere(360, 180, 90)]
)
@pytest.mark.parametrize("azimuth", [-180.0, 180.0])
def test_a_closed_ring_has_pixels_right_behind_the_fly(display: Display, azimuth: float) -> None:
    assert display.contains(Eye(azimuth=azimuth, elevation=0.0).directions(HexLattice(0))).all()


@pytest.mark.parametrize("make", [FlatScreen, Sphere])
def test_a_place_that_is_none_is_refused(make) -> None:
    for options in ({"azimuth": math.nan}, {"elevation": 91.0}):
        with pytest.raises(ValueError, match=r"expected a finite (azimuth|elevation)"):
            make(**options)
