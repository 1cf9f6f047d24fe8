"""One frame: the columns drawn, their places, and their colours on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from stimopt.lattice import HexLattice
from stimopt.plotting import figure_image, hex_frame
from tests.plotting.cases import LATTICE, column, corners, inner_columns

GREYS: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": "gray"}


@pytest.mark.parametrize(
    ("extent", "max_extent", "count"),
    [(8, 6, 127), (8, None, 217), (2, 6, 19), (0, 6, 1), (8, 0, 1)],
)
def test_one_hexagon_per_column_within_the_rings(
    extent: int, max_extent: int | None, count: int
) -> None:
    lattice = HexLattice(extent)
    ax = Figure().add_subplot()
    values = np.arange(lattice.n_columns)
    hexagons = hex_frame(ax, lattice, values, **GREYS, max_extent=max_extent)
    assert len(hexagons.get_offsets()) == count
    assert ax.get_aspect() == 1.0 and not ax.axison
    rings = extent if max_extent is None else max_extent
    np.testing.assert_array_equal(hexagons.get_array(), inner_columns(lattice, rings))
    # All corners lie within the limits of the axes.
    all_corners = corners(hexagons).reshape(-1, 2)
    for (low, high), axis in zip((ax.get_xlim(), ax.get_ylim()), all_corners.T, strict=True):
        assert low <= axis.min() and axis.max() <= high


def test_hexagons_tile_the_plane_about_the_centre() -> None:
    values = torch.arange(LATTICE.n_columns)
    hexagons = hex_frame(Figure().add_subplot(), LATTICE, values, **GREYS)
    drawn = corners(hexagons)
    centers = drawn.mean(axis=1)
    np.testing.assert_allclose(centers[63], [0, 0], atol=1e-12)
    # Area of a regular hexagon of circumradius 1, by the shoelace formula.
    x, y = drawn[..., 0], drawn[..., 1]
    area = 0.5 * np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(axis=1))
    np.testing.assert_allclose(area, 1.5 * np.sqrt(3))
    # Neighbouring hexagons share a side: the six nearest centres are two apothems away.
    distance = np.linalg.norm(centers - centers[63], axis=1)
    np.testing.assert_allclose(np.sort(distance)[1:7], np.sqrt(3))


def test_upward_on_the_lattice_is_upward_in_the_picture() -> None:
    values = np.zeros(LATTICE.n_columns)
    values[column(LATTICE, -3, 0)] = 1.0  # y = -sqrt(3) u: straight up
    fig = Figure(figsize=(3, 3), dpi=100)
    hex_frame(fig.add_axes((0, 0, 1, 1)), LATTICE, values, **GREYS)
    # White pixels within the lattice stand above the middle, and neither left nor right of it.
    rows, columns = np.nonzero(figure_image(fig)[60:240, 110:190, 0] > 250)
    assert len(rows) > 20
    assert np.mean(rows) + 60 < 110
    assert abs(np.mean(columns) + 110 - 150) < 2


def test_a_missing_cell_is_blank_and_a_cell_at_zero_is_not() -> None:
    missing = (LATTICE.u % 2 != 0) | (LATTICE.v % 2 != 0)
    values = np.where(missing, np.nan, 0.0)
    fig = Figure(figsize=(2, 2), dpi=100)
    ax = fig.add_axes((0, 0, 1, 1))
    hex_frame(ax, LATTICE, values, vmin=-1, vmax=1, cmap="coolwarm", max_extent=2)
    pixels = figure_image(fig)
    x, y = ax.transData.transform([(0, 0), (0, np.sqrt(3))]).round().astype(int).T
    assert (pixels[200 - y[1], x[1]] == 255).all()
    assert (pixels[200 - y[0], x[0]] < 230).all()


@pytest.mark.parametrize("extent", [0, 1, 6])
def test_a_white_frame_is_outlined(extent: int) -> None:
    lattice = HexLattice(extent)
    fig = Figure(figsize=(2, 2), dpi=100)
    ax = fig.add_axes((0, 0, 1, 1))
    hexagons = hex_frame(ax, lattice, np.ones(lattice.n_columns), **GREYS)
    ink = np.argwhere(figure_image(fig)[::-1, :, 0] < 255)[:, ::-1] + 0.5
    (outline,) = (each for each in ax.collections if each is not hexagons)
    (path,) = outline.get_paths()
    # A hexagon of n rings has 12 n + 6 corners on its border, a side apart.
    assert len(path.vertices) == 12 * extent + 7  # the first closes it
    np.testing.assert_allclose(np.linalg.norm(np.diff(path.vertices, axis=0), axis=1), 1, atol=1e-5)
    # All ink lies along the border, and some at each corner.
    all_corners = ax.transData.transform(corners(hexagons).reshape(-1, 2))
    border = ax.transData.transform(path.vertices)
    sides = np.concatenate(
        [border[:-1] + t * np.diff(border, axis=0) for t in np.linspace(0, 1, 30)]
    )
    assert _nearest(ink, sides).max() < 4 and _nearest(border, ink).max() < 2
    np.testing.assert_allclose(np.ptp(all_corners, axis=0), np.ptp(border, axis=0), atol=1e-3)


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - others, axis=2).min(axis=1)


@pytest.mark.parametrize(
    ("values", "change", "message"),
    [
        (np.zeros(216), {}, r"\(217\).*\(216,\)"),
        (np.zeros((2, 217)), {}, r"\(217\).*\(2, 217\)"),
        (np.zeros(217), {"vmin": 1}, "vmin < vmax"),
        (np.zeros(217), {"max_extent": -1}, "max_extent.* >= 0"),
    ],
)
def test_rejects_frames_that_do_not_fit(
    values: np.ndarray, change: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        hex_frame(Figure().add_subplot(), LATTICE, values, **{**GREYS, **change})
