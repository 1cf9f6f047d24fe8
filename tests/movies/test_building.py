"""Rendering into a store: readable, whole or not at all, resumable, exclusive."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from stimopt.movies import (
    GeneratedStore,
    MovieSource,
    MovieStore,
    ProceduralMovies,
    ProceduralSettings,
    open_source,
    render,
)
from stimopt.movies.eye import RenderSettings, luminance
from stimopt.storage.files import only_writer_of
from tests.movies.cases import SMALL, ConstantSource, noise_frames, read_all, save_pictures

N_SCENES, N_FRAMES = 4, 20


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """A folder of scenes of grey pictures; its name has a space and no ASCII."""
    folder = tmp_path / "filme für mich"
    for scene in range(N_SCENES):
        save_pictures(folder / f"szene {scene}", noise_frames(N_FRAMES, scene), "{}.png")
    return folder


def quiet_render(source: Path | MovieSource | str, out: Path, **kwargs: Any) -> Path:
    return render(source, out, kwargs.pop("settings", SMALL), progress=False, **kwargs)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_store_is_readable_by_h5py_alone(movies: Path, tmp_path: Path) -> None:
    out = quiet_render(movies, tmp_path / "sub folder" / "störe.h5", frame_rate=30)
    with h5py.File(out) as file:
        assert file.attrs["schema"] == "stimopt-movies"
        assert file.attrs["schema_version"] == 1
        assert dict(file["rendering"].attrs) == SMALL.to_dict()
        assert list(file["scenes"]) == [f"{i:05d}" for i in range(N_SCENES)]
        for i, scene in enumerate(file["scenes"].values()):
            assert scene.attrs["name"] == f"szene {i}"
            assert scene.attrs["frame_rate"] == 30.0
            assert scene.attrs["n_source_frames"] == N_FRAMES
            expected = luminance(noise_frames(N_FRAMES, i)[1:], SMALL)
            for view in range(2):
                dataset = scene[f"view_{view}"]
                assert dataset.chunks is not None and dataset.dtype == np.float32
                np.testing.assert_array_equal(dataset[:], expected[view])
            files = [name.decode() for name in scene["files"][:]]
            assert files == [f"{k}.png" for k in range(1, N_FRAMES + 1)]
            digests = [
                hashlib.sha256((movies / f"szene {i}" / name).read_bytes()).hexdigest()
                for name in files
            ]
            assert [d.decode() for d in scene["sha256"][:]] == digests
    assert names(out.parent) == ["störe.h5"]
    with MovieStore(out) as store:
        assert (store.extent, store.designed, store.rendering) == (2, False, SMALL.to_dict())
        assert len(store.scenes) == 2 * N_SCENES
        scene = store.scenes[5]
        assert (scene.name, scene.view, scene.n_frames) == ("szene 2", 1, N_FRAMES - 1)
        assert (scene.frame_rate, scene.drop_first) == (30.0, 1)
        expected = luminance(noise_frames(N_FRAMES, 2)[1:], SMALL)[1]
        np.testing.assert_array_equal(store.read(5, 3, 9), expected[3:9])
        assert store.read(5, 3, 9).dtype == np.float32


def test_half_precision_halves_the_size(movies: Path, tmp_path: Path) -> None:
    with MovieStore(quiet_render(movies, tmp_path / "half.h5", dtype="float16")) as store:
        expected = luminance(noise_frames(N_FRAMES)[1:], SMALL)[0]
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
        for i, frames in enumerate(read_all(stored)):
            np.testing.assert_array_equal(frames, generated.read(i, 0, len(frames)))


def test_rerunning_leaves_a_finished_store_alone(movies: Path, tmp_path: Path) -> None:
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


def test_rejects_overwriting_a_foreign_file(movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis.h5"
    out.write_text("years of work")
    with pytest.raises(ValueError, match="expected no other file at"):
        quiet_render(movies, out)
    assert out.read_text() == "years of work"
    with pytest.raises(ValueError, match="expected a file to write to"):
        quiet_render(movies, tmp_path)


@pytest.mark.parametrize("break_after", [0, 1, 60, 99, 100, 101, 150, 399])
def test_an_interrupted_run_resumes_after_the_last_complete_scene(
    tmp_path: Path, break_after: int
) -> None:
    whole = quiet_render(ConstantSource(4, 100), tmp_path / "whole.h5").read_bytes()
    out = tmp_path / "broken.h5"
    with pytest.raises(KeyboardInterrupt):
        quiet_render(ConstantSource(4, 100, break_after), out)
    left = ["broken.h5.parts"] if break_after >= 100 else []
    assert names(tmp_path) == [*left, "whole.h5"]
    resumed = ConstantSource(4, 100)
    quiet_render(resumed, out)
    assert resumed.n_read == 400 - break_after // 100 * 100
    assert out.read_bytes() == whole
    assert names(tmp_path) == ["broken.h5", "whole.h5"]


def test_a_run_interrupted_while_it_puts_the_store_together_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quiet_render(ConstantSource(3, 10), tmp_path / "whole.h5").read_bytes()
    out, replace = tmp_path / "broken.h5", Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if target == out:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet_render(ConstantSource(3, 10), out)
    assert not out.exists()
    monkeypatch.undo()
    resumed = ConstantSource(3, 10)
    quiet_render(resumed, out)
    assert resumed.n_read == 0
    assert out.read_bytes() == whole


@pytest.mark.parametrize("done", [False, True])
def test_what_a_killed_run_left_is_cleared_up(tmp_path: Path, done: bool) -> None:
    out, parts = tmp_path / "out.h5", tmp_path / "out.h5.parts"
    with pytest.raises(KeyboardInterrupt):
        quiet_render(ConstantSource(2, 5, break_after=5), out)
    (part,) = parts.iterdir()
    (parts / f".{part.name}.part-99999").write_bytes(b"half")
    (tmp_path / "out.h5.lock").touch()
    if done:
        quiet_render(ConstantSource(2, 5), tmp_path / "same.h5").replace(out)
    quiet_render(ConstantSource(2, 5), out)
    assert names(tmp_path) == ["out.h5"]


def test_rejects_parts_of_another_job(movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        quiet_render(ConstantSource(4, 100, 250), out)
    parts = names(tmp_path / "out.h5.parts")
    with pytest.raises(ValueError, match="expected parts of the same movies"):
        quiet_render(movies, out)
    assert names(tmp_path / "out.h5.parts") == parts
    quiet_render(movies, out, overwrite=True)
    assert MovieStore(out).scenes[0].name == "szene 0"
    assert not (tmp_path / "out.h5.parts").exists()


def test_parts_of_another_job_survive_a_rerun_that_has_nothing_to_do(tmp_path: Path) -> None:
    out = quiet_render(ConstantSource(2, 5), tmp_path / "out.h5")
    with pytest.raises(KeyboardInterrupt):
        quiet_render(ConstantSource(4, 100, 250), out, overwrite=True)
    quiet_render(ConstantSource(2, 5), out)
    other = ConstantSource(4, 100)
    quiet_render(other, out, overwrite=True)
    assert other.n_read == 200
    assert len(MovieStore(out).scenes) == 8


def test_a_part_is_rendered_again_if_its_pictures_changed(movies: Path, tmp_path: Path) -> None:
    # The first scene is complete when the second one's broken picture ends the run; meanwhile a
    # picture of the first one changes, in pixels but not in size (bytes after a PNG are ignored).
    first, broken = movies / "szene 0" / "2.png", movies / "szene 1" / "5.png"
    first.write_bytes(first.read_bytes().ljust(4000, b"\0"))
    sound = broken.read_bytes()
    broken.write_bytes(sound[:100] + bytes(len(sound) - 100))
    out = tmp_path / "changed.h5"
    with pytest.raises(ValueError, match=r"szene 1/5\.png"):
        quiet_render(movies, out)
    assert len(names(tmp_path / "changed.h5.parts")) == 1
    broken.write_bytes(sound)
    frame = noise_frames(N_FRAMES)[1]
    frame[12, 24] ^= 0xFF
    Image.fromarray(frame).save(first)
    first.write_bytes(first.read_bytes().ljust(4000, b"\0"))
    quiet_render(movies, out)
    np.testing.assert_array_equal(
        MovieStore(out).read(0, 0, 1)[0], luminance(frame[None], SMALL)[0, 0]
    )
    assert not (tmp_path / "changed.h5.parts").exists()


def test_rejects_a_second_render_to_the_same_store(tmp_path: Path) -> None:
    source, out = ConstantSource(1, 1), tmp_path / "shared.h5"
    with (
        only_writer_of(out),
        pytest.raises(ValueError, match=r"shared\.h5, where another run is at work"),
    ):
        quiet_render(source, out, overwrite=True)
    assert source.n_read == 0 and names(tmp_path) == []


def test_memory_does_not_depend_on_the_length(tmp_path: Path) -> None:
    peaks = []
    for n_frames in (2_000, 20_000):
        tracemalloc.start()
        quiet_render(ConstantSource(1, n_frames), tmp_path / f"{n_frames}.h5")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 20,000 frames are 3 MB; a chunk of 256 frames is 39 kB.
    assert peaks[1] < peaks[0] + 100_000


def test_a_scene_without_frames_left_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "still.npy", noise_frames(1))
    with pytest.raises(ValueError, match="expected more than 1 frames in scene still"):
        quiet_render(tmp_path / "still.npy", tmp_path / "out.h5")
    assert names(tmp_path) == ["still.npy"]


def test_progress_is_shown(movies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    render(movies, tmp_path / "out.h5", SMALL)
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
