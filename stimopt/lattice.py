"""The hexagonal lattice of columns: axial and picture coordinates, rotations, mirrorings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stimopt import expect

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DEGREES_PER_COLUMN = 5.8
"""Angle between neighbouring columns, as flyvis takes it for its stimuli."""

FLYVIS_EXTENT = 15
"""Rings of the published network: 721 columns."""

MAX_EXTENT = 200
"""Rings; a larger lattice (200 rings are 120,601 columns) is a typing error rather than an eye."""

NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 0), (1, -1), (0, -1))
"""Axial steps (du, dv) to the six columns around one, clockwise in a picture from the top."""


@dataclass(frozen=True)
class HexLattice:
    """Columns with axial coordinates |u|, |v|, |u + v| <= extent, listed by u, then v.

    This order is flyvis's, so arrays over columns can be exchanged with it.

    Args:
        extent: number of rings around the central column, 0 to `MAX_EXTENT`.

    Raises:
        ValueError: if extent is out of range or not a whole number.
    """

    extent: int

    def __post_init__(self) -> None:
        advice = "15 gives the 721 columns of the published network, 0 a single one"
        expect.whole("extent (rings of columns)", self.extent, advice, at_most=MAX_EXTENT)

    @property
    def n_columns(self) -> int:
        """Number of columns, 1 + 3 extent (extent + 1)."""
        return 1 + 3 * self.extent * (self.extent + 1)

    @cached_property
    def _axial(self) -> tuple[Ints, Ints]:
        n = self.extent
        u, v = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1), indexing="ij")
        inside = np.abs(u + v) <= n
        return u[inside].astype(np.int64), v[inside].astype(np.int64)

    @property
    def u(self) -> Ints:
        """First axial coordinate of every column, `(columns,)`."""
        return self._axial[0]

    @property
    def v(self) -> Ints:
        """Second axial coordinate of every column, `(columns,)`."""
        return self._axial[1]

    @property
    def center(self) -> int:
        """Index of the central column (u = v = 0)."""
        return self.n_columns // 2

    @property
    def ring(self) -> Ints:
        """Steps from the central column to every column, 0 to `extent`, `(columns,)`."""
        return column_steps(self.u, self.v)

    @cached_property
    def _grid(self) -> Ints:
        """Column index on the square grid of (u, v), -1 outside the hexagon."""
        side = 2 * self.extent + 1
        grid = np.full((side, side), -1, dtype=np.int64)
        grid[self.u + self.extent, self.v + self.extent] = np.arange(self.n_columns)
        return grid

    def index(self, u: Ints | int, v: Ints | int) -> Ints:
        """Column index of axial coordinates, -1 where there is no column; shapes broadcast."""
        u, v = np.broadcast_arrays(np.asarray(u), np.asarray(v))
        n = self.extent
        inside = (np.abs(u) <= n) & (np.abs(v) <= n) & (np.abs(u + v) <= n)
        column = self._grid[np.where(inside, u + n, 0), np.where(inside, v + n, 0)]
        return np.where(inside, column, -1)

    def picture_coordinates(self) -> tuple[Floats, Floats]:
        """Centres in a picture, x to the right and y upward, `(columns,)` each.

        x = 3/2 v, y = -sqrt(3) (u + v / 2): hexagons of circumradius 1, flat side up,
        neighbouring centres sqrt(3) apart.
        """
        x, y = 1.5 * self.v, -np.sqrt(3.0) * (self.u + 0.5 * self.v)
        return x.astype(np.float64), y.astype(np.float64)

    def positions(self) -> Floats:
        """Centres relative to the middle in units of columns, `(columns, 2)`, x right and y up.

        Neighbouring columns are 1 apart.
        """
        centres: Floats = np.stack(self.picture_coordinates(), axis=1) / np.sqrt(3.0)
        return centres

    def rotation(self, k: int) -> Ints:
        """Permutation that rotates a picture counter-clockwise by k times 60 degrees.

        `luminance[..., lattice.rotation(k)]` is the rotated picture: one step moves the content of
        column (u, v) to (-v, u + v). Negative k rotates clockwise; k counts modulo 6.

        Returns:
            Column indices, `(columns,)`.
        """
        u, v = self.u, self.v
        for _ in range(k % 6):
            # Entry j of a permutation says where column j gets its value from, hence the inverse.
            u, v = u + v, -u
        return self.index(u, v)

    def mirroring(self, axis: int) -> Ints:
        """Permutation that mirrors a picture; the axes are numbered as in flyvis.

        Args:
            axis: 0 leaves the picture unchanged. 1 swaps left and right (mirror line upright);
                2 and 3 mirror across the lines at 150 and 30 degrees counter-clockwise from the
                x axis, and equal axis 1 followed by rotation(2) and rotation(4).

        Returns:
            Column indices, `(columns,)`: `luminance[..., lattice.mirroring(axis)]` is mirrored.

        Raises:
            ValueError: for an axis other than 0, 1, 2 or 3.
        """
        u, v = self.u, self.v
        expect.one_of("mirroring axis", axis, (0, 1, 2, 3), "1 swaps left and right")
        return self.index(*((u, v), (u + v, -v), (-u, u + v), (-v, -u))[axis])

    def neighbour_pairs(self) -> Ints:
        """Every pair of adjacent columns once, `(pairs, 2)`."""
        pairs = []
        for du, dv in ((1, 0), (0, 1), (1, -1)):
            other = self.index(self.u + du, self.v + dv)
            here = np.flatnonzero(other >= 0)
            pairs.append(np.stack([here, other[here]], axis=1))
        return np.concatenate(pairs)


def column_steps(u: Ints, v: Ints) -> Ints:
    """Steps from column to neighbouring column that lead as far as axial coordinates u and v."""
    steps: Ints = np.abs([u, v, u + v]).max(axis=0)
    return steps


def acceptance_at(degrees: Floats, width: float) -> Floats:
    """Gaussian of an angle as of a photoreceptor's acceptance: 1 at 0, 1/2 at half the width.

    Args:
        degrees: of any shape.
        width: at half height, in degrees, above 0.
    """
    return np.asarray(np.exp(-4 * np.log(2) * (degrees / width) ** 2))
