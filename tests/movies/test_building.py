"""Rendering into a store: readable, whole or not at all, resumable, exclusive."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stimopt.movies import (
    GeneratedStore,
    MovieSource,
    MovieStore,
    ProceduralMovies,
    ProceduralSettings,
    Scene,
    open_source,
    render,
)
from stimopt.movies.eye import RenderSettings, luminance

SETTINGS = RenderSettings(extent=2, kernel_size=3, views=2, width_fraction=1.0, drop_first=1)
N_SCENES, N_FRAMES = 4, 20


def scene_frames(scene: int) -> np.ndarray:
    return np.random.default_rng(scene).integers(0, 256, (N_FRAMES, 24, 48), dtype=np.uint8)


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """A folder of scenes of grey pictures; its name has a space and no ASCII."""
    for scene in range(N_SCENES):
        folder = tmp_path / "filme für mich" / f"szene {scene}"
        folder.mkdir(parents=True)
        for i, frame in enumerate(scene_frames(scene), start=1):
            Image.fromarray(frame).save(folder / f"{i}.png")
    return tmp_path / "filme für mich"


def quiet_render(source: Path | MovieSource | str, out: Path, **kwargs: Any) -> Path:
    return render(source, out, kwargs.pop("settings", SETTINGS), progress=False, **kwargs)


class CountingSource(MovieSource):
    """Scenes of a constant value; counts the frames read, and can break off."""

    kind = "test"

    def __init__(self, n_scenes: int, n_frames: int, break_after: int | None = None) -> None:
        self.scenes = tuple(Scene(f"scene {i}", 24.0, n_frames) for i in range(n_scenes))
        self.read, self.break_after = 0, break_after

    def luminance(self, scene: int, settings: RenderSettings) -> Iterator[NDArray[np.float32]]:
        for i in range(self.scenes[scene].n_frames or 0):
            if self.read == self.break_after:
                raise KeyboardInterrupt
            self.read += 1
            yield np.full((2, 19), ((scene + 1) * (i + 1) % 101) / 101, dtype=np.float32)

    def digests(self, scene: int) -> tuple[str, ...]:
        return ()

    def record(self, settings: RenderSettings) -> dict[str, Any]:
        return {"extent": settings.extent, "views": 2, "drop_first": 0}


def test_a_store_is_readable_by_h5py_alone(movies: Path, tmp_path: Path) -> None:
    out = quiet_render(movies, tmp_path / "sub folder" / "störe.h5", frame_rate=30)
    with h5py.File(out) as file:
        assert file.attrs["schema"] == "stimopt-movies"
        assert file.attrs["schema_version"] == 1
        assert dict(file["rendering"].attrs) == SETTINGS.to_dict()
        assert list(file["scenes"]) == [f"{i:05d}" for i in range(N_SCENES)]
        for i, scene in enumerate(file["scenes"].values()):
            assert scene.attrs["name"] == f"szene {i}"
            assert scene.attrs["frame_rate"] == 30.0
            assert scene.attrs["n_source_frames"] == N_FRAMES
            expected = luminance(scene_frames(i)[1:], SETTINGS)
            for view in range(2):
                dataset = scene[f"view_{view}"]
                assert dataset.chunks is not None and dataset.dtype == np.float32
                np.testing.assert_array_equal(dataset[:], expected[view])
            names = [name.decode() for name in scene["files"][:]]
            assert names == [f"{k}.png" for k in range(1, N_FRAMES + 1)]
            digests = [
                hashlib.sha256((movies / f"szene {i}" / name).read_bytes()).hexdigest()
                for name in names
            ]
            assert [d.decode() for d in scene["sha256"][:]] == digests
    assert [p.name for p in out.parent.iterdir()] == ["störe.h5"]
    with MovieStore(out) as store:
        store.verify()
        assert (store.extent, store.designed, store.rendering) == (2, False, SETTINGS.to_dict())
        assert len(store.scenes) == 2 * N_SCENES
        scene = store.scenes[5]
        assert (scene.name, scene.view, scene.n_frames) == ("szene 2", 1, N_FRAMES - 1)
        assert (scene.frame_rate, scene.drop_first) == (30.0, 1)
        expected = luminance(scene_frames(2)[1:], SETTINGS)[1]
        np.testing.assert_array_equal(store.read(5, 3, 9), expected[3:9])
        assert store.read(5, 3, 9).dtype == np.float32


def test_half_precision_halves_the_size(movies: Path, tmp_path: Path) -> None:
    with MovieStore(quiet_render(movies, tmp_path / "half.h5", dtype="float16")) as store:
        expected = luminance(scene_frames(0)[1:], SETTINGS)[0]
        read = store.read(0, 0, N_FRAMES - 1)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, expected.astype(np.float16))
        np.testing.assert_allclose(read, expected, atol=0.0005)
    with pytest.raises(ValueError, match="expected dtype"):
        quiet_render(movies, tmp_path / "x.h5", dtype="float64")


def test_the_built_in_movies_are_the_same_with_and_without_a_file(tmp_path: Path) -> None:
    settings = ProceduralSettings(directions=2, edge_speeds=(38.0,), n_textures=1, seconds=0.7)
    out = quiet_render(ProceduralMovies(settings), tmp_path / "built-in.h5")
    with MovieStore(out) as stored:
        generated = GeneratedStore(settings, extent=2)
        assert stored.designed and stored.scenes == generated.scenes
        assert stored.kind == "procedural"
        for i, scene in enumerate(stored.scenes):
            np.testing.assert_array_equal(
                stored.read(i, 0, scene.n_frames), generated.read(i, 0, scene.n_frames)
            )


def test_the_same_call_again_leaves_the_store_alone(movies: Path, tmp_path: Path) -> None:
    out = quiet_render(movies, tmp_path / "out.h5")
    before, stamp = out.read_bytes(), out.stat().st_mtime_ns
    quiet_render(movies, out)
    assert out.stat().st_mtime_ns == stamp
    other = RenderSettings(2, 3, 1, 1.0)
    with pytest.raises(ValueError, match="expected no other file at"):
        quiet_render(movies, out, settings=other)
    assert out.read_bytes() == before
    assert MovieStore(quiet_render(movies, out, settings=other, overwrite=True)).scenes[0].view == 0
    assert out.read_bytes() != before
    # A picture that changed under the same name and size is noticed by its hash.
    picture = movies / "szene 1" / "7.png"
    changed = bytearray(picture.read_bytes())
    changed[-1] ^= 1
    picture.write_bytes(changed)
    with pytest.raises(ValueError, match="expected no other file at"):
        quiet_render(movies, out, settings=other)


def test_a_file_that_is_no_store_is_not_overwritten(movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis.h5"
    out.write_text("years of work")
    with pytest.raises(ValueError, match="expected no other file at"):
        quiet_render(movies, out)
    assert out.read_text() == "years of work"
    with pytest.raises(ValueError, match="expected a file to write to"):
        quiet_render(movies, tmp_path)


@pytest.mark.parametrize("break_after", [0, 1, 60, 99, 100, 101, 150, 399])
def test_a_run_broken_off_anywhere_goes_on_after_the_last_whole_scene(
    tmp_path: Path, break_after: int
) -> None:
    whole = quiet_render(CountingSource(4, 100), tmp_path / "whole.h5").read_bytes()
    out = tmp_path / "broken.h5"
    with pytest.raises(KeyboardInterrupt):
        quiet_render(CountingSource(4, 100, break_after), out)
    assert not out.exists()
    again = CountingSource(4, 100)
    quiet_render(again, out)
    assert again.read == 400 - break_after // 100 * 100
    assert out.read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.h5", "whole.h5"]


def test_a_run_broken_off_while_the_store_is_put_together_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quiet_render(CountingSource(3, 10), tmp_path / "whole.h5").read_bytes()
    out, replace = tmp_path / "broken.h5", Path.replace

    def broken(self: Path, target: Path) -> Path:
        if target == out:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        quiet_render(CountingSource(3, 10), out)
    assert not out.exists()
    monkeypatch.undo()
    again = CountingSource(3, 10)
    quiet_render(again, out)
    assert again.read == 0
    assert out.read_bytes() == whole


def test_parts_of_another_job_are_not_used(movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        quiet_render(CountingSource(4, 100, 250), out)
    parts = sorted((tmp_path / "out.h5.parts").iterdir())
    with pytest.raises(ValueError, match="expected parts of the same movies"):
        quiet_render(movies, out)
    assert sorted((tmp_path / "out.h5.parts").iterdir()) == parts
    quiet_render(movies, out, overwrite=True)
    assert MovieStore(out).scenes[0].name == "szene 0"


@pytest.mark.parametrize("left", [[], ["plan.json.tmp"], ["plan.json"]])
@pytest.mark.parametrize("done", [False, True])
def test_a_run_killed_as_it_began_or_cleared_up_goes_on(
    tmp_path: Path, left: list[str], done: bool
) -> None:
    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        quiet_render(CountingSource(2, 5, break_after=0), out)
    if done:
        quiet_render(CountingSource(2, 5), tmp_path / "same.h5").replace(out)
    parts = tmp_path / "out.h5.parts"
    plan = (parts / "plan.json").read_bytes()
    for path in parts.iterdir():
        path.unlink()
    for name in left:
        (parts / name).write_bytes(plan if name == "plan.json" else plan[:5])
    quiet_render(CountingSource(2, 5), out)
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"]


def test_parts_of_another_job_survive_a_store_that_is_done(tmp_path: Path) -> None:
    out = quiet_render(CountingSource(2, 5), tmp_path / "out.h5")
    with pytest.raises(KeyboardInterrupt):
        quiet_render(CountingSource(4, 100, 250), out, overwrite=True)
    quiet_render(CountingSource(2, 5), out)
    other = CountingSource(4, 100)
    quiet_render(other, out, overwrite=True)
    assert other.read == 200
    assert len(MovieStore(out).scenes) == 8


def test_a_part_is_made_again_if_its_pictures_changed(movies: Path, tmp_path: Path) -> None:
    # The first scene is done when the second one's broken picture ends the run; meanwhile a
    # picture of the first one changes, in pixels but not in size (bytes after a PNG are ignored).
    first, broken = movies / "szene 0" / "2.png", movies / "szene 1" / "5.png"
    first.write_bytes(first.read_bytes().ljust(4000, b"\0"))
    sound = broken.read_bytes()
    broken.write_bytes(sound[:100] + bytes(len(sound) - 100))
    out = tmp_path / "changed.h5"
    with pytest.raises(ValueError, match=r"szene 1/5\.png"):
        quiet_render(movies, out)
    assert (tmp_path / "changed.h5.parts" / "scene_00000.h5").exists()
    broken.write_bytes(sound)
    frame = scene_frames(0)[1]
    frame[12, 24] ^= 0xFF
    Image.fromarray(frame).save(first)
    first.write_bytes(first.read_bytes().ljust(4000, b"\0"))
    quiet_render(movies, out)
    np.testing.assert_array_equal(
        MovieStore(out).read(0, 0, 1)[0], luminance(frame[None], SETTINGS)[0, 0]
    )


SLOW_RENDER = """
import sys, time
from stimopt.movies import open_source, render
from stimopt.movies.eye import RenderSettings

