"""Built-in movies, computed on the lattice: edges, gratings, natural-like textures, looming discs.

Positions are in columns (neighbours are 1 apart), x to the right and y upward; directions are
counter-clockwise from the right, in degrees. Every luminance is a closed form of position and
time, so any part of a scene can be computed without the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.lattice import DEGREES_PER_COLUMN, Floats, HexLattice
from stimopt.movies.eye import RenderSettings
from stimopt.movies.source import MovieSource, Scene, require_frame_rate
from stimopt.protocol import GREY
from stimopt.storage.identity import sha256_of_values

Movie = Callable[[Floats, Floats, Floats], Floats]
"""Luminance `(frames, columns)` from x, y `(columns,)` in columns and time `(frames, 1)` in s."""

TEXTURE_PERIOD = 64
"""Columns after which a texture repeats: twice the width of the field of extent 15."""

TEXTURE_PIXELS = 4
"""Pixels of a texture per column, between which it is interpolated linearly."""

BLOCK = 64
"""Frames computed at a time."""

VERSION = 1
"""To be raised whenever the same settings give other movies."""


@dataclass(frozen=True)
class ProceduralSettings:
    """What the built-in movies are.

    Args:
        seed: of the textures; nothing else is random.
        frame_rate: frames per second.
        directions: number of evenly spaced directions, the first to the right.
        edge_speeds: columns per second.
        edge_reach: distance from the centre, in columns, at which an edge starts (before the
            centre) and stops (behind it); 16 is just outside the field of extent 15.
        grating_wavelengths: columns per cycle, above 2.
        grating_frequencies: cycles per second.
        texture_speeds: columns per second.
        n_textures: number of different textures.
        texture_contrast: standard deviation of a texture's luminance before it is cut to [0, 1].
        looming_ratios: half size over speed of an approaching disc, in seconds.
        seconds: duration of gratings, textures and looming discs.

    Raises:
        ValueError: for a setting out of range.
    """

    seed: int = 0
    frame_rate: float = 100.0
    directions: int = 12
    edge_speeds: tuple[float, ...] = (4.75, 9.5, 19.0, 38.0)
    edge_reach: float = 16.0
    grating_wavelengths: tuple[float, ...] = (5.0, 10.0)
    grating_frequencies: tuple[float, ...] = (1.0, 3.0, 8.0)
    texture_speeds: tuple[float, ...] = (9.5, 19.0)
    n_textures: int = 2
    texture_contrast: float = 0.2
    looming_ratios: tuple[float, ...] = (0.02, 0.04, 0.08)
    seconds: float = 1.0

    def __post_init__(self) -> None:
        require_frame_rate(self.frame_rate, "the built-in movies")
        for name, low in (("seed", 0), ("directions", 1), ("n_textures", 0)):
            expect.whole(
                name, getattr(self, name), f"the default is {_default(name)}", at_least=low
            )
        for name, above in (
            ("edge_speeds", 0),
            ("grating_wavelengths", 2),
            ("grating_frequencies", 0),
            ("texture_speeds", 0),
            ("looming_ratios", 0),
        ):
            for value in getattr(self, name):
                expect.number(name, value, f"the default is {_default(name)}", above=above)
        for name in ("edge_reach", "texture_contrast", "seconds"):
            expect.number(name, getattr(self, name), f"the default is {_default(name)}", above=0)


def _default(name: str) -> object:
    return ProceduralSettings.__dataclass_fields__[name].default


class ProceduralMovies(MovieSource):
    """The built-in movies as a source.

    Args:
        settings: what they are; None takes the defaults.
    """

    kind = "procedural"
    designed = True

    def __init__(self, settings: ProceduralSettings | None = None) -> None:
        self.settings = settings or ProceduralSettings()
        listed = list(_movies(self.settings))
        self._movies = [movie for _, _, movie in listed]
        rate = self.settings.frame_rate
        self.scenes = tuple(
            Scene(name, rate, max(1, round(seconds * rate))) for name, seconds, _ in listed
        )

    def luminance(self, scene: int, settings: RenderSettings) -> Iterator[NDArray[np.float32]]:
        """See `MovieSource.luminance`; only the extent counts, and there is one view."""
        n_frames = self.scenes[scene].n_frames or 0
        for start in range(0, n_frames, BLOCK):
            yield from self.frames(settings.extent, scene, start, start + BLOCK)[:, None]

    def frames(self, extent: int, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        """Frames `start` to `stop` (exclusive) of a scene, `(frames, columns)` in [0, 1]."""
        x, y = _positions(extent)
        stop = min(stop, self.scenes[scene].n_frames or 0)
        time = np.arange(start, stop)[:, None] / self.settings.frame_rate
        return np.clip(self._movies[scene](x, y, time), 0.0, 1.0).astype(np.float32)

    def digests(self, scene: int) -> tuple[str, ...]:
        """See `MovieSource.digests`: there are no files."""
        return ()

    def record(self, settings: RenderSettings) -> dict[str, Any]:
        """See `MovieSource.record`."""
        return {
            "extent": settings.extent,
            "views": 1,
            "drop_first": 0,
            "version": VERSION,
            **dataclasses.asdict(self.settings),
        }

    def fingerprint(self, extent: int) -> str:
        """SHA-256 over everything that determines the movies on a lattice."""
        return sha256_of_values(self.record(RenderSettings(extent=extent)))


def edge(
    x: Floats, y: Floats, t: Floats, *, degrees: float, speed: float, sign: int, reach: float
) -> Floats:
    """A straight edge that moves over grey and leaves black (sign -1) or white (+1) behind it.

    At time 0 it is `reach` columns before the centre. A column changes linearly while the edge
    crosses it, as if it averaged over its own width.
    """
    ahead = _along(x, y, degrees) - (speed * t - reach)
    result: Floats = GREY + sign * GREY * np.clip(0.5 - ahead, 0.0, 1.0)
    return result


def grating(
    x: Floats, y: Floats, t: Floats, *, degrees: float, wavelength: float, frequency: float
) -> Floats:
    """A sine grating of full contrast that drifts along its wave vector."""
    phase = _along(x, y, degrees) / wavelength - frequency * t
    result: Floats = GREY + GREY * np.sin(2 * np.pi * phase)
    return result


def texture(
    x: Floats,
    y: Floats,
    t: Floats,
    *,
    degrees: float,
    speed: float,
    seed: int,
    number: int,
    contrast: float,
) -> Floats:
    """A random picture with the 1/f amplitude spectrum of natural scenes (Field 1987), drifting."""
    picture = _texture(seed, number)
    side = len(picture)
    angle = np.deg2rad(degrees)
    columns = TEXTURE_PIXELS * (x - np.cos(angle) * speed * t)
    rows = TEXTURE_PIXELS * (y - np.sin(angle) * speed * t)
    column, row = np.floor(columns).astype(np.int64), np.floor(rows).astype(np.int64)
    a, b = columns - column, rows - row
    left, right, low, high = column % side, (column + 1) % side, row % side, (row + 1) % side
    mixed = (1 - b) * ((1 - a) * picture[low, left] + a * picture[low, right])
    mixed += b * ((1 - a) * picture[high, left] + a * picture[high, right])
    result: Floats = GREY + contrast * mixed
    return result


def looming(x: Floats, y: Floats, t: Floats, *, ratio: float, sign: int, seconds: float) -> Floats:
    """A black or white disc on grey that approaches head-on and arrives after `seconds`.

    An object of half size l at speed v and time s before arrival has the half angle
    atan(l / (v s)) (Gabbiani et al. 1999); `ratio` is l / v.
    """
    radius = np.rad2deg(np.arctan(ratio / (seconds - t))) / DEGREES_PER_COLUMN
    covered = np.clip(radius - np.hypot(x, y) + 0.5, 0.0, 1.0)
    # A disc within one column covers it in proportion to its area.
    result: Floats = GREY + sign * GREY * covered * np.minimum(1.0, 2 * radius) ** 2
    return result


def _movies(settings: ProceduralSettings) -> Iterator[tuple[str, float, Movie]]:
    """Name, seconds and luminance of every scene; scenes of one length in a row, for batches."""
    polarity, seconds = ((1, "bright"), (-1, "dark")), settings.seconds
    for speed in settings.edge_speeds:
        reach = settings.edge_reach
        for sign, shade in polarity:
            movie = partial(edge, speed=speed, sign=sign, reach=reach)
            name = f"{shade} edge, {{:g}} deg, {speed:g} columns/s"
            yield from _turned(settings, name, 2 * reach / speed, movie)
    for wavelength in settings.grating_wavelengths:
        for frequency in settings.grating_frequencies:
            movie = partial(grating, wavelength=wavelength, frequency=frequency)
            name = f"grating, {{:g}} deg, {wavelength:g} columns, {frequency:g} Hz"
            yield from _turned(settings, name, seconds, movie)
    drawn = partial(texture, seed=settings.seed, contrast=settings.texture_contrast)
    for number in range(settings.n_textures):
        for speed in settings.texture_speeds:
            movie = partial(drawn, speed=speed, number=number)
            name = f"texture {number}, {{:g}} deg, {speed:g} columns/s"
            yield from _turned(settings, name, seconds, movie)
    for ratio in settings.looming_ratios:
        for sign, shade in polarity:
            movie = partial(looming, ratio=ratio, sign=sign, seconds=seconds)
            yield f"{shade} looming disc, l/v {1000 * ratio:g} ms", seconds, movie


def _turned(
    settings: ProceduralSettings, name: str, seconds: float, movie: Callable[..., Floats]
) -> Iterator[tuple[str, float, Movie]]:
    """A movie in every direction."""
    for i in range(settings.directions):
        degrees = 360 * i / settings.directions
        yield name.format(degrees), seconds, partial(movie, degrees=degrees)


def _along(x: Floats, y: Floats, degrees: float) -> Floats:
    angle = np.deg2rad(degrees)
    along: Floats = np.cos(angle) * x + np.sin(angle) * y
    return along


@lru_cache(maxsize=4)
def _positions(extent: int) -> tuple[Floats, Floats]:
    x, y = np.ascontiguousarray(HexLattice(extent).positions().T)
    return x, y


@lru_cache(maxsize=8)
def _texture(seed: int, number: int) -> Floats:
    """A periodic picture of mean 0 and standard deviation 1, 1/f up to half a cycle per column."""
    side = TEXTURE_PERIOD * TEXTURE_PIXELS
    noise = np.random.default_rng([seed, number]).standard_normal((side, side))
    cycles = np.fft.fftfreq(side, 1 / TEXTURE_PIXELS)
    frequency = np.hypot(cycles[:, None], cycles)
    # Finer detail than half a cycle per column would alias on the lattice.
    passed = (frequency > 0) & (frequency <= 0.5)
    spectrum = np.where(passed, 1 / np.where(passed, frequency, 1.0), 0.0)
    picture = np.fft.ifft2(np.fft.fft2(noise) * spectrum).real
    return np.asarray(picture / picture.std())
