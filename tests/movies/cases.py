"""Small movies that stores are tested on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stimopt.movies import MovieSource, MovieStore, Scene
from stimopt.movies.eye import RenderSettings

SMALL = RenderSettings(extent=2, kernel_size=3, views=2, width_fraction=1.0, drop_first=1)
"""19 columns in two views, of frames of 24 x 48 pixels or more."""


def noise_frames(n_frames: int, seed: int = 0, colours: bool = False) -> NDArray[np.uint8]:
    """Frames of 24 x 48 pixels, uint8."""
    shape = (n_frames, 24, 48, *((3,) if colours else ()))
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_pictures(
    folder: Path, frames: Sequence[np.ndarray] | np.ndarray, pattern: str = "frame_{:04d}.png"
) -> Path:
    """A folder of numbered pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / pattern.format(i))
    return folder


class ConstantSource(MovieSource):
    """Scenes whose frames have one value each; counts the frames read, and can break off."""

    kind = "test"

    def __init__(self, n_scenes: int, n_frames: int, break_after: int | None = None) -> None:
        self.scenes = tuple(Scene(f"scene {i}", 24.0, n_frames) for i in range(n_scenes))
        self.n_read, self.break_after = 0, break_after

    def luminance(self, scene: int, settings: RenderSettings) -> Iterator[NDArray[np.float32]]:
        for i in range(self.scenes[scene].n_frames or 0):
            if self.n_read == self.break_after:
                raise KeyboardInterrupt
            self.n_read += 1
            yield np.full((2, 19), ((scene + 1) * (i + 1) % 101) / 101, dtype=np.float32)

    def digests(self, scene: int) -> tuple[str, ...]:
        return ()

    def record(self, settings: RenderSettings) -> dict[str, Any]:
        return {"extent": settings.extent, "views": 2, "drop_first": 0}


def read_all(store: MovieStore) -> list[NDArray[np.float32]]:
    """Every scene of a store, `(frames, columns)` each; its checksums are compared on the way."""
    return [store.read(i, 0, scene.n_frames) for i, scene in enumerate(store.scenes)]