source = open_source(sys.argv[1])
pictures = source.pictures

def slow(scene, start):
    for picture in pictures(scene, start):
        time.sleep(0.01)
        yield picture

source.pictures = slow
print("ready", flush=True)
render(source, sys.argv[2], RenderSettings(2, 3, 2, 1.0), progress=False)
"""


def start_slow_render(movies: Path, out: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RENDER, str(movies), str(out)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_killed_at_random_moments_it_makes_the_same_file(movies: Path, tmp_path: Path) -> None:
    whole = quiet_render(movies, tmp_path / "whole.h5").read_bytes()
    out = tmp_path / "killed.h5"
    kept = []
    # The whole takes 0.8 s at least, so the first run is killed in the midst of it; the others
    # may come to an end.
    for run in range(3):
        process = start_slow_render(movies, out)
        time.sleep(random.uniform(0.05, 0.35))
        process.send_signal(signal.SIGKILL)
        assert process.wait() in ((-signal.SIGKILL, 0) if run else (-signal.SIGKILL,))
        process.stdout.close()  # type: ignore[union-attr]
        if not out.exists():
            kept.append(len(list((tmp_path / "killed.h5.parts").glob("scene_*.h5"))))
    assert kept == sorted(kept)
    quiet_render(movies, out)
    assert out.read_bytes() == whole
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("killed.h5.")]


def test_a_second_render_to_the_same_store_says_so(movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared.h5"
    process = start_slow_render(movies, out)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "shared.h5.parts" / "plan.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        second = CountingSource(1, 1)
        with pytest.raises(RuntimeError, match="expected to be alone in rendering"):
            quiet_render(second, out, overwrite=True)
        assert second.read == 0
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    assert out.read_bytes() == quiet_render(movies, tmp_path / "alone.h5").read_bytes()
    assert sorted(p.name for p in tmp_path.glob("shared*")) == ["shared.h5"]


def test_memory_does_not_depend_on_the_length(tmp_path: Path) -> None:
    peaks = []
    for n_frames in (2_000, 20_000):
        tracemalloc.start()
        quiet_render(CountingSource(1, n_frames), tmp_path / f"{n_frames}.h5")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 20,000 frames are 3 MB; what is held is a chunk of 256.
    assert peaks[1] < peaks[0] + 100_000


def test_a_scene_without_frames_left_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "still.npy", scene_frames(0)[:1])
    with pytest.raises(ValueError, match="expected more than 1 frames in scene still"):
        quiet_render(tmp_path / "still.npy", tmp_path / "out.h5")


def test_progress_is_shown(movies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    render(movies, tmp_path / "out.h5", SETTINGS)
    shown = capfd.readouterr()
    assert not shown.out
    assert f"{N_SCENES * (N_FRAMES - 1)}/{N_SCENES * (N_FRAMES - 1)} frames" in shown.err
    assert f"szene {N_SCENES - 1}" in shown.err


def test_the_film_scenes_are_rendered_whole(shared: Path, tmp_path: Path) -> None:
    scene = shared / "data/sintel-clip/training/final/chase_1"
    out = render(scene, tmp_path / "chase.h5", progress=False)
    with MovieStore(out) as store:
        assert [(s.name, s.n_frames) for s in store.scenes] == [("chase_1", 30)] * 3
        with h5py.File(shared / "reference/flyvis-1.2.0.h5") as recorded:
            expected = recorded["search/sample_000/stimulus"][0]
        np.testing.assert_allclose(store.read(0, 0, 1)[0], expected, rtol=0, atol=1e-6)
    source = open_source(shared / "data/sintel-clip")
    assert [s.n_frames for s in source.scenes] == [31, 37, 47, 47, 44, 42]
