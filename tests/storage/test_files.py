from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stimopt.storage.files import (
    BadFile,
    only_run_in,
    only_writer_of,
    reading,
    replace_text,
    replacing,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- written whole or not at all ------------------------------------------------------------------


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "table.csv"
    with replacing(path) as partial:
        partial.write_text("1,2", encoding="utf-8")
        assert partial.suffix == ".csv" and not path.exists()
    assert path.read_text(encoding="utf-8") == "1,2" and names(path.parent) == ["table.csv"]


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    replace_text(path, "old")
    with pytest.raises(RuntimeError, match="half"), replacing(path) as partial:
        partial.write_text("ne", encoding="utf-8")
        raise RuntimeError("half written")
    assert path.read_text(encoding="utf-8") == "old" and names(tmp_path) == ["a.txt"]


def test_an_error_of_the_disk_names_the_target(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"expected .*file/a.txt to be written whole, got .*;"):
        replace_text(tmp_path / "file" / "a.txt", "text")


def test_an_error_of_another_file_names_that_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, replacing(tmp_path / "a.txt"):
        (tmp_path / "source.png").read_bytes()
    assert error.value.filename == str(tmp_path / "source.png") and not names(tmp_path)


# -- one run at a time ----------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [only_run_in, only_writer_of])
def test_of_many_that_start_at_once_one_runs(lock: type[only_run_in], tmp_path: Path) -> None:
    inside, refused = [], []
    begin, end = threading.Barrier(8), threading.Event()

    def start() -> None:
        begin.wait()
        try:
            with lock(tmp_path / "out"):
                inside.append(1)
                end.wait()
        except ValueError:
            refused.append(1)
            if len(refused) == 7:
                end.set()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (len(inside), len(refused)) == (1, 7)
    with lock(tmp_path / "out"):
        pass


def test_a_refused_run_touches_nothing(tmp_path: Path) -> None:
    with only_run_in(tmp_path):
        abandoned = tmp_path / ".last.part-1234567890.ckpt"
        abandoned.touch()
        before = {path: path.stat() for path in tmp_path.iterdir()}
        with pytest.raises(ValueError, match="another run is at work"), only_run_in(tmp_path):
            pass
        assert {path: path.stat() for path in tmp_path.iterdir()} == before


def test_the_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    code = "\n".join(
        (
            "import sys; from stimopt.storage.files import only_run_in",
            f"with only_run_in({str(tmp_path)!r}): print('locked', flush=True); sys.stdin.read()",
        )
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match="another run is at work"), only_run_in(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
    with only_run_in(tmp_path):
        pass


def test_the_lock_of_a_file_leaves_no_trace(tmp_path: Path) -> None:
    with only_writer_of(tmp_path / "store.h5") as path:
        path.touch()
        with pytest.raises(ValueError, match="another run is at work"), only_writer_of(path):
            pass
    assert names(tmp_path) == ["store.h5"]


def test_half_written_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "checkpoints").mkdir()
    abandoned = tmp_path / "checkpoints" / f".last.part-{ended.pid}.ckpt"
    in_work = tmp_path / f".figure.part-{running.pid}.png"
    other = tmp_path / ".notes.part-two.txt"
    for path in (abandoned, in_work, other):
        path.write_bytes(b"half")
    with only_run_in(tmp_path):
        assert not abandoned.exists() and in_work.exists() and other.exists()
    running.communicate(b"\n")


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ValueError, match=r"expected an output.* got .*file.*; "):
            only_run_in(folder).__enter__()


# -- read with distrust ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "got"),
    [
        (KeyError("u"), r"got a damaged or foreign file \('u'\)"),
        (RuntimeError(), r"got a damaged or foreign file \(RuntimeError\)"),
        (OSError("first line\nsecond"), r"got a damaged or foreign file \(first line\)"),
        (ValueError("cannot read <a.B object at 0x7f3a>"), r"got .* file \(cannot read\)"),
        (FileNotFoundError(2, "No such file"), "got no file"),
    ],
)
def test_any_error_of_a_reader_names_the_file(error: Exception, got: str) -> None:
    message = rf"^expected a store .*s\.h5, {got}; render it again$"
    with pytest.raises(BadFile, match=message), reading("s.h5", "a store", "render it again"):
        raise error


def test_a_file_that_may_not_be_read_is_not_said_to_be_damaged() -> None:
    message = r"^expected a store in s\.h5, got a file that you may not read; fix its permissions$"
    with pytest.raises(BadFile, match=message), reading("s.h5", "a store", "remove it"):
        raise PermissionError(13, "Permission denied")


def test_an_error_that_names_the_file_already_passes() -> None:
    with pytest.raises(BadFile, match=r"^as it is$"), reading("s.h5", "a store", "render it again"):
        raise BadFile("as it is")
