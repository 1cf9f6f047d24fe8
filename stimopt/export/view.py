"""Columns drawn as pixels, and pixels seen by columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import embedding_bag

from stimopt import expect
from stimopt.export.directions import Array, Eye, angles
from stimopt.export.displays import Display
from stimopt.export.light import Levels, Light, Luminance
from stimopt.export.timing import Timing
from stimopt.lattice import HexLattice, acceptance_at
from stimopt.protocol import GREY

_REACH = 2.0
"""Widths at half height beyond which a Gaussian (1.5e-5 of its peak there) is cut."""
_FINE = 6
"""Pixels are averaged in blocks as long as so many span an acceptance angle."""
_TILE = 32
"""Pixels along the side of a tile, whose columns are sought together."""
_AT_ONCE = 20_000_000
"""Pixels drawn at once in floating point."""


@dataclass(frozen=True)
class Rig:
    """All that decides what a fly sees of a stimulus.

    Args:
        display: whose pixels are lit.
        eye: of the fly before it.
        light: levels of the pixels.
        timing: refreshes, and grey around the stimulus.
        width: of the Gaussian by which columns are drawn, in degrees at half height; 0 gives
            every pixel the luminance of the nearest column.
        outside: what columns see that look past the display: `dark` as on a rig, `grey` for
            comparison; `refuse` accepts no such column.

    Example:
        >>> from stimopt.export.displays import Arena
        >>> view = Rig(Arena("G4.1 2x12"), outside="dark").view(HexLattice(15))
        >>> int(view.shown.sum())  # columns that look at the arena
        295
    """

    display: Display
    eye: Eye = field(default_factory=Eye)
    light: Light = field(default_factory=Light)
    timing: Timing = field(default_factory=Timing)
    width: float = 0.0
    outside: Literal["refuse", "dark", "grey"] = "refuse"

    def __post_init__(self) -> None:
        advice = "0 draws by nearest column"
        expect.number("width in degrees", self.width, advice, at_least=0, at_most=60)
        expect.one_of("outside", self.outside, ("refuse", "dark", "grey"))

    def view(self, lattice: HexLattice, u: int = 0, v: int = 0) -> View:
        """The rig with a lattice before it; (u, v) is the column read out."""
        return View(self, lattice, u, v)


class View:
    """A lattice of columns before the display of a rig.

    Args:
        rig: display and eye.
        lattice: the columns.
        u: column read out, which the eye places.
        v: its other coordinate.

    Attributes:
        directions: unit vectors `(columns, 3)`, NaN for columns that the eye does not have.
        shown: whether a column looks at a pixel, `(columns,)`.

    Raises:
        ValueError: if the column read out is not before the display, or any other one where the
            rig refuses that, or if an acceptance angle is too small for the pixels.
    """

    def __init__(self, rig: Rig, lattice: HexLattice, u: int = 0, v: int = 0) -> None:
        self.rig, self.lattice = rig, lattice
        self.directions = rig.eye.directions(lattice, u, v)
        self.shown = rig.display.contains(self.directions)
        centre, n_out = lattice.index(u, v), int((~self.shown).sum())
        azimuth, elevation = angles(self.directions[centre])
        where = f"u={u}, v={v} at azimuth {azimuth:.3g} and elevation {elevation:.3g} degrees"
        advice = "place it by the eye's azimuth and elevation"
        expect.that(self.shown[centre], "the column read out on the display", where, advice)
        expect.that(
            rig.outside != "refuse" or not n_out,
            f"a display before all {lattice.n_columns} columns",
            f"{type(rig.display).__name__} before {lattice.n_columns - n_out}: {n_out} fall "
            "outside",
            "give outside dark to export what the fly can see (all else is dark on a rig), or "
            "use another display",
        )

    # -- columns to pixels ------------------------------------------------------------------------

    def levels(self, luminance: Luminance, light: Light | None = None) -> Levels:
        """Levels of every pixel, `(frames, rows, columns)`, row 0 on top.

        Args:
            luminance: in [0, 1], `(frames, columns)`.
            light: None is the rig's.
        """
        light = light or self.rig.light
        beside = np.full((len(luminance), 1), GREY, np.float32)
        values = np.concatenate([luminance, beside], axis=1).astype(np.float32)
        size = (-1, *self.rig.display.shape)
        if not self.rig.width:
            return light.encode(values)[:, self._nearest].reshape(size)
        # A few frames at a time, as floating-point pixels take much more memory than levels.
        step = max(1, _AT_ONCE // math.prod(self.rig.display.shape))
        parts = [
            light.encode(self._gaussian.sums(values[i : i + step]))
            for i in range(0, len(values), step)
        ]
        return np.concatenate(parts).reshape(size)

    @cached_property
    def spacing(self) -> float:
        """Median angle between nearest columns, in degrees."""
        directions = self.directions[np.isfinite(self.directions[:, 0])]
        cosines = directions @ directions.T
        np.fill_diagonal(cosines, -1)
        nearest = float(np.median(np.degrees(np.arccos(np.clip(cosines.max(axis=1), -1, 1)))))
        return nearest if len(directions) > 1 else self.rig.eye.degrees

    @cached_property
    def _nearest(self) -> NDArray[np.int64]:
        """Column of every pixel, `(pixels,)`; the one after the last is grey, beside the field."""
        nearest = np.empty(math.prod(self.rig.display.shape), np.int64)
        for pixels, columns, cosines in self._tiles(0.0):
            best = cosines.argmax(axis=1)
            beside = cosines[np.arange(len(best)), best] < _cos(self.spacing)
            nearest[pixels] = np.where(beside, self.lattice.n_columns, columns[best])
        return nearest

    @cached_property
    def _gaussian(self) -> Bags:
        """Columns of every pixel, with weights that sum to 1."""
        width, parts = self.rig.width, []
        for pixels, columns, cosines in self._tiles(_REACH * width):
            best = cosines.max(axis=1, keepdims=True)
            # Where a narrow Gaussian reaches no column, the nearest one counts.
            near = cosines >= np.minimum(_cos(_REACH * width), best)
            beside = best[:, 0] < _cos(self.spacing)
            rows, found = np.nonzero(near & ~beside[:, None])
            share = acceptance_at(_angle(cosines[rows, found]), width).clip(1e-12)
            total = np.bincount(rows, share, len(pixels))
            none = np.full(beside.sum(), self.lattice.n_columns)
            parts.append((pixels[rows], columns[found], share / total[rows]))
            parts.append((pixels[beside], none, np.ones(len(none))))
        return Bags.of(parts, math.prod(self.rig.display.shape))

    def _tiles(self, reach: float) -> Iterator[tuple[Any, Any, Array]]:
        """Tiles of pixels, the columns within reach of some pixel, and the cosines of their angles.

        The nearest column of every pixel is always among them.
        """
        directions, looking = self.rig.display.directions(), self._looking
        (rows, width) = self.rig.display.shape
        numbers = np.arange(rows * width).reshape(rows, width)
        for top in range(0, rows, _TILE):
            for left in range(0, width, _TILE):
                tile = (slice(top, top + _TILE), slice(left, left + _TILE))
                pixels = directions[tile].reshape(-1, 3)
                middle = pixels[len(pixels) // 2]
                radius = float(_angle(pixels @ middle).max())
                away = _angle(self.directions[looking] @ middle)
                columns = looking[away <= max(away.min() + 2 * radius, reach + radius) + 1e-3]
                yield numbers[tile].ravel(), columns, pixels @ self.directions[columns].T

    @property
    def _looking(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.isfinite(self.directions[:, 0]))

    # -- pixels to columns ------------------------------------------------------------------------

    def see(self, levels: Levels, light: Light | None = None) -> Luminance:
        """What every column sees of frames of levels, `(frames, columns)`.

        The mean over the pixels weighted by their solid angle and the acceptance of the column,
        a Gaussian (Snyder 1979); what lies past the display counts as the rig's `outside`.

        Args:
            levels: `(frames, rows, columns)`, row 0 on top.
            light: None is the rig's.
        """
        light = light or self.rig.light
        bags, missing = self._acceptance
        one = np.ones(self.rig.display.shape, np.float32)
        blocks = np.stack([self._sums(light.decode(frame)) for frame in levels]) / self._sums(one)
        return np.asarray(bags.sums(blocks) + self.surround * missing, np.float32)

    @cached_property
    def matrix(self) -> tuple[Array, Array]:
        """What columns see of each other's luminance, and of all else.

        Returns:
            `(columns, columns)` and `(columns,)`: for luminance x of the columns, column i sees
            `matrix[i] @ x + rest[i]`.
        """
        columns, fine = np.eye(self.lattice.n_columns, dtype=np.float32), Light(65536)
        rest = self.see(self.levels(0 * columns[:1], fine), fine)
        rows = [
            self.see(self.levels(columns[i : i + 64], fine), fine) - rest
            for i in range(0, len(columns), 64)
        ]
        return np.concatenate(rows).T, rest[0]

    @property
    def surround(self) -> float:
        """Luminance beside the display."""
        return GREY if self.rig.outside == "grey" else 0.0

    @cached_property
    def _acceptance(self) -> tuple[Bags, Array]:
        """Blocks of pixels that every column sees, and its share `(columns,)` past the display."""
        solid = self.rig.display.solid_angles()
        vectors = self.rig.display.directions() * solid[..., None]
        blocks, areas = (
            np.stack([self._sums(v) for v in np.moveaxis(vectors, -1, 0)]),
            self._sums(solid),
        )
        x, y, z = blocks / np.linalg.norm(blocks, axis=0)
        widths = self.rig.eye.acceptances(self.lattice)
        missing, parts = np.ones(self.lattice.n_columns, np.float32), []
        for column in self._looking:
            # A product of matrices so narrow takes ten times as long, when other threads compute.
            along = self.directions[column]
            cosines = x * along[0] + y * along[1] + z * along[2]
            near = np.flatnonzero(cosines > _cos(_REACH * widths[column]))
            share = areas[near] * acceptance_at(_angle(cosines[near]), widths[column])
            covered = min(1.0, share.sum() / _whole_bell(widths[column]))
            missing[column] = 1 - covered
            parts.append((np.full(len(near), column), near, share * (covered / (share.sum() or 1))))
        return Bags.of(parts, self.lattice.n_columns), missing

    @cached_property
    def _block(self) -> int:
        pitch = float(np.degrees(np.sqrt(self.rig.display.solid_angles().max())))
        widths = self.rig.eye.acceptances(self.lattice)
        advice = "give a larger acceptance angle, or a display of finer pixels"
        pixel = f"an acceptance angle of at least 1.5 pixels ({1.5 * pitch:.3g} degrees)"
        expect.that(widths.min() >= 1.5 * pitch, pixel, f"{widths.min():g}", advice)
        return max(1, int(widths.min() / _FINE / pitch))

    def _sums(self, frame: Array) -> Array:
        """Sums over blocks of pixels, smaller at the right and the lower edge, `(blocks,)`."""
        for axis in (0, 1):
            starts = np.arange(0, frame.shape[axis], self._block)
            frame = np.add.reduceat(frame, starts, axis=axis)
        return frame.ravel()


class Bags(NamedTuple):
    """Weighted sums over a few of many values each."""

    member: torch.Tensor
    weight: torch.Tensor
    start: torch.Tensor

    @classmethod
    def of(cls, parts: Sequence[tuple[Any, Any, Any]], n_bags: int) -> Bags:
        """Bags of parts, each bags, members and weights; a bag's members lie in one part."""
        bag, member, weight = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(bag, kind="stable")
        counts = np.bincount(bag, minlength=n_bags)
        start = np.append(0, np.cumsum(counts)[:-1])
        return cls(
            torch.as_tensor(member[order].astype(np.int32)),
            torch.as_tensor(weight[order].astype(np.float32)),
            torch.as_tensor(start.astype(np.int32)),
        )

    def sums(self, values: Array) -> Array:
        """`(n, bags)` of values `(n, members)`."""
        table = torch.as_tensor(np.ascontiguousarray(values.T))
        start, weight = self.start, self.weight
        summed = embedding_bag(self.member, table, start, mode="sum", per_sample_weights=weight)
        return np.asarray(summed.numpy().T)


def _angle(cosines: Array) -> Array:
    """Angles in degrees whose cosines these are."""
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))))


def _cos(degrees: float) -> float:
    return math.cos(math.radians(min(degrees, 180.0)))


@lru_cache
def _whole_bell(width: float) -> float:
    """Its integral over the sphere within reach, in steradians."""
    edges = np.linspace(0, _REACH * width, 2001)
    middles = (edges[1:] + edges[:-1]) / 2
    rings = -2 * np.pi * np.diff(np.cos(np.radians(edges)))
    return float((rings * acceptance_at(middles, width)).sum())
