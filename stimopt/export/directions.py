"""Directions of view: unit vectors, rotations, and where the columns of an eye look.

x points right, y ahead, z up. Azimuth is positive to the right, elevation upward, in degrees.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stimopt import expect
from stimopt.lattice import DEGREES_PER_COLUMN, HexLattice
from stimopt.storage.files import BadFile, reading

Array = NDArray[Any]

ACCEPTANCE = 5.0
"""Degrees at half height, as in models of Drosophila's motion vision (after Buchner 1981);
recordings from photoreceptors gave more, 8 to 10."""


def unit_vectors(azimuth: ArrayLike, elevation: ArrayLike) -> Array:
    """Unit vectors `(..., 3)` of directions in degrees."""
    a, e = np.radians(azimuth), np.radians(elevation)
    vectors: Array = np.stack(
        np.broadcast_arrays(np.cos(e) * np.sin(a), np.cos(e) * np.cos(a), np.sin(e)), axis=-1
    )
    return vectors


def angles(vectors: Array) -> tuple[Array, Array]:
    """Azimuth and elevation in degrees of vectors `(..., 3)` of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(x, y)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def rotation(azimuth: float, elevation: float, roll: float = 0.0) -> Array:
    """Matrix that rotates straight ahead to a direction, after a roll about straight ahead.

    Args:
        azimuth: in degrees.
        elevation: in degrees.
        roll: in degrees, clockwise as seen by the fly.
    """
    a, e, r = np.radians([azimuth, elevation, roll])
    yaw = [[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]
    pitch = [[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]]
    turn = [[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]]
    rotated: Array = np.array(yaw) @ pitch @ turn
    return rotated


def require_angle(name: str, degrees: float | None, *, optional: bool = False) -> None:
    """Refuse an azimuth, elevation or roll beyond its range, or none unless that is optional."""
    most = 90 if name == "elevation" else 180
    expect.number(
        name, degrees, "0 is straight ahead", at_least=-most, at_most=most, optional=optional
    )


@dataclass(frozen=True)
class Eye:
    """Where every column looks, and how wide it sees.

    Args:
        degrees: between neighbouring columns.
        reading: `flyvis` as its films reach the network (azimuth 5.8 v), or `isotropic` as its
            picture coordinates say (5.02 v); elevation is -5.8 (u + v / 2) in both.
        side: the picture is the visual field of the left eye; `right` mirrors it.
        table: CSV file with `u, v, azimuth_deg, elevation_deg` and perhaps `acceptance_deg`, in
            place of the lattice; columns that it does not list are not shown.
        azimuth: of the column read out, which the eye is rotated to; None leaves it where it is.
        elevation: likewise.
        roll: of the eye about that direction, clockwise as seen by the fly.
        acceptance: angle at half height of what a column sees, in degrees.

    Raises:
        ValueError: for an angle out of range, or a table with the other eye.
    """

    degrees: float = DEGREES_PER_COLUMN
    reading: Literal["flyvis", "isotropic"] = "flyvis"
    side: Literal["left", "right"] = "left"
    table: str | None = None
    azimuth: float | None = None
    elevation: float | None = None
    roll: float = 0.0
    acceptance: float = ACCEPTANCE

    def __post_init__(self) -> None:
        expect.number("degrees a column", self.degrees, "5.8 is flyvis's", above=0, at_most=60)
        expect.number("acceptance in degrees", self.acceptance, "5 is usual", above=0, at_most=60)
        expect.one_of("reading of the lattice", self.reading, ("flyvis", "isotropic"))
        expect.one_of("side", self.side, ("left", "right"))
        for name in ("azimuth", "elevation", "roll"):
            require_angle(name, getattr(self, name), optional=name != "roll")
        mirrored_table = self.table is not None and self.side == "right"
        advice = "list the directions of that eye in the table, and leave side as it is"
        expect.that(not mirrored_table, "a table of one eye", "side right", advice)

    def directions(self, lattice: HexLattice, u: int = 0, v: int = 0) -> Array:
        """Unit vectors `(columns, 3)`; NaN for columns that the eye does not have.

        Args:
            lattice: the columns.
            u: column read out, which `azimuth` and `elevation` place.
            v: its other coordinate.
        """
        azimuth, elevation, _ = self._columns(lattice)
        centre = lattice.index(u, v)
        from_azimuth, from_elevation = float(azimuth[centre]), float(elevation[centre])
        expect.that(
            np.isfinite(from_azimuth),
            f"the column read out (u={u}, v={v}) in {self.table}",
            "a table without it",
            "add its direction",
        )
        to_azimuth = from_azimuth if self.azimuth is None else self.azimuth
        to_elevation = from_elevation if self.elevation is None else self.elevation
        turn = rotation(to_azimuth, to_elevation, self.roll)
        turn = turn @ rotation(from_azimuth, from_elevation).T
        placed: Array = unit_vectors(azimuth, elevation) @ turn.T
        return placed

    def acceptances(self, lattice: HexLattice) -> Array:
        """Acceptance angle of every column in degrees, `(columns,)`."""
        return self._columns(lattice)[2]

    def _columns(self, lattice: HexLattice) -> tuple[Array, Array, Array]:
        if self.table is not None:
            return _read_table(self.table, lattice, self.acceptance)
        sideways = self.degrees * (1.0 if self.reading == "flyvis" else np.sqrt(3) / 2)
        azimuth = sideways * lattice.v * (-1 if self.side == "right" else 1)
        elevation = -self.degrees * (lattice.u + lattice.v / 2)
        largest = float(max(np.abs(azimuth).max(), 2 * np.abs(elevation).max()))
        advice = "use fewer degrees a column, or a smaller extent"
        expect.that(largest <= 180, "an eye within the sphere", f"+-{largest:g} degrees", advice)
        return azimuth, elevation, np.full(lattice.n_columns, self.acceptance)


def _read_table(path: str, lattice: HexLattice, acceptance: float) -> tuple[Array, Array, Array]:
    """Azimuth, elevation and acceptance of every column, NaN for directions not listed."""
    advice = "write rows of u, v, azimuth_deg, elevation_deg under a line with these names"
    with (
        reading(path, "a table of directions", advice),
        # Spreadsheets write a byte order mark before the first name.
        Path(path).open(encoding="utf-8-sig", newline="") as file,
    ):
        rows = [
            (
                int(lattice.index(int(row["u"]), int(row["v"]))),
                float(row["azimuth_deg"]),
                float(row["elevation_deg"]),
                float(row.get("acceptance_deg") or acceptance),
            )
            for row in csv.DictReader(file, skipinitialspace=True)
        ]
    columns = np.array([row[0] for row in rows], np.int64)
    angles = np.array([row[1:] for row in rows]).reshape(-1, 3)
    known = columns[columns >= 0]
    in_range = (np.abs(angles[:, :2]) <= (360, 90)).all() and (angles[:, 2] > 0).all()
    for ok, problem in (
        (in_range and np.isfinite(angles).all(), "an angle out of range"),
        (len(np.unique(known)) == len(known), "a column twice"),
        (len(known), "no column of the lattice"),
    ):
        expect.that(ok, f"directions of columns in {path}", problem, advice, BadFile)
    values = np.full((lattice.n_columns, 3), (np.nan, np.nan, acceptance))
    values[known] = angles[columns >= 0]
    azimuth, elevation, wide = values.T
    return azimuth, elevation, wide
