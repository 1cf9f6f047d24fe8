"""Render a source of movies into a store: frame by frame, resumable, whole or not at all.

A scene is rendered into a part of its own in `OUT.h5.parts/`, which gets its name once it is
complete. The name tells the job and the contents of the scene's files, so a later run of the same
job uses exactly those parts that are still right. The store is put together from the parts and
renamed into place. Nothing in it depends on when or in how many runs it was rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from stimopt import expect
from stimopt.movies.eye import RenderSettings
from stimopt.movies.opening import open_source
from stimopt.movies.source import MovieSource, Scene
from stimopt.movies.store import SCHEMA, SCHEMA_VERSION
from stimopt.storage.files import only_writer_of, replacing
from stimopt.storage.hdf5 import created
from stimopt.storage.identity import sha256_of_values

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

    Killed at any moment and called again in the same way, it resumes after the last complete
    scene and writes the same file. An existing store of the same movies is left alone. Memory does
    not depend on the length of the movies.

    Args:
        source: a source, or what `open_source` opens: a path, `procedural` or `sintel`.
        out: the HDF5 file to write.
        settings: how to render; None takes the defaults.
        frame_rate: frames per second; None takes the source's own.
        dtype: `float32`, or `float16` for half the size and a precision of 0.0005.
        overwrite: replace another store at `out`, and another call's parts.
        progress: show a progress bar on the standard error.

    Returns:
        The path of the store.

    Raises:
        ValueError: for an unreadable source, another store at `out`, or if another process renders
            to `out`.
        OSError: if a file cannot be written.

    Example:
        >>> render("data/MPI-Sintel", "data/sintel.h5")  # doctest: +SKIP
    """
    out = Path(out)
    expect.one_of("dtype", dtype, DTYPES)
    expect.that(not out.is_dir(), "a file to write to", f"the folder {out}", "name a .h5 file")
    if not isinstance(source, MovieSource):
        source, frame_rate = open_source(source, frame_rate), None
    advice = "set it in the source"
    expect.that(frame_rate is None, "no frame rate beside an open source", frame_rate, advice)
    out.parent.mkdir(parents=True, exist_ok=True)
    job = _Job(source, settings or RenderSettings(), np.dtype(dtype), out)
    with only_writer_of(out):
        try:
            if not job.is_done():
                job.require_free(overwrite)
                with _bar(job.frame_counts(), progress) as advance:
                    for scene in range(len(source.scenes)):
                        job.render_scene(scene, advance)
                job.assemble()
            job.clear()
        finally:
            with suppress(OSError):
                job.folder.rmdir()  # stays where it has parts to resume from
    return out


