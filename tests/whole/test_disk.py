"""Disks that are full, folders that cannot be written, files that vanish, and odd paths."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stimopt
from stimopt.cli import main
from stimopt.movies import MovieStore
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.movies.pictures import PictureFolder
from stimopt.runs.checkpointing import SafeCheckpointIO
from tests.networks.circuits import network_options, write_circuit
from tests.whole.commandline import (
    FORMULA,
    Files,
    contents,
    generate_command,
    refusal,
    regularize_command,
    render_command,
    search_command,
)
from tests.whole.forked import Forks
from tests.whole.inputs import write_movie

Capture = pytest.CaptureFixture[str]
pytestmark = [
    pytest.mark.filterwarnings("ignore:expected a greyer stimulus"),  # in four steps there is none
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
    """Leave no more than so many bytes; returns the file that takes the room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
        stream.truncate(max(0, stream.tell() - spare))
    return filler


def refused_for(reason: str, arguments: list[str], capsys: Capture) -> None:
    line = refusal(arguments, capsys)
    assert FORMULA.match(line) and reason in line, line


def require_readable(out: Path) -> None:
    """The last checkpoint and the result, if there are any, can be read."""
    assert not list(out.rglob("*.part-*"))
    if (out / "result.h5").exists():
        stimopt.read(out / "result.h5")
    if (out / "checkpoints" / "last.ckpt").exists():
        SafeCheckpointIO().load_checkpoint(out / "checkpoints" / "last.ckpt")


def require_equal(a: Path, b: Path, *names: str) -> None:
    """Two results agree in these variables."""
    one, other = stimopt.read(a), stimopt.read(b)
    for name in names:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("spare", [0, 12_000])
def test_a_full_disk_ends_a_fit(
    spare: int, files: Files, disk: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = disk / "out"
    assert main(generate_command(out)) == 0
    before = (out / "result.h5").read_bytes()
    more = generate_command(out, "--trainer.max_steps=40")
    filler = fill(disk, spare)
    refused_for("No space left", more, capsys)
    require_readable(out)
    assert (out / "result.h5").read_bytes() == before
    filler.unlink()
    assert main(more) == 0
    assert main(generate_command(tmp_path / "whole", "--trainer.max_steps=40")) == 0
    require_equal(out / "result.h5", tmp_path / "whole" / "result.h5", "stimulus", "losses")


def test_a_full_disk_ends_a_search(files: Files, disk: Path, capsys: Capture) -> None:
    out = disk / "out"
    arguments = search_command(
        files.store, out, "--data.batch_size=4", "--checkpoint_every_n_batches=1"
    )
    filler = fill(disk, 60_000)
    refused_for("No space left", arguments, capsys)
    require_readable(out)
    assert not (out / "result.h5").exists()
    filler.unlink()
    assert main(arguments) == 0
    names = ("sample", "peak_response", "stimulus")
    require_equal(out / "result.h5", files.search / "result.h5", *names)


@pytest.mark.parametrize("spare", [0, 6_000, 30_000])
def test_a_full_disk_ends_a_rendering(
    spare: int, files: Files, disk: Path, capsys: Capture
) -> None:
    filler = fill(disk, spare)
    arguments = render_command(files.movies, disk / "store.h5")
    refused_for("No space left", arguments, capsys)
    assert not (disk / "store.h5").exists() and not list(disk.rglob("*.tmp"))
    filler.unlink()
    assert main(arguments) == 0
    assert (disk / "store.h5").read_bytes() == files.store.read_bytes()
    assert [path.name for path in disk.iterdir()] == ["store.h5"]


def test_a_folder_that_cannot_be_written(files: Files, disk: Path, capsys: Capture) -> None:
    assert main(generate_command(disk / "out")) == 0
    before = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=20)
    for arguments in (
        generate_command(disk / "out", "--trainer.max_steps=9"),
        search_command(files.store, disk / "another" / "search"),
        render_command(files.movies, disk / "store.h5"),
        render_command(files.movies, disk / "deep" / "store.h5"),
    ):
        refused_for("Read-only", arguments, capsys)
    assert contents(disk) == before


LIMITED = """
import resource, sys
from stimopt.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
print("code", main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files")
def test_a_file_that_may_not_grow(tmp_path: Path, forks: Forks) -> None:
    """It stands for a full disk where none can be mounted."""
    out, script = tmp_path / "out", tmp_path / "limited.py"
    assert main(generate_command(out)) == 0
    before = (out / "result.h5").read_bytes()
    # In a process of its own, since the limit stays.
    script.write_text(LIMITED)
    printed = forks.script(script, *generate_command(out, "--trainer.max_steps=9"))
    assert printed.endswith("code 2\n"), printed
    require_readable(out)
    assert (out / "result.h5").read_bytes() == before


# -- files that vanish ----------------------------------------------------------------------------


def before_call(n: int, function: Callable[..., Any], act: Callable[[], object]) -> Any:
    """The function, before whose n-th call something happens."""
    count = 0

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == n:
            act()
        return function(*args, **kwargs)

    return watched


def test_a_picture_that_vanishes(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    movies, _ = write_movie(tmp_path / "in", "png")
    vanish = (movies / "frame_0004.png").unlink
    luminance = before_call(1, PictureFolder.luminance, vanish)
    monkeypatch.setattr(PictureFolder, "luminance", luminance)
    refused_for("frame_0004.png", render_command(movies, tmp_path / "store.h5"), capsys)
    assert not list(tmp_path.glob("store*"))


@pytest.mark.parametrize("fate", ["removed", "replaced"])
def test_a_store_that_vanishes_or_is_replaced(
    fate: str, files: Files, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = files.copied("store.h5", tmp_path), tmp_path / "out"
    read = MovieStore.read

    def from_a_fresh_start(opened: MovieStore, *args: int) -> Any:
        # Every reading opens the file anew, as it does in a worker process or after a restart.
        opened.close()
        return read(opened, *args)

    def act() -> None:
        if fate == "removed":
            store.unlink()
        else:
            movies, _ = write_movie(tmp_path / "in", "npy")
            assert main(render_command(movies, store, "--overwrite=true")) == 0

    monkeypatch.setattr(MovieStore, "read", before_call(4, from_a_fresh_start, act))
    refused_for("store.h5", search_command(store, out, "--data.batch_size=2"), capsys)
    assert not (out / "result.h5").exists()
    require_readable(out)


def test_an_output_folder_that_vanishes_is_made_again(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    vanish = before_call(1, StimulusDataModule.setup, lambda: shutil.rmtree(out))
    monkeypatch.setattr(StimulusDataModule, "setup", vanish)
    assert main(search_command(files.store, out, "--trainer.logger=false")) == 0
    require_equal(out / "result.h5", files.search / "result.h5", "peak_response")


# -- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["größe-été [a] {b}", "日本語 'a' \"b\"", "-dash a=b,c"])
def test_odd_paths(name: str, files: Files, tmp_path: Path) -> None:
    odd = tmp_path / name
    shutil.copytree(files.movies, odd / "movies" / name)
    write_circuit(odd / "net")
    network, store, result = network_options(odd / "net"), odd / f"{name}.h5", odd / "result.h5"
    assert main(render_command(odd / "movies" / name, store)) == 0
    assert main(search_command(store, odd, *network)) == 0
    assert str(stimopt.read(result)["store"][0, 0]) == str(store)
    assert main(regularize_command(result, odd / "out", *network)) == 0
    assert (odd / "out" / "T4c.png").exists()
