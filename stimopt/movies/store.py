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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from stimopt.lattice import MAX_EXTENT, HexLattice
from stimopt.movies.procedural import ProceduralMovies, ProceduralSettings
from stimopt.movies.source import MAX_FRAME_RATE

SCHEMA = "stimopt-movies"
SCHEMA_VERSION = 1

MAX_CHUNK_BYTES = 2**26
"""A chunk is read whole, so a store with larger ones could fill the memory."""

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


@dataclass(frozen=True)
class StoredScene:
    """One view of a scene in a store.

    Args:
        name: of the scene, for people.
        view: number of the view, from the left.
        n_frames: frames in the store.
        frame_rate: frames per second.
        drop_first: frames of the source before the first one in the store.
    """

    name: str
    view: int
    n_frames: int
    frame_rate: float
    drop_first: int


class SceneStore(Protocol):
    """Scenes whose luminance can be read piece by piece."""

    @property
    def extent(self) -> int:
        """Rings of columns around the central one."""

    @property
    def designed(self) -> bool:
        """Whether scenes are taken whole and unturned unless asked otherwise."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that determines the contents."""

    @property
    def scenes(self) -> Sequence[StoredScene]:
        """Every view of every scene, in order."""

    def read(self, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        """Frames `start` to `stop` (exclusive), `(frames, columns)` in [0, 1]."""

    def close(self) -> None:
        """Let go of files; reading opens them again."""


class GeneratedStore:
    """The built-in movies without a file: what is read is computed.

    Args:
        settings: what the movies are; None takes the defaults.
        extent: rings of columns around the central one.
    """

    designed = True

    def __init__(self, settings: ProceduralSettings | None = None, extent: int = 15) -> None:
        self.extent = HexLattice(extent).extent
        self._movies = ProceduralMovies(settings)
        self.scenes = tuple(
            StoredScene(scene.name, 0, scene.n_frames or 0, scene.frame_rate, 0)
            for scene in self._movies.scenes
        )

    @property
    def fingerprint(self) -> str:
        """See `SceneStore.fingerprint`."""
        return self._movies.fingerprint(self.extent)

    def read(self, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        """See `SceneStore.read`."""
        return self._movies.frames(self.extent, scene, start, stop)

    def close(self) -> None:
        """See `SceneStore.close`: there is nothing to let go of."""


class MovieStore:
    """Reads a movie store; can be sent to worker processes, each of which opens the file itself.

    Args:
        path: the HDF5 file.

    Raises:
        ValueError: if the file is missing, damaged, of another schema, or leads elsewhere by links.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = 0
        self._datasets: list[str] = []
        scenes: list[StoredScene] = []
        try:
            with h5py.File(self.path, "r") as file:
                self._read_root(file)
                for name in sorted(file["scenes"]):
                    scenes += self._read_scene(file["scenes"], name)
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            OverflowError,
        ) as error:
            if isinstance(error, ValueError) and str(self.path) in str(error):
                raise
            raise ValueError(
                f"expected a movie store in {self.path}, got a file that cannot be read as one "
                f"({type(error).__name__}: {error}); make it with: stimopt render SOURCE OUT.h5"
            ) from error
        if not scenes:
            raise ValueError(f"expected scenes in {self.path}, got none; render it again")
        self.scenes = tuple(scenes)

    def read(self, scene: int, start: int, stop: int) -> NDArray[np.float32]:
        """Frames `start` to `stop` (exclusive) of a scene, `(frames, columns)` in [0, 1].

        Raises:
            ValueError: if there are no such frames, or they are damaged.
        """
        held = self.scenes[scene]
        if not 0 <= start < stop <= held.n_frames:
            raise ValueError(
                f"expected frames within the {held.n_frames} of scene {held.name} in {self.path}, "
                f"got {start} to {stop}; sample the store anew"
            )
        try:
            stored = self._open()[self._datasets[scene]][start:stop]
        except (OSError, KeyError) as error:
            raise ValueError(
                f"expected sound frames {start} to {stop} of scene {held.name} in {self.path}, "
                f"got an error ({error}); render it again"
            ) from error
        # Half precision is slow to compare, single precision is not.
        piece = np.asarray(stored, dtype=np.float32)
        # Written so that NaN fails as well.
        if not (piece.min() >= 0 and piece.max() <= 1):
            raise ValueError(
                f"expected luminance in [0, 1] in scene {held.name} of {self.path}, got "
                f"{piece.min()} to {piece.max()} in frames {start} to {stop}; render it again"
            )
        return piece

    def verify(self) -> None:
        """Read everything once, a chunk at a time.

        Raises:
            ValueError: if anything is damaged, not finite or outside [0, 1].
        """
        for i, scene in enumerate(self.scenes):
            step = (self._open()[self._datasets[i]].chunks or (64,))[0]
            for start in range(0, scene.n_frames, step):
                self.read(i, start, min(start + step, scene.n_frames))

    def close(self) -> None:
        """Close the file in this process; reading opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def __enter__(self) -> MovieStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _open(self) -> h5py.File:
        # A handle inherited by a forked process is not its own: it opens the file itself.
        if self._file is None or self._process != os.getpid():
            file = h5py.File(self.path, "r")
            if file.attrs.get("fingerprint") != self.fingerprint:
                file.close()
                raise RuntimeError(
                    f"expected {self.path} as it was when it was first opened, got other movies; "
                    "it was rendered anew meanwhile: start again"
                )
            self._file, self._process = file, os.getpid()
        return self._file

    def _read_root(self, file: h5py.File) -> None:
        schema, version = file.attrs.get("schema"), file.attrs.get("schema_version")
        if schema != SCHEMA or version != SCHEMA_VERSION:
            raise ValueError(
                f"expected a store of schema {SCHEMA} version {SCHEMA_VERSION} in {self.path}, "
                f"got {str(schema)[:40]!r} version {str(version)[:40]!r}; render it again"
            )
        self.kind = str(file.attrs["kind"])
        self.designed = bool(file.attrs["designed"])
        self.fingerprint = str(file.attrs["fingerprint"])
        self.extent = self._whole(file.attrs["extent"], "extent", 0, MAX_EXTENT)
        for name in ("scenes", "rendering"):
            self._require_here(file, name, h5py.Group)
        self.rendering = {
            name: value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
            for name, value in file["rendering"].attrs.items()
        }

    def _read_scene(self, scenes: h5py.Group, name: str) -> list[StoredScene]:
        self._require_here(scenes, name, h5py.Group)
        group = scenes[name]
        rate = float(group.attrs["frame_rate"])
        if not 0 < rate <= MAX_FRAME_RATE:
            raise ValueError(
                f"expected a frame rate above 0 in {group.name} of {self.path}, got {rate}; "
                "render it again"
            )
        drop_first = self._whole(group.attrs["drop_first"], "drop_first", 0, 10**9)
        views = sorted((v for v in group if v.startswith("view_")), key=lambda v: int(v[5:]))
        found = []
        for view in views:
            self._require_here(group, view, h5py.Dataset)
            n_frames = self._require_luminance(group[view])
            self._datasets.append(group[view].name)
            found.append(
                StoredScene(str(group.attrs["name"]), int(view[5:]), n_frames, rate, drop_first)
            )
        return found

    def _require_here(self, group: h5py.Group, name: str, kind: type) -> None:
        """Refuse links: a store that leads into other files is not read."""
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink) or group.get(name, getclass=True) is not kind:
            raise ValueError(
                f"expected a {kind.__name__.lower()} {name} in {group.name} of {self.path}, got "
                f"{type(link).__name__ if link else 'nothing'}; do not trust this file, render "
                "it again"
            )

    def _require_luminance(self, dataset: h5py.Dataset) -> int:
        """Number of frames of a data set that can be read safely."""
        columns = HexLattice(self.extent).n_columns
        plist = dataset.id.get_create_plist()
        filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
        size = dataset.dtype.itemsize
        problem = None
        if dataset.is_virtual or dataset.external:
            problem = "a data set kept in other files"
        elif dataset.dtype.kind != "f" or size not in (2, 4):
            problem = f"dtype {dataset.dtype}"
        elif len(dataset.shape) != 2 or dataset.shape[0] < 1 or dataset.shape[1] != columns:
            problem = f"shape {dataset.shape}"
        elif not filters <= _FILTERS:
            problem = "an unknown filter"
        elif dataset.chunks and dataset.chunks[0] * dataset.chunks[1] * size > MAX_CHUNK_BYTES:
            problem = f"chunks {dataset.chunks}"
        elif (
            h5py.h5z.FILTER_DEFLATE not in filters
            and dataset.id.get_storage_size() < dataset.size * size
        ):
            problem = "fewer bytes than its shape needs"
        if problem:
            raise ValueError(
                f"expected chunked float16 or float32 (frames, {columns}) in {dataset.name} of "
                f"{self.path}, got {problem}; render it again"
            )
        return int(dataset.shape[0])

    def _whole(self, value: Any, name: str, low: int, high: int) -> int:
        whole = isinstance(value, (int, np.integer)) and low <= value <= high
        if not whole:
            raise ValueError(
                f"expected {name} from {low} to {high} in {self.path}, got {str(value)[:40]}; "
                "render it again"
            )
        return int(value)
