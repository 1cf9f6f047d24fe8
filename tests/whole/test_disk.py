"""Disks that are full, folders that cannot be written, files that vanish, and odd paths."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stimopt.cli import main
from stimopt.movies import MovieStore
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.movies.pictures import PictureFolder
from stimopt.results import result as results
from stimopt.runs.checkpointing import SafeCheckpointIO
from tests.whole.circuits import network_options, write_circuit
from tests.whole.commandline import (
    Files,
    generate_command,
    refusal,
    regularize_command,
    render_command,
    search_command,
)
from tests.whole.moviefiles import write_movie

Capture = pytest.CaptureFixture[str]
pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:expected a greyer stimulus"),
]

ROOM = 3_000_000
"""Bytes of the small disk: room for a finished run and its next checkpoint."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


def fill(disk: Path, spare: int = 0) -> Path:
    """Leave no more than so many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
        stream.truncate(max(0, stream.tell() - spare))
    return filler


def commands(command: str, files: Files, out: Path) -> tuple[list[str], list[str]]:
    """A command, and the same with more to do."""
    if command == "generate":
        argv = generate_command(out)
        return argv, [*argv, "--trainer.max_steps=40"]
    if command == "regularize":
        argv = regularize_command(files.search / "result.h5", out)
        return argv, [*argv, "--trainer.max_steps=40"]
    argv = search_command(files.store, out, "--data.batch_size=4", "--checkpoint_every=1")
    return argv, argv


def sound(out: Path) -> dict[str, bytes]:
    """The last checkpoint and the result, which can be read."""
    kept = {}
    for name in ("checkpoints/last.ckpt", "result.h5"):
        if (out / name).exists():
            kept[name] = (out / name).read_bytes()
            if name == "result.h5":
                results.read(out / name)
            else:
                SafeCheckpointIO().load_checkpoint(out / name)
    return kept


@pytest.mark.parametrize("command", ["generate", "regularize"])
@pytest.mark.parametrize("spare", [0, 12_000])
def test_a_full_disk_ends_a_fit_and_keeps_what_was_there(
    command: str, spare: int, files: Files, disk: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = disk / "out"
    first, more = commands(command, files, out)
    assert main(first) == 0
    before, held = sound(out), results.read(out / "result.h5")
    filler = fill(disk, spare)
    line = refusal(more, capsys)
    assert re.search(r"expected .* got .*; .*", line) and "No space left" in line, line
    assert sound(out)["result.h5"] == before["result.h5"]
    assert not list(out.rglob("*.part-*"))
    np.testing.assert_array_equal(results.read(out / "result.h5")["stimulus"], held["stimulus"])
    filler.unlink()
    assert main(more) == 0
    whole = commands(command, files, tmp_path / "whole")[1]
    assert main(whole) == 0
    a, b = results.read(out / "result.h5"), results.read(tmp_path / "whole" / "result.h5")
    assert a["losses"].shape[0] == 41
    np.testing.assert_array_equal(a["stimulus"], b["stimulus"])
    np.testing.assert_array_equal(a["losses"], b["losses"])


def test_a_full_disk_ends_a_search(files: Files, disk: Path, capsys: Capture) -> None:
    out = disk / "out"
    argv, _ = commands("search", files, out)
    filler = fill(disk, 60_000)
    line = refusal(argv, capsys)
    assert re.search(r"expected .* got .*; .*", line) and "No space left" in line, line
    sound(out)
    assert not (out / "result.h5").exists() and not list(out.rglob("*.part-*"))
    filler.unlink()
    assert main(argv) == 0
    a, b = results.read(out / "result.h5"), results.read(files.search / "result.h5")
    for name in ("sample", "peak_response", "stimulus"):
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("spare", [0, 30_000, 100_000])
def test_a_full_disk_ends_a_rendering(
    spare: int, files: Files, disk: Path, tmp_path: Path, capsys: Capture
) -> None:
    filler = fill(disk, spare)
    argv = render_command(files.movies, disk / "store.h5")
    line = refusal(argv, capsys)
    assert re.search(r"expected .* got .*; .*", line) and "No space left" in line, line
    assert not (disk / "store.h5").exists() and not list(disk.rglob("*.tmp"))
    filler.unlink()
    assert main(argv) == 0
    assert (disk / "store.h5").read_bytes() == files.store.read_bytes()
    assert [path.name for path in disk.iterdir()] == ["store.h5"]


def test_a_folder_that_cannot_be_written(files: Files, disk: Path, capsys: Capture) -> None:
    out = disk / "out"
    assert main(generate_command(out)) == 0
    assert main(search_command(files.store, disk / "search")) == 0
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=20)
    for argv in (
        generate_command(out, "--trainer.max_steps=9"),
        generate_command(disk / "new"),
        search_command(files.store, disk / "search"),
        search_command(files.store, disk / "another" / "search"),
        regularize_command(files.search / "result.h5", disk / "regularized"),
        render_command(files.movies, disk / "store.h5"),
        render_command(files.movies, disk / "deep" / "store.h5"),
    ):
        line = refusal(argv, capsys)
        assert re.search(r"expected .* got .*; .*", line) and "Read-only" in line, line
    assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


# A file that may not grow stands for a disk that is full where none can be mounted.
def test_a_file_that_may_not_grow(files: Files, tmp_path: Path) -> None:

    out = tmp_path / "out"
    assert main(generate_command(out)) == 0
    before = sound(out)
    # A process of its own: a fork of this one would wait for threads of torch that it has not.
    limited = (
        "import resource, sys; from stimopt.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", limited, *generate_command(out, "--trainer.max_steps=9")]
    assert subprocess.run(command, capture_output=True, timeout=200).returncode == 2
    assert sound(out) == before and not list(out.rglob("*.part-*"))


# -- files that vanish ----------------------------------------------------------------------------


def after(calls: int, function: Callable[..., Any], act: Callable[[], object]) -> Any:
    """The function, before whose n-th call something happens."""
    count = 0

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == calls:
            act()
        return function(*args, **kwargs)

    return watched


def test_a_picture_that_vanishes(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    movies, _ = write_movie(tmp_path / "in", "png")
    luminance = PictureFolder.luminance
    gone = movies / "frame_4.png"
    monkeypatch.setattr(PictureFolder, "luminance", after(1, luminance, gone.unlink))
    line = refusal(render_command(movies, tmp_path / "store.h5"), capsys)
    assert re.search(r"expected .* got .*; .*", line) and "frame_4.png" in line
    assert not list(tmp_path.glob("store*"))


def test_a_store_that_vanishes_or_is_replaced(
    files: Files, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every reading opens the file anew, as it does in a worker process or after a restart.
    read = MovieStore.read

    def from_a_fresh_start(store: MovieStore, *args: int) -> Any:
        store.close()
        return read(store, *args)

    for how in ("gone", "other"):
        store = files.copied("store.h5", tmp_path)

        def act(how: str = how, store: Path = store) -> None:
            if how == "gone":
                store.unlink()
            else:
                movies, _ = write_movie(tmp_path / "in", "npy")
                assert main(render_command(movies, store, "--overwrite=true")) == 0

        monkeypatch.setattr(MovieStore, "read", after(4, from_a_fresh_start, act))
        line = refusal(search_command(store, tmp_path / how, "--data.batch_size=2"), capsys)
        assert re.search(r"expected .* got .*; .*", line) and "store.h5" in line
        assert not (tmp_path / how / "result.h5").exists()
        sound(tmp_path / how)


def test_an_output_folder_that_vanishes_is_made_again(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    setup = StimulusDataModule.setup
    vanish = after(1, setup, lambda: shutil.rmtree(out))
    monkeypatch.setattr(StimulusDataModule, "setup", vanish)
    assert main(search_command(files.store, out, "--trainer.logger=false")) == 0
    a, b = results.read(out / "result.h5"), results.read(files.search / "result.h5")
    np.testing.assert_array_equal(a["peak_response"], b["peak_response"])


# -- paths ----------------------------------------------------------------------------------------

ODD = [
    "with spaces",
    "größe-été",
    "日本語",
    "[a] {b}",
    'quote\'s "two"',
    "-dash",
    "a=b,c",
]


@pytest.mark.parametrize("name", ODD)
def test_odd_paths(name: str, files: Files, tmp_path: Path) -> None:
    odd = tmp_path / name
    shutil.copytree(files.movies, odd / "movies" / name)
    write_circuit(odd / "net")
    store = odd / f"{name}.h5"
    assert main(render_command(odd / "movies" / name, store)) == 0
    network = network_options(odd / "net")
    assert main(search_command(store, odd / "search", *network)) == 0
    result = odd / "search" / "result.h5"
    assert str(results.read(result)["store"][0, 0]) == str(store)
    assert main(regularize_command(result, odd / "out", *network)) == 0
    assert (odd / "out" / "T4c.png").exists()
