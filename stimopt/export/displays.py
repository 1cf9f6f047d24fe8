"""Displays: where every pixel lies, as the fly sees it. Row 0 is the top, column 0 the left."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from stimopt import expect
from stimopt.export.directions import Array, angles, require_angle, rotation, unit_vectors

Flip = Literal["none", "left-right", "up-down", "rotate180"]
_STEPS = {"none": (1, 1), "left-right": (1, -1), "up-down": (-1, 1), "rotate180": (-1, -1)}
"""Direction in which rows and columns of a frame are read."""
MAX_PIXELS = 8_400_000
"""A screen of 3,840 x 2,160 pixels has 8.3 million."""
_EDGE = 1e-6
"""Of a pixel: rounding that is not to open a closed ring right behind the fly."""


class Display(ABC):
    """A grid of pixels; a subclass is a frozen dataclass with `flip` among its fields."""

    flip: Flip

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""

    @abstractmethod
    def direction_at(self, row: Array, column: Array) -> Array:
        """Unit vectors `(..., 3)` of positions in pixels; pixel 0 has its centre at 0."""

    @abstractmethod
    def pixel_at(self, directions: Array) -> tuple[Array, Array]:
        """Row and column, in fractions of pixels, that lie in a direction `(..., 3)`.

        Outside the display they are beyond its pixels, or NaN.
        """

    def _check(self) -> None:
        expect.one_of("flip of the display", self.flip, _STEPS)
        rows, columns = self.shape
        ok = 1 <= rows * columns <= MAX_PIXELS
        advice = "give fewer pixels"
        expect.that(ok, f"a display of at most {MAX_PIXELS} pixels", f"{rows} x {columns}", advice)

    def directions(self) -> Array:
        """Unit vector to the centre of every pixel, `(rows, columns, 3)`."""
        rows, columns = self.shape
        return self.direction_at(np.arange(rows)[:, None], np.arange(columns)[None])

    def solid_angles(self) -> Array:
        """Steradians of every pixel, `(rows, columns)`: the quadrilateral of its corners."""
        rows, columns = self.shape
        corner = self.direction_at(
            np.arange(rows + 1)[:, None] - 0.5, np.arange(columns + 1)[None] - 0.5
        )
        down, up = corner[1:, 1:] - corner[:-1, :-1], corner[:-1, 1:] - corner[1:, :-1]
        areas: Array = np.linalg.norm(np.cross(down, up), axis=-1) / 2
        return areas

    def contains(self, directions: Array) -> Array:
        """Whether directions `(..., 3)` meet a pixel; False for NaN."""
        row, column = self.pixel_at(directions)
        with np.errstate(invalid="ignore"):
            inside = (row >= -0.5 - _EDGE) & (row <= self.shape[0] - 0.5 + _EDGE)
            return inside & (column >= -0.5 - _EDGE) & (column <= self.shape[1] - 0.5 + _EDGE)

    def flipped(self, frames: Array) -> Array:
        """Frames `(..., rows, columns)` turned as the display is mounted; twice is once back."""
        down, right = _STEPS[self.flip]
        return frames[..., ::down, ::right]

    def flipped_pixel_at(self, directions: Array) -> tuple[Array, Array]:
        """As `pixel_at`, within flipped frames."""
        at = zip(self.pixel_at(directions), self.shape, _STEPS[self.flip], strict=True)
        row, column = (place if step > 0 else size - 1 - place for place, size, step in at)
        return row, column

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        return {"class": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


class Raster(Display):
    """Rows and columns of pixels about a centre that can be anywhere around the fly."""

    width_px: int
    height_px: int
    azimuth: float
    elevation: float
    roll: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px"):
            expect.whole(name, getattr(self, name), "count the pixels used", at_least=1)
        for name in ("azimuth", "elevation", "roll"):
            require_angle(name, getattr(self, name))
        self._check()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        return self.height_px, self.width_px

    def direction_at(self, row: Array, column: Array) -> Array:
        """Straight ahead first, then rotated to where the centre is."""
        right, up = column - (self.width_px - 1) / 2, (self.height_px - 1) / 2 - row
        turned: Array = self._ahead(right, up) @ self._rotation.T
        return turned

    def pixel_at(self, directions: Array) -> tuple[Array, Array]:
        """The inverse of `direction_at`."""
        right, up = self._before(directions @ self._rotation)
        return (self.height_px - 1) / 2 - up, (self.width_px - 1) / 2 + right

    @property
    def _rotation(self) -> Array:
        return rotation(self.azimuth, self.elevation, self.roll)

    @abstractmethod
    def _ahead(self, right: Array, up: Array) -> Array:
        """Unit vectors so many pixels from a centre that is straight ahead."""

    @abstractmethod
    def _before(self, directions: Array) -> tuple[Array, Array]:
        """The inverse: pixels to the right of that centre, and above it."""


@dataclass(frozen=True)
class FlatScreen(Raster):
    """A flat screen, or the part of one that is used.

    Args:
        distance_mm: from the eye to the screen's centre, at a right angle.
        width_mm: of the pixels.
        height_mm: of the pixels.
        width_px: pixels in a row.
        height_px: pixels in a column.
        azimuth: of the screen's centre, in degrees.
        elevation: of the screen's centre, in degrees.
        roll: of the screen, clockwise as seen by the fly.
        flip: of the picture, as rear projection (`left-right`) or the mounting needs it.
    """

    distance_mm: float = 100.0
    width_mm: float = 300.0
    height_mm: float = 300.0
    width_px: int = 400
    height_px: int = 400
    azimuth: float = 0.0
    elevation: float = 0.0
    roll: float = 0.0
    flip: Flip = "none"

    def __post_init__(self) -> None:
        for name in ("distance_mm", "width_mm", "height_mm"):
            expect.number(name, getattr(self, name), "measure it on the rig", above=0)
        super().__post_init__()

    def _ahead(self, right: Array, up: Array) -> Array:
        x, z = right * self.width_mm / self.width_px, up * self.height_mm / self.height_px
        points = np.stack(np.broadcast_arrays(x, self.distance_mm, z), axis=-1)
        return np.asarray(points / np.linalg.norm(points, axis=-1, keepdims=True))

    def _before(self, directions: Array) -> tuple[Array, Array]:
        x, y, z = np.moveaxis(directions, -1, 0)
        with np.errstate(invalid="ignore"):
            scale = self.distance_mm / np.where(y > 1e-9, y, np.nan)  # none behind the fly
        return (
            x * scale * self.width_px / self.width_mm,
            z * scale * self.height_px / self.height_mm,
        )


@dataclass(frozen=True)
class Sphere(Raster):
    """A patch of a sphere with equal degrees a pixel in azimuth and elevation.

    Args:
        width_deg: of azimuth that the pixels cover.
        width_px: pixels in a row.
        height_px: pixels in a column; the height in degrees follows.
        azimuth: of the patch's centre, in degrees.
        elevation: of the patch's centre, in degrees.
        flip: of the picture, as the mounting needs it.
    """

    width_deg: float = 180.0
    width_px: int = 180
    height_px: int = 180
    azimuth: float = 0.0
    elevation: float = 0.0
    flip: Flip = "none"

    def __post_init__(self) -> None:
        expect.number("width_deg", self.width_deg, "360 is all around", above=0, at_most=360)
        super().__post_init__()
        tall = self.height_px * self.width_deg / self.width_px
        expect.that(tall <= 180, "a height of at most 180 degrees", f"{tall:g}", "use fewer rows")

    def _ahead(self, right: Array, up: Array) -> Array:
        pitch = self.width_deg / self.width_px
        return unit_vectors(pitch * right, pitch * up)

    def _before(self, directions: Array) -> tuple[Array, Array]:
        azimuth, elevation = angles(directions)
        return azimuth * self.width_px / self.width_deg, elevation * self.width_px / self.width_deg


PIXELS = {"G4": 16, "G4.1": 16, "G6": 20}
"""Pixels along the side of a panel."""
_REGISTERED = {
    **{"G4 4x12": 1, "G4 3x12of18": 2, "G4.1 2x12": 1, "G6 2x10": 1, "G6 2x8of10": 2},
    **{"G6 3x12of18": 3, "G6 3x16": 4, "G6 3x10": 5, "G6 4x10": 6},
}
_OWN_IDS = {"G4": (201, 254), "G4.1": (201, 254), "G6": (51, 62)}


@dataclass(frozen=True)
class Arena(Display):
    """A ring of LED panels of the Reiser lab, with the fly at its centre and mid height.

    Args:
        name: generation, rows and columns of panels, and the panels of the full ring where some
            are left out: `G4 3x12`, `G4 3x12of18`, `G4.1 2x12`, `G6 2x10`, or any such.
        polygon: flat panels; false takes a smooth cylinder.
        front: pixels from the left edge to straight ahead; None is the middle. It differs between
            rigs of one arena: some have a panel's edge in front, some its centre.
        arena_id: for the file's header; None takes the registered one, or 0 (unspecified).
        flip: `rotate180` for an arena that hangs upside down, `up-down` should a rig show
            pictures on their head.

    Raises:
        ValueError: for an invalid name, or an id that is reserved for other arenas.
    """

    name: str = "G4 3x12"
    polygon: bool = True
    front: float | None = None
    arena_id: int | None = None
    flip: Flip = "none"

    def __post_init__(self) -> None:
        rows, columns, ring = self.panels
        ok = rows >= 1 and 1 <= columns <= ring and ring >= 3 and rows * columns <= 255
        advice = "see the registered ones: " + ", ".join(_REGISTERED)
        expect.that(ok, "an arena with its panels within a ring", repr(self.name), advice)
        around = ring * PIXELS[self.generation]
        advice = f"count pixels from the left edge; the full ring has {around}"
        bounds = {"at_least": -around, "at_most": around}
        expect.number("front", self.front, advice, **bounds, optional=True)
        if self.arena_id is not None:
            low, high = _OWN_IDS[self.generation]
            known = self.arena_id in (0, _REGISTERED.get(self.name))
            ok = known or (isinstance(self.arena_id, int) and low <= self.arena_id <= high)
            advice = f"own arenas are {low} to {high}, 0 is unspecified"
            expect.that(ok, f"an arena id of {self.name}", repr(self.arena_id), advice)
        self._check()

    @property
    def generation(self) -> str:
        """`G4`, `G4.1` or `G6`."""
        return self.name.split(" ")[0]

    @property
    def panels(self) -> tuple[int, int, int]:
        """Rows of panels, installed columns, and panels of the full ring."""
        match = re.fullmatch(r"(?:G4|G4\.1|G6) (\d{1,3})x(\d{1,3})(?:of(\d{1,3}))?", self.name)
        advice = "name generation, rows and columns of panels"
        expect.that(match, "an arena such as 'G4.1 2x12' or 'G6 2x8of10'", repr(self.name), advice)
        assert match is not None
        return int(match[1]), int(match[2]), int(match[3] or match[2])

    @property
    def header_id(self) -> int:
        """The arena's id in files; 0 where it has none."""
        return _REGISTERED.get(self.name, 0) if self.arena_id is None else self.arena_id

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        size = PIXELS[self.generation]
        return self.panels[0] * size, self.panels[1] * size

    def direction_at(self, row: Array, column: Array) -> Array:
        """Equal angles around, equal heights up; on flat panels equal steps along the panel."""
        place = (column + 0.5) / PIXELS[self.generation] - self.panels[1] / 2
        around, distance = place, np.ones(1)
        if self.polygon:
            panel = self._panel_at(place)
            along = self._panel * (place - panel)
            around = panel + np.arctan2(along, self._apothem) / self._panel
            distance = np.hypot(self._apothem, along)
        up = self._pitch * ((self.shape[0] - 1) / 2 - row)
        azimuth = self._middle + np.degrees(self._panel * around)
        return unit_vectors(azimuth, np.degrees(np.arctan2(up, distance)))

    def pixel_at(self, directions: Array) -> tuple[Array, Array]:
        """The inverse of `direction_at`."""
        azimuth, elevation = angles(directions)
        from_middle = azimuth - self._middle
        from_middle = from_middle - 360 * np.round(from_middle / 360)
        place, distance = np.radians(from_middle) / self._panel, np.ones(1)
        if self.polygon:
            panel = self._panel_at(place)
            along = self._apothem * np.tan(self._panel * (place - panel))
            place = panel + along / self._panel
            distance = np.hypot(self._apothem, along)
        up = np.tan(np.radians(elevation)) * distance / self._pitch
        column = (place + self.panels[1] / 2) * PIXELS[self.generation] - 0.5
        return (self.shape[0] - 1) / 2 - up, column

    # Places around are in panels to the right of the middle of the installed ones; lengths are
    # those of a ring of radius 1, where a panel is as wide as the angle it spans in radians.

    @property
    def _panel(self) -> float:
        return 2 * math.pi / self.panels[2]

    @property
    def _pitch(self) -> float:
        return self._panel / PIXELS[self.generation]

    @property
    def _apothem(self) -> float:
        return self._panel / 2 / math.tan(self._panel / 2)

    @property
    def _middle(self) -> float:
        """Azimuth of the middle of the installed panels, in degrees."""
        front = self.shape[1] / 2 if self.front is None else self.front
        return math.degrees(self._pitch) * (self.shape[1] / 2 - front)

    def _panel_at(self, place: Array) -> Array:
        """Centre of the flat panel at a place."""
        half = self.panels[1] / 2
        return np.asarray(np.floor(place + half) + 0.5 - half)
