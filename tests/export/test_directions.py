"""Where the columns of an eye look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stimopt.export.directions import Eye, angles, rotation, unit_vectors
from stimopt.lattice import HexLattice

LATTICE = HexLattice(15)


def degrees_of(eye: Eye, u: int, v: int, read: tuple[int, int] = (0, 0)) -> tuple[float, float]:
    azimuth, elevation = angles(eye.directions(LATTICE, *read))
    column = int(LATTICE.index(u, v))
    return pytest.approx((azimuth[column], elevation[column]), abs=1e-9)


def test_x_is_right_y_ahead_and_z_up() -> None:
    vectors = unit_vectors([0, 90, 0], [0, 0, 90])
    np.testing.assert_allclose(vectors, [[0, 1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


def test_two_readings_of_the_lattice() -> None:
    """As films reach flyvis's network, and as its picture coordinates say."""
    assert degrees_of(Eye(), -3, 4) == (5.8 * 4, -5.8 * (-3 + 2))
    isotropic = Eye(reading="isotropic")
    x, y = LATTICE.picture_coordinates()
    column = int(LATTICE.index(-3, 4))
    scale = 5.8 / np.sqrt(3)
    assert (scale * x[column], scale * y[column]) == degrees_of(isotropic, -3, 4)


def test_the_right_eye_sees_the_picture_mirrored() -> None:
    assert degrees_of(Eye(side="right"), 0, 4) == (-5.8 * 4, -5.8 * 2)


def test_the_column_read_out_is_put_where_it_is_wanted() -> None:
    eye = Eye(azimuth=70, elevation=-25)
    assert degrees_of(eye, 3, -2, read=(3, -2)) == (70, -25)
    assert degrees_of(Eye(), -1, 0, read=(3, -2)) == (0, 5.8)  # without a place, it stays


def test_placing_keeps_the_angles_between_columns() -> None:
    left = Eye().directions(LATTICE)
    placed = Eye(azimuth=120, elevation=40, roll=33).directions(LATTICE)
    np.testing.assert_allclose(placed @ placed.T, left @ left.T, atol=1e-12)


def test_a_roll_is_clockwise_as_seen_by_the_fly() -> None:
    up = unit_vectors(0, 10)
    azimuth, elevation = angles(up @ rotation(0, 0, 90).T)
    assert (float(azimuth), float(elevation)) == pytest.approx((10, 0), abs=1e-9)


def write(path: Path, *rows: str) -> str:
    path.write_text("u, v, azimuth_deg, elevation_deg, acceptance_deg\n" + "\n".join(rows))
    return str(path)


def test_a_table_of_directions(tmp_path: Path) -> None:
    table = write(tmp_path / "eye.csv", "0, 0, 10, 20, 8", "0, 1, 15, 19,", "99, 0, 1, 1, 1")
    eye = Eye(table=table, acceptance=6)
    assert degrees_of(eye, 0, 0) == (10, 20)
    directions, widths = eye.directions(LATTICE), eye.acceptances(LATTICE)
    assert int(np.isfinite(directions[:, 0]).sum()) == 2
    centre, other = int(LATTICE.index(0, 0)), int(LATTICE.index(0, 1))
    assert (widths[centre], widths[other]) == (8, 6)
    assert degrees_of(Eye(table=table, azimuth=0, elevation=0), 0, 0) == (0, 0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0, 0, east, 20, 5"], "a table of directions"),
        (["0, 0, 1, 95, 5"], "an angle out of range"),
        (["0, 0, nan, 9, 5"], "an angle out of range"),
        (["0, 0, 1, 9, -5"], "an angle out of range"),
        (["0, 0, 1, 9, 5", "0, 0, 1, 9, 5"], "a column twice"),
        (["99, 0, 1, 9, 5"], "no column of the lattice"),
        ([], "no column of the lattice"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Eye(table=write(tmp_path / "eye.csv", *rows)).directions(LATTICE)


def test_a_table_must_list_the_column_read_out(tmp_path: Path) -> None:
    table = write(tmp_path / "eye.csv", "0, 1, 15, 19, 5")
    with pytest.raises(ValueError, match="the column read out"):
        Eye(table=table).directions(LATTICE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degrees": 0}, "degrees a column"),
        ({"acceptance": float("nan")}, "acceptance"),
        ({"reading": "square"}, "reading"),
        ({"side": "up"}, "side"),
        ({"azimuth": 181}, "azimuth"),
        ({"table": "eye.csv", "side": "right"}, "a table of one eye"),
    ],
)
def test_bad_options_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Eye(**options)


def test_an_eye_larger_than_the_sphere_is_refused() -> None:
    with pytest.raises(ValueError, match="an eye within the sphere"):
        Eye(degrees=20).directions(LATTICE)


def test_a_missing_table_is_refused() -> None:
    with pytest.raises(ValueError, match="got no file"):
        Eye(table="none.csv").directions(LATTICE)


def test_a_table_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Tables are edited between two exports of one Python session."""
    table = write(tmp_path / "eye.csv", "0, 0, 10, 20, 8")
    assert degrees_of(Eye(table=table), 0, 0) == (10, 20)
    write(tmp_path / "eye.csv", "0, 0, 11, 21, 8")
    assert degrees_of(Eye(table=table), 0, 0) == (11, 21)


def test_a_table_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    """Excel writes a byte order mark before the first name."""
    path = tmp_path / "eye.csv"
    path.write_bytes(b"\xef\xbb\xbfu,v,azimuth_deg,elevation_deg\r\n0,0,10,20\r\n")
    assert degrees_of(Eye(table=str(path)), 0, 0) == (10, 20)
