"""The movie store: luminance of scenes on the lattice, in one HDF5 file.

Layout, readable by h5py alone:

    /                       attributes: schema, schema_version, kind, designed, extent, fingerprint
    /rendering              attributes: the settings of the rendering
    /scenes/00000           attributes: name, frame_rate, n_source_frames, drop_first
    /scenes/00000/view_0    luminance (frames, columns), float32 or float16, in chunks of frames
    /scenes/00000/files     names of the source files, and
    /scenes/00000/sha256    their SHA-256
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.lattice import FLYVIS_EXTENT, MAX_EXTENT, HexLattice
from stimopt.movies.procedural import ProceduralMovies, ProceduralSettings
from stimopt.movies.sampling import SceneLength
from stimopt.movies.source import MAX_FRAME_RATE
from stimopt.storage.files import BadFile, reading
from stimopt.storage.hdf5 import opened, require_plain

SCHEMA = "stimopt-movies"
SCHEMA_VERSION = 1

MAX_CHUNK_BYTES = 2**26
"""A chunk is read whole, so a store with larger ones could fill the memory."""

RENDER_AGAIN = "render it again"


@dataclass(frozen=True)
class StoredScene(SceneLength):
    """One view of a scene in a store.

    Args:
        n_frames: frames in the store.
        frame_rate: frames per second.
        drop_first: frames of the source before the first one in the store.
        name: of the scene, for people.
        view: number of the view, from the left.
    """

    name: str = ""
    view: int = 0


class SceneStore(ABC):
    """Scenes whose luminance can be read piece by piece.

    Attributes:
        extent: rings of columns around the central one.
        designed: whether scenes are sampled whole and unturned by default.
        fingerprint: SHA-256 over all that determines the contents.
        scenes: every view of every scene, in order.
    """

    extent: int
    designed: bool
    fingerprint: str
    scenes: Sequence[StoredScene]

    @abstractmethod
    def read(self, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        """Frames `start` to `stop` (exclusive), `(frames, columns)` in [0, 1]."""

    def close(self) -> None:
        """Let go of files; reading opens them again."""
        return None


class GeneratedStore(SceneStore):
    """The built-in movies without a file: each part is computed when it is read.

    Args:
        settings: what the movies are; None takes the defaults.
        extent: rings of columns around the central one.
    """

    designed = True

    def __init__(
        self, settings: ProceduralSettings | None = None, extent: int = FLYVIS_EXTENT
    ) -> None:
        self.extent = HexLattice(extent).extent
        self._movies = ProceduralMovies(settings)
        self.fingerprint = self._movies.fingerprint(extent)
        self.scenes = tuple(
            StoredScene(scene.n_frames or 0, scene.frame_rate, name=scene.name)
            for scene in self._movies.scenes
        )

    def read(self, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        """See `SceneStore.read`."""
        return self._movies.frames(self.extent, scene, start, stop)


class MovieStore(SceneStore):
    """Reads a movie store; can be sent to worker processes, each of which opens the file itself.

    Args:
        path: the HDF5 file.

    Raises:
        ValueError: if the file is missing, damaged, of another schema, or leads elsewhere by links.

    Example:
        >>> with MovieStore("data/sintel.h5") as store:  # doctest: +SKIP
        ...     luminance = store.read(scene=0, start=0, stop=19)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = 0
        self._datasets: list[str] = []
        scenes: list[StoredScene] = []
        advice = "make it with: stimopt render SOURCE OUT.h5"
        with opened(self.path, "a movie store", advice) as file:
            self._read_root(file)
            for name in sorted(file["scenes"]):
                scenes += self._read_scene(file["scenes"][name])
            self._require(scenes, "scenes", "none")
        self.scenes = tuple(scenes)

    def read(self, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        """Frames `start` to `stop` (exclusive) of a scene, `(frames, columns)` in [0, 1].

        Raises:
            ValueError: if there are no such frames, or they are damaged.
        """
        name, n_frames = self.scenes[scene].name, self.scenes[scene].n_frames
        expect.that(
            0 <= start < stop <= n_frames,
            f"frames within the {n_frames} of scene {name} in {self.path}",
            f"{start} to {stop}",
            "sample the store again",
        )
        file = self._open()
        with reading(self.path, f"sound frames {start} to {stop} of scene {name}", RENDER_AGAIN):
            stored = file[self._datasets[scene]][start:stop]
        # Half precision is slow to compare, single precision is not.
        piece = np.asarray(stored, dtype=np.float32)
        expect.within(f"luminance of scene {name} of {self.path}", piece, 0, 1, RENDER_AGAIN)
        return piece

    def close(self) -> None:
        """Close the file in this process; reading opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def __enter__(self) -> MovieStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _open(self) -> h5py.File:
        # A handle inherited by a forked process is not its own: it opens the file itself.
        if self._file is None or self._process != os.getpid():
            with reading(self.path, "a movie store", RENDER_AGAIN):
                file = h5py.File(self.path, "r")
                unchanged = file.attrs.get("fingerprint") == self.fingerprint
                if not unchanged:
                    file.close()
            expect.that(
                unchanged,
                f"{self.path} as it was when it was first opened",
                "other movies",
                "it was rendered again meanwhile: restart",
                BadFile,
            )
            self._file, self._process = file, os.getpid()
        return self._file

    def _read_root(self, file: h5py.File) -> None:
        schema = f"schema {SCHEMA} version {SCHEMA_VERSION}"
        stored = f"schema {file.attrs.get('schema')} version {file.attrs.get('schema_version')}"
        self._require(stored == schema, f"a store of {schema}", stored[:100])
        self.kind = str(file.attrs["kind"])
        self.designed = bool(file.attrs["designed"])
        self.fingerprint = str(file.attrs["fingerprint"])
        self.extent = int(file.attrs["extent"])
        fits = 0 <= self.extent <= MAX_EXTENT
        self._require(fits, f"extent from 0 to {MAX_EXTENT}", self.extent)
        self.rendering = {
            name: value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
            for name, value in file["rendering"].attrs.items()
        }

    def _read_scene(self, group: h5py.Group) -> list[StoredScene]:
        name, rate = str(group.attrs["name"]), float(group.attrs["frame_rate"])
        dropped = int(group.attrs["drop_first"])
        self._require(0 < rate <= MAX_FRAME_RATE, f"a frame rate above 0 for {group.name}", rate)
        self._require(dropped >= 0, f"drop_first >= 0 for {group.name}", dropped)
        scenes = []
        for view in sorted((v for v in group if v.startswith("view_")), key=lambda v: int(v[5:])):
            self._require_luminance(group[view])
            self._datasets.append(group[view].name)
            scenes.append(StoredScene(len(group[view]), rate, dropped, name, int(view[5:])))
        return scenes

    def _require_luminance(self, dataset: h5py.Dataset) -> None:
        require_plain(dataset)
        columns, dtype, shape = HexLattice(self.extent).n_columns, dataset.dtype, dataset.shape
        fits = dtype in (np.float16, np.float32) and len(shape) == 2 and shape[0] >= 1
        self._require(
            fits and shape[1] == columns,
            f"float16 or float32 (frames, {columns}) for {dataset.name}",
            f"{dtype} {shape}",
        )
        chunk = dataset.chunks or (1, columns)
        self._require(
            chunk[0] * chunk[1] * dtype.itemsize <= MAX_CHUNK_BYTES,
            f"chunks of at most {MAX_CHUNK_BYTES} bytes for {dataset.name}",
            f"chunks {chunk}",
        )

    def _require(self, condition: Any, expected: str, got: object) -> None:
        expect.that(condition, f"{expected} in {self.path}", got, RENDER_AGAIN, BadFile)
