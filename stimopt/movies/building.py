"""Render a source of movies into a store: frame by frame, resumable, whole or not at all.

Every scene is rendered into a part of its own beside the store (`OUT.h5.parts/`), which gets its
name only once it is complete; the parts are then put together and the store renamed into place.
Nothing in the store depends on when or in how many runs it was made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from stimopt.movies.eye import RenderSettings
from stimopt.movies.opening import open_source
from stimopt.movies.source import MovieSource, Scene
from stimopt.movies.store import SCHEMA, SCHEMA_VERSION
from stimopt.storage.hdf5 import created

DTYPES = ("float32", "float16")

CHUNK_BYTES = 2**17
"""About 45 frames of 721 columns: two windows of flyvis's length."""


def render(
    source: str | Path | MovieSource,
    out: str | Path,
    settings: RenderSettings | None = None,
    *,
    frame_rate: float | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Render a source of movies into a movie store.

    Killed at any moment and called again in the same way, it goes on after the last complete
    scene and makes the same file. A store that is already there is left alone if it holds the
    same movies. Memory does not depend on the length of the movies.

    Args:
        source: a source, or what `open_source` opens: a path, or `procedural`.
        out: the HDF5 file to write.
        settings: how to render; None takes the defaults.
        frame_rate: frames per second; None takes what the source says.
        dtype: `float32`, or `float16` for half the size and a precision of 0.0005.
        overwrite: replace another store at `out`, and drop what another call left half done.
        progress: show a progress bar on the standard error.

    Returns:
        The path of the store.

    Raises:
        ValueError: for an unreadable source, or another store at `out`.
        RuntimeError: if another process renders to `out`.
    """
    out, settings = Path(out), settings or RenderSettings()
    if dtype not in DTYPES:
        raise ValueError(f"expected dtype of {DTYPES}, got {dtype!r}; choose one of them")
    if not isinstance(source, MovieSource):
        source = open_source(source, frame_rate)
    elif frame_rate is not None:
        raise ValueError(
            f"expected no frame rate beside an open source, got {frame_rate!r}; set it in the "
            "source"
        )
    if out.is_dir():
        raise ValueError(f"expected a file to write to, got the folder {out}; name a .h5 file")
    out.parent.mkdir(parents=True, exist_ok=True)
    job = _Job(source, settings, dtype, out)
    with _locked(out):
        if job.is_done():
            # Killed just before it could, an earlier run did not clear up.
            if job.has_begun() or not job.holds_parts():
                job.clear()
            return out
        if out.exists() and not overwrite:
            raise ValueError(
                f"expected no other file at {out}, got one with other movies or settings; "
                "choose another name, or overwrite it"
            )
        job.begin(overwrite)
        try:
            with _bar(job.frame_counts(), progress) as advance:
                for i in range(len(source.scenes)):
                    job.render_scene(i, advance)
            job.assemble()
        except Exception:
            # Not where it was interrupted: then the scene itself is at fault, and there is none
            # to go on from.
            if not job.holds_scenes():
                job.clear()
            raise
        job.clear()
    return out


class _Job:
    """One rendering: what it is made of, and the files it goes through."""

    def __init__(
        self, source: MovieSource, settings: RenderSettings, dtype: str, out: Path
    ) -> None:
        self.source, self.settings, self.dtype, self.out = source, settings, np.dtype(dtype), out
        self.folder = out.with_name(out.name + ".parts")
        self.record = source.record(settings)
        self.plan = {
            "schema": [SCHEMA, SCHEMA_VERSION],
            "kind": source.kind,
            "rendering": self.record,
            "dtype": dtype,
            "scenes": [
                [s.name, s.frame_rate, [[f.name, f.size] for f in s.files]] for s in source.scenes
            ],
        }
        self._digests: dict[int, tuple[str, ...]] = {}

    def is_done(self) -> bool:
        """Whether the store is there already, with these movies."""
        try:
            with h5py.File(self.out, "r") as file:
                found = file.attrs.get("fingerprint")
        except OSError:
            return False
        return bool(found == self.fingerprint())

    def has_begun(self) -> bool:
        """Whether an earlier run of the same job left its parts."""
        plan = self.folder / "plan.json"
        same = _ascii_json(self.plan)
        return plan.is_file() and plan.read_text(encoding="ascii", errors="replace") == same

    def holds_parts(self) -> bool:
        """Whether there are parts of any job; the plan is there before them and goes after them."""
        found = self.folder.iterdir() if self.folder.exists() else []
        return any(path.name != "plan.json.tmp" for path in found)

    def holds_scenes(self) -> bool:
        """Whether any scene is there to go on from."""
        return any(self.folder.glob("scene_*.h5"))

    def begin(self, overwrite: bool) -> None:
        """Make the folder of parts, or find it as an earlier run of the same job left it."""
        if self.has_begun():
            return
        if self.folder.exists():
            if self.holds_parts() and not overwrite:
                raise ValueError(
                    f"expected parts of the same movies and settings in {self.folder}, got others "
                    "half done; delete that folder, choose another name, or overwrite"
                )
            shutil.rmtree(self.folder)
        self.folder.mkdir()
        text = _ascii_json(self.plan)
        _write_whole(self.folder / "plan.json", lambda path: _write_text(path, text))

    def frame_counts(self) -> list[int | None]:
        """Frames of every scene in the store to be, None where only reading tells."""
        dropped = int(self.record["drop_first"])
        counts = (scene.n_frames for scene in self.source.scenes)
        return [None if n is None else max(0, n - dropped) for n in counts]

    def render_scene(self, scene: int, advance: Callable[[str, int], None]) -> None:
        """Render one scene into its part, unless it is there from unchanged files."""
        if self._has_part(scene):
            advance(self.source.scenes[scene].name, self.frame_counts()[scene] or 0)
            return
        _write_whole(self._part(scene), lambda path: self._write_part(path, scene, advance))

    def assemble(self) -> None:
        """Put the parts together and the store into place."""
        _write_whole(self.out, self._write_store, beside=self.folder / "store.h5.tmp")

    def clear(self) -> None:
        """Remove the parts."""
        if self.folder.exists():
            plan = self.folder / "plan.json"
            for path in self.folder.iterdir():
                if path != plan:
                    path.unlink()
            shutil.rmtree(self.folder)

    def fingerprint(self) -> str:
        """SHA-256 over the plan and the SHA-256 of every source file."""
        files = [self.digests(i) for i in range(len(self.source.scenes))]
        return hashlib.sha256(_ascii_json([self.plan, files]).encode("ascii")).hexdigest()

    def digests(self, scene: int) -> tuple[str, ...]:
        """SHA-256 of the files of a scene, computed once."""
        if scene not in self._digests:
            self._digests[scene] = self.source.digests(scene)
        return self._digests[scene]

    def _part(self, scene: int) -> Path:
        return self.folder / f"scene_{scene:05d}.h5"

    def _has_part(self, scene: int) -> bool:
        try:
            with h5py.File(self._part(scene), "r") as part:
                return bool(part.attrs.get("sha256") == json.dumps(self.digests(scene)))
        except OSError:
            return False

    def _write_part(self, path: Path, scene: int, advance: Callable[[str, int], None]) -> None:
        columns, views = self.settings.lattice.n_columns, int(self.record["views"])
        name = self.source.scenes[scene].name
        chunk = _chunk_frames(columns, self.dtype)
        with created(path) as (part, check):
            part.attrs["sha256"] = json.dumps(self.digests(scene))
            datasets = [
                part.create_dataset(
                    f"view_{view}",
                    (0, columns),
                    self.dtype,
                    maxshape=(None, columns),
                    chunks=(chunk, columns),
                    fletcher32=True,
                )
                for view in range(views)
            ]
            n_frames = 0
            for block in _blocks(self.source.luminance(scene, self.settings), chunk):
                for dataset, rows in zip(datasets, block, strict=True):
                    dataset.resize(n_frames + len(rows), axis=0)
                    dataset[n_frames:] = rows
                check()
                n_frames += block.shape[1]
                advance(name, block.shape[1])
            if not n_frames:
                raise ValueError(
                    f"expected more than {self.record['drop_first']} frames in scene {name}, got "
                    "no more; leave the scene out, or set drop_first to 0"
                )

    def _write_store(self, path: Path) -> None:
        with created(path) as (file, check):
            file.attrs["schema"] = SCHEMA
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["kind"] = self.source.kind
            file.attrs["designed"] = self.source.designed
            file.attrs["extent"] = self.settings.extent
            file.attrs["fingerprint"] = self.fingerprint()
            rendering = file.create_group("rendering")
            for name, value in self.record.items():
                rendering.attrs[name] = value
            scenes = file.create_group("scenes")
            for i, scene in enumerate(self.source.scenes):
                self._copy_part(scenes.create_group(f"{i:05d}"), i, scene, check)

    def _copy_part(
        self, group: h5py.Group, i: int, scene: Scene, check: Callable[[], None]
    ) -> None:
        with h5py.File(self._part(i), "r") as part:
            n_frames, columns = part["view_0"].shape
            chunk = min(n_frames, _chunk_frames(columns, self.dtype))
            group.attrs["name"] = _printable(scene.name)
            group.attrs["frame_rate"] = scene.frame_rate
            group.attrs["drop_first"] = int(self.record["drop_first"])
            group.attrs["n_source_frames"] = n_frames + int(self.record["drop_first"])
            for name in (f"view_{view}" for view in range(int(self.record["views"]))):
                dataset = group.create_dataset(
                    name,
                    (n_frames, columns),
                    self.dtype,
                    chunks=(chunk, columns),
                    fletcher32=True,
                )
                for start in range(0, n_frames, chunk):
                    dataset[start : start + chunk] = part[name][start : start + chunk]
                    check()
        if scene.files:
            names = [_printable(file.name).encode() for file in scene.files]
            group["files"] = np.array(names, h5py.string_dtype("utf-8", max(map(len, names))))
            group["sha256"] = np.array([d.encode() for d in self.digests(i)], "S64")


def _blocks(frames: Iterator[NDArray[np.float32]], length: int) -> Iterator[NDArray[np.float32]]:
    """Frames `(views, columns)` gathered to `(views, up to length, columns)`."""
    gathered: list[NDArray[np.float32]] = []
    for frame in frames:
        gathered.append(frame)
        if len(gathered) == length:
            yield np.stack(gathered, axis=1)
            gathered = []
    if gathered:
        yield np.stack(gathered, axis=1)


def _chunk_frames(columns: int, dtype: np.dtype[Any]) -> int:
    return max(1, min(256, CHUNK_BYTES // (columns * dtype.itemsize)))


def _write_whole(path: Path, write: Callable[[Path], None], beside: Path | None = None) -> None:
    """Write to a file beside `path`, see it to the disk, and rename it."""
    beside = beside or path.with_name(path.name + ".tmp")
    try:
        write(beside)
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")


def _ascii_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def _printable(name: str) -> str:
    """A name as UTF-8 can hold it: bytes of a file name that are none become escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the right to write `out`; the system lets go of it when the process ends."""
    # Imported here, so that all but rendering also works where there is no such lock.
    import fcntl

    path = out.with_name(out.name + ".lock")
    while True:
        stream = path.open("a")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            raise RuntimeError(
                f"expected to be alone in rendering to {out}, got another process at it; "
                "wait for it, or choose another name"
            ) from error
        # The holder before us removes the file as it leaves: then we hold a file without a name,
        # which keeps nobody out, and try again.
        try:
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                break
        except FileNotFoundError:
            pass
        stream.close()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        stream.close()


@contextmanager
def _bar(counts: Sequence[int | None], shown: bool) -> Iterator[Callable[[str, int], None]]:
    """A progress bar over frames; yields what moves it on by a number of frames of a scene."""
    total = None if None in counts else sum(n or 0 for n in counts)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("rendering", total=total)

        def advance(name: str, n_frames: int) -> None:
            # Names are text, not mark-up: brackets in them mean nothing.
            bar.update(task, advance=n_frames, description=_printable(name).replace("[", "\\["))

        yield advance
