"""The lattice: its order, its picture coordinates, its rotations and mirrorings."""

from __future__ import annotations

import numpy as np
import pytest

from stimopt.lattice import NEIGHBOURS, HexLattice

EXTENTS = [0, 1, 2, 5, 15]


def plane_rotation(degrees: float) -> np.ndarray:
    """The textbook matrix of a counter-clockwise rotation."""
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


def plane_reflection(degrees: float) -> np.ndarray:
    """The textbook matrix of the reflection across a line through the origin."""
    a = 2 * np.deg2rad(degrees)
    return np.array([[np.cos(a), np.sin(a)], [np.sin(a), -np.cos(a)]])


def bump(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth picture without any symmetry."""
    return np.exp(-((x - 3.0) ** 2 + (y - 1.0) ** 2) / 20) + 0.3 * np.sin(0.7 * x + 0.2 * y)


@pytest.mark.parametrize("extent", EXTENTS)
def test_columns_are_listed_by_u_then_v(extent: int) -> None:
    lattice = HexLattice(extent)
    expected = [
        (u, v)
        for u in range(-extent, extent + 1)
        for v in range(-extent, extent + 1)
        if abs(u + v) <= extent
    ]
    assert list(zip(lattice.u.tolist(), lattice.v.tolist(), strict=True)) == expected
    assert lattice.n_columns == len(expected)
    assert (lattice.u[lattice.center], lattice.v[lattice.center]) == (0, 0)


@pytest.mark.parametrize("extent", EXTENTS)
def test_a_ring_is_a_hexagon_around_the_centre(extent: int) -> None:
    lattice = HexLattice(extent)
    distance = np.hypot(*lattice.positions().T)
    for k in range(extent + 1):
        of_ring = lattice.ring == k
        assert np.count_nonzero(of_ring) == (6 * k if k else 1)
        # Corners are k columns away, the middles of the edges sqrt(3) / 2 of that or a bit more.
        assert distance[of_ring].max() == pytest.approx(k)
        assert distance[of_ring].min() >= np.sqrt(3) / 2 * k - 1e-9


def test_neighbours_are_one_column_away_clockwise_from_the_top() -> None:
    lattice = HexLattice(1)
    u, v = np.array(NEIGHBOURS).T
    x, y = lattice.positions()[lattice.index(u, v)].T
    np.testing.assert_allclose(np.hypot(x, y), 1)
    np.testing.assert_allclose(np.rad2deg(np.arctan2(x, y)) % 360, 60 * np.arange(6), atol=1e-9)


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("k", range(-7, 13))
def test_rotation_turns_pictures_counter_clockwise(extent: int, k: int) -> None:
    lattice = HexLattice(extent)
    x, y = lattice.picture_coordinates()
    back = plane_rotation(-60 * k) @ np.stack([x, y])
    rotated = bump(x, y)[lattice.rotation(k)]
    np.testing.assert_allclose(rotated, bump(*back), atol=1e-12)


def test_one_rotation_moves_a_spot_on_the_right_upward() -> None:
    lattice = HexLattice(15)
    x, y = lattice.picture_coordinates()
    picture = np.zeros(lattice.n_columns)
    picture[lattice.index(-1, 2)] = 1.0  # straight to the right of the centre
    before = np.flatnonzero(picture)[0]
    after = np.flatnonzero(picture[lattice.rotation(1)])[0]
    assert np.rad2deg(np.arctan2(y[before], x[before])) == pytest.approx(0)
    assert np.rad2deg(np.arctan2(y[after], x[after])) == pytest.approx(60)


@pytest.mark.parametrize(("axis", "line"), [(1, 90), (2, 150), (3, 30)])
@pytest.mark.parametrize("extent", EXTENTS)
def test_mirroring_reflects_pictures_across_its_line(extent: int, axis: int, line: int) -> None:
    lattice = HexLattice(extent)
    x, y = lattice.picture_coordinates()
    mirrored = bump(x, y)[lattice.mirroring(axis)]
    np.testing.assert_allclose(
        mirrored, bump(*(plane_reflection(line) @ np.stack([x, y]))), atol=1e-12
    )


@pytest.mark.parametrize("extent", EXTENTS)
def test_rotations_and_mirrorings_form_the_symmetry_group_of_the_hexagon(extent: int) -> None:
    lattice = HexLattice(extent)
    identity = np.arange(lattice.n_columns)
    picture = np.random.default_rng(0).random(lattice.n_columns)
    r, m = lattice.rotation(1), lattice.mirroring(1)
    turned = picture
    for k in range(6):
        np.testing.assert_array_equal(turned, picture[lattice.rotation(k)])
        turned = turned[r]
    np.testing.assert_array_equal(turned, picture)
    np.testing.assert_array_equal(lattice.mirroring(0), identity)
    np.testing.assert_array_equal(lattice.rotation(0), identity)
    for axis in range(4):
        mirror = lattice.mirroring(axis)
        np.testing.assert_array_equal(np.sort(mirror), identity)
        np.testing.assert_array_equal(mirror[mirror], identity)
    # To rotate, then to mirror is to mirror, then to rotate the other way.
    np.testing.assert_array_equal(picture[r][m], picture[m][lattice.rotation(-1)])
    np.testing.assert_array_equal(picture[m][lattice.rotation(2)], picture[lattice.mirroring(2)])
    np.testing.assert_array_equal(picture[m][lattice.rotation(4)], picture[lattice.mirroring(3)])
    if extent >= 2:
        group = {tuple(p[lattice.rotation(k)]) for p in (identity, m) for k in range(6)}
        assert len(group) == 12


@pytest.mark.parametrize("axis", [-1, 4, "left", None])
def test_an_unknown_mirroring_is_refused(axis: object) -> None:
    with pytest.raises(ValueError, match="expected mirroring axis as one of 0, 1, 2, 3"):
        HexLattice(2).mirroring(axis)  # type: ignore[arg-type]


def test_neighbours_are_all_pairs_at_the_smallest_distance() -> None:
    lattice = HexLattice(4)
    x, y = lattice.picture_coordinates()
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    near = np.argwhere(np.triu(np.isclose(distance, np.sqrt(3.0))))
    pairs = np.sort(lattice.neighbour_pairs(), axis=1)
    assert {tuple(p) for p in pairs.tolist()} == {tuple(p) for p in near.tolist()}
    assert len(pairs) == len(near)


def test_positions_are_in_columns() -> None:
    lattice = HexLattice(3)
    places = lattice.positions()
    np.testing.assert_array_equal(places[lattice.center], 0)
    pairs = lattice.neighbour_pairs()
    steps = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    np.testing.assert_allclose(steps, 1.0)
    # One column up in the picture is one step of -u.
    np.testing.assert_allclose(places[lattice.index(-1, 0)], [0, 1], atol=1e-15)


def test_index_is_minus_one_off_the_lattice() -> None:
    lattice = HexLattice(2)
    assert lattice.index(0, 3) == -1
    assert lattice.index(2, 1) == -1
    np.testing.assert_array_equal(lattice.index(lattice.u, lattice.v), np.arange(19))


@pytest.mark.parametrize("extent", [-1, 1.5, True, "15", 201])
def test_an_impossible_extent_is_refused(extent: object) -> None:
    with pytest.raises(ValueError, match=r"expected extent .* within 0 to 200"):
        HexLattice(extent)  # type: ignore[arg-type]