class _Job:
    """One rendering: what it is of, and the files it goes through."""

    def __init__(
        self, source: MovieSource, settings: RenderSettings, dtype: np.dtype[Any], out: Path
    ) -> None:
        self.source, self.settings, self.dtype, self.out = source, settings, dtype, out
        self.folder = out.with_name(out.name + ".parts")
        self.rendering = source.record(settings)
        self.frame_shape = (int(self.rendering["views"]), settings.lattice.n_columns)
        self.plan = {
            "schema": [SCHEMA, SCHEMA_VERSION],
            "kind": source.kind,
            "rendering": self.rendering,
            "dtype": dtype.name,
            "scenes": [
                [s.name, s.frame_rate, [[f.name, f.size] for f in s.files]] for s in source.scenes
            ],
        }
        self._name = sha256_of_values(self.plan)[:16]
        self._digests: dict[int, tuple[str, ...]] = {}

    def is_done(self) -> bool:
        """Whether the store exists already, with these movies."""
        try:
            with h5py.File(self.out, "r") as file:
                return bool(file.attrs.get("fingerprint") == self.fingerprint())
        except OSError:
            return False

    def require_free(self, overwrite: bool) -> None:
        """Refuse to replace another store or another job's parts, or remove those parts."""
        expect.that(
            overwrite or not self.out.exists(),
            f"no other file at {self.out}",
            "one with other movies or settings",
            "choose another name, or overwrite it",
        )
        others = [p for p in self.folder.glob("[!.]*") if not p.name.startswith(self._name)]
        expect.that(
            overwrite or not others,
            f"parts of the same movies and settings in {self.folder}",
            "others half done",
            "delete that folder, choose another name, or overwrite",
        )
        for path in others:
            path.unlink()

    def frame_counts(self) -> list[int | None]:
        """Frames of every scene that the store will have, None where only reading tells."""
        dropped = int(self.rendering["drop_first"])
        counts = (scene.n_frames for scene in self.source.scenes)
        return [None if n is None else max(0, n - dropped) for n in counts]

    def render_scene(self, i: int, advance: Callable[[str, int], None]) -> None:
        """Render one scene into its part, unless it exists from unchanged files."""
        name = self.source.scenes[i].name
        if self._part(i).exists():
            advance(name, self._frames_in_part(i))
            return
        with replacing(self._part(i)) as partial, partial.open("wb") as stream:
            for frame in self.source.luminance(i, self.settings):
                expect.shape("a frame", frame, self.frame_shape, "yield (views, columns)")
                stream.write(np.ascontiguousarray(frame, self.dtype).data)
                advance(name, 1)
            expect.that(
                stream.tell(),
                f"more than {self.rendering['drop_first']} frames in scene {name}",
                "no more",
                "leave the scene out, or set drop_first to 0",
            )

    def assemble(self) -> None:
        """Put the parts together and the store into place."""
        store = self.folder / f"{self._name}-store.h5"
        with replacing(store) as partial, created(partial) as (file, check):
            file.attrs["schema"] = SCHEMA
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["kind"] = self.source.kind
            file.attrs["designed"] = self.source.designed
            file.attrs["extent"] = self.settings.extent
            file.attrs["fingerprint"] = self.fingerprint()
            file.create_group("rendering").attrs.update(self.rendering)
            scenes = file.create_group("scenes")
            for i, scene in enumerate(self.source.scenes):
                group = scenes.create_group(f"{i:05d}")
                self._describe_scene(group, i, scene)
                self._copy_part(group, i, check)
        store.replace(self.out)

    def clear(self) -> None:
        """Remove this job's parts, and what was half written when a run was killed."""
        for pattern in (f"{self._name}*", ".*"):
            for path in self.folder.glob(pattern):
                path.unlink()

    def fingerprint(self) -> str:
        """SHA-256 over the plan and the SHA-256 of every source file."""
        files = [self._digests_of(i) for i in range(len(self.source.scenes))]
        return sha256_of_values([self.plan, files])

    def _digests_of(self, i: int) -> tuple[str, ...]:
        """SHA-256 of the files of a scene, computed once."""
        if i not in self._digests:
            self._digests[i] = self.source.digests(i)
        return self._digests[i]

    def _part(self, i: int) -> Path:
        """Luminance of a scene `(frames, views, columns)`, as plain numbers one after another."""
        return self.folder / f"{self._name}-{i:05d}-{sha256_of_values(self._digests_of(i))[:16]}"

    def _frames_in_part(self, i: int) -> int:
        views, columns = self.frame_shape
        return self._part(i).stat().st_size // (views * columns * self.dtype.itemsize)

    def _describe_scene(self, group: h5py.Group, i: int, scene: Scene) -> None:
        dropped = int(self.rendering["drop_first"])
        group.attrs["name"] = _printable(scene.name)
        group.attrs["frame_rate"] = scene.frame_rate
        group.attrs["drop_first"] = dropped
        group.attrs["n_source_frames"] = self._frames_in_part(i) + dropped
        if scene.files:
            names = [_printable(file.name).encode() for file in scene.files]
            group["files"] = np.array(names, h5py.string_dtype("utf-8", max(map(len, names))))
            group["sha256"] = np.array([d.encode() for d in self._digests_of(i)], "S64")

    def _copy_part(self, group: h5py.Group, i: int, check: Callable[[], None]) -> None:
        views, columns = self.frame_shape
        n_frames = self._frames_in_part(i)
        chunk = max(1, min(256, n_frames, CHUNK_BYTES // (columns * self.dtype.itemsize)))
        datasets = [
            group.create_dataset(
                f"view_{view}",
                (n_frames, columns),
                self.dtype,
                chunks=(chunk, columns),
                fletcher32=True,
            )
            for view in range(views)
        ]
        with self._part(i).open("rb") as stream:
            for start in range(0, n_frames, chunk):
                piece = np.fromfile(stream, self.dtype, chunk * views * columns)
                piece = piece.reshape(-1, views, columns)
                for view, dataset in enumerate(datasets):
                    dataset[start : start + len(piece)] = piece[:, view]
                check()


def _printable(name: str) -> str:
    """A name in valid UTF-8: bytes of a file name that are not become escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def _bar(counts: Sequence[int | None], shown: bool) -> Iterator[Callable[[str, int], None]]:
    """A progress bar over frames; yields a function that adds a scene's frames to it."""
    total = None if None in counts else sum(n or 0 for n in counts)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("frames"))
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("rendering", total=total)

        def advance(name: str, n_frames: int) -> None:
            # Names are text, not mark-up: brackets in them mean nothing.
            bar.update(task, advance=n_frames, description=_printable(name).replace("[", "\\["))

        yield advance
