"""Stimuli and responses with known peaks, and what is drawn of them by an independent count."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from stimopt import plotting
from stimopt.lattice import HexLattice

LATTICE = HexLattice(8)


def example(
    n_frames: int = 40, peak: int = 30, lattice: HexLattice = LATTICE
) -> tuple[np.ndarray, np.ndarray]:
    """Random stimulus and response whose central trace has one known largest value, 1.5."""
    rng = np.random.default_rng(n_frames + peak)
    stimulus = rng.random((n_frames, lattice.n_columns))
    response = rng.normal(size=(n_frames, lattice.n_columns))
    response[:, lattice.center] = -np.abs(np.arange(n_frames) - peak) / n_frames + 1.5
    return stimulus, response


def column(lattice: HexLattice, u: int, v: int) -> int:
    """Index of a column, by looking through all of them."""
    places = zip(lattice.u.tolist(), lattice.v.tolist(), strict=True)
    return list(places).index((u, v))


def inner_columns(lattice: HexLattice, rings: int) -> list[int]:
    """Columns within some rings of the centre, by their distance in picture coordinates.

    The hexagon of some rings has an apothem of 3/2 times their number, along the normals of its
    sides (the x axis and +-60 degrees).
    """
    x, y = lattice.picture_coordinates()
    normals = np.deg2rad([0, 60, 120])
    reach = np.abs(np.outer(x, np.cos(normals)) + np.outer(y, np.sin(normals))).max(axis=1)
    return [i for i in range(lattice.n_columns) if reach[i] <= 1.5 * rings + 1e-9]


def corners(hexagons: PolyCollection) -> np.ndarray:
    """Corners of hexagons in picture coordinates, `(hexagons, 6, 2)`."""
    (hexagon,) = hexagons.get_paths()
    return np.asarray(hexagons.get_offsets())[:, None] + hexagon.vertices[:6]


def strips(extent: int, n_frames: int, peak: int, dt: float = 0.01, **options: Any) -> Figure:
    """The figure of an example on a lattice of some extent."""
    lattice = HexLattice(extent)
    stimulus, response = example(n_frames, peak, lattice)
    fig = plotting.plot_stim_response(stimulus, response, lattice, dt, **options).fig
    assert isinstance(fig, Figure)
    return fig
