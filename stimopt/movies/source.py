"""What every source of frames offers: scenes, their files, and their luminance frame by frame."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.movies.eye import RenderSettings, luminance
from stimopt.storage.files import BadFile

FILM_RATE = 24.0
"""Frames per second where the source does not say, as in the film Sintel."""

MAX_FRAME_RATE = 1e6
MAX_PIXELS = 2**26
"""Pixels of a frame (8192 x 8192) beyond which it is refused before it is decoded."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a scene: its name within the source, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Scene:
    """One uninterrupted sequence of frames.

    Args:
        name: for people; unique within a source.
        frame_rate: frames per second.
        n_frames: frames in the source, or None where only reading tells.
        files: where they come from, in order; none for computed scenes.
    """

    name: str
    frame_rate: float
    n_frames: int | None
    files: tuple[SourceFile, ...] = ()


class MovieSource(ABC):
    """A list of scenes whose luminance can be read frame by frame.

    Attributes:
        kind: what it is, for the store.
        designed: True if the scenes are stimuli complete in themselves, which come in all
            directions already: by default, sampling then takes them whole and unturned.
        scenes: the scenes, in order.
    """

    kind: str
    designed: bool = False
    scenes: tuple[Scene, ...]

    @abstractmethod
    def luminance(self, scene: int, settings: RenderSettings) -> Iterator[NDArray[np.float32]]:
        """The frames of a scene in order, each `(views, columns)` in [0, 1].

        Raises:
            ValueError: naming the file, if a frame cannot be read or rendered.
        """

    @abstractmethod
    def digests(self, scene: int) -> tuple[str, ...]:
        """SHA-256 of every file of a scene, in hexadecimal, in the order of its files."""

    @abstractmethod
    def record(self, settings: RenderSettings) -> dict[str, Any]:
        """The settings under which `luminance` renders: numbers and strings, for the store.

        Has at least `extent`, `views` and `drop_first`.
        """


class PictureSource(MovieSource):
    """A source of Cartesian frames, rendered one at a time."""

    @abstractmethod
    def pictures(self, scene: int, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and picture of every frame from number `start` on.

        A picture is `(height, width)` or `(height, width, 3)`, as `stimopt.movies.eye.grey` takes.
        """

    def luminance(self, scene: int, settings: RenderSettings) -> Iterator[NDArray[np.float32]]:
        """See `MovieSource.luminance`; the first `settings.drop_first` frames are left out."""
        size: tuple[int, ...] | None = None
        for name, picture in self.pictures(scene, settings.drop_first):
            size = size or picture.shape[:2]
            expect.that(
                picture.shape[:2] == size,
                "frames of one size in a scene",
                f"{picture.shape[1]} x {picture.shape[0]} pixels in {name} after "
                f"{size[1]} x {size[0]}",
                "put them into separate scenes",
            )
            try:
                rendered = luminance(picture[None], settings)[:, 0]
            except (ValueError, TypeError) as error:
                raise ValueError(f"{error} (in {name})") from error
            yield rendered

    def record(self, settings: RenderSettings) -> dict[str, Any]:
        """See `MovieSource.record`."""
        return settings.to_dict()


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which frame_2 comes before frame_10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def require_frame_rate(rate: float, origin: str) -> float:
    """The frame rate if it is one.

    Raises:
        ValueError: naming `origin`, otherwise.
    """
    name = f"frame rate for {origin}"
    advice = "give frame_rate, for example 24"
    expect.number(name, rate, advice, above=0, at_most=MAX_FRAME_RATE)
    return float(rate)


def require_pixels(width: int, height: int, name: str) -> None:
    """Refuse a frame whose declared size would fill the memory.

    Raises:
        BadFile: naming the file.
    """
    ok = width > 0 and height > 0 and width * height <= MAX_PIXELS
    expected = f"at most {MAX_PIXELS} pixels in {name}"
    expect.that(ok, expected, f"{width} x {height}", "scale the frames down", BadFile)
