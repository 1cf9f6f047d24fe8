from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from stimopt.storage.files import BadFile
from stimopt.storage.hdf5 import created, opened, plain_array


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["group/numbers"] = np.arange(6.0).reshape(2, 3)
        file["text"] = np.array(["T4c", "größe"], object)
    return tmp_path / "file.h5"


def change(path: Path, make: Callable[[h5py.File], Any]) -> None:
    with h5py.File(path, "r+") as file:
        make(file)


# -- links and other files ------------------------------------------------------------------------


def view_of_another(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (3,))
    file.create_virtual_dataset("group/x", layout)


LEADING_ELSEWHERE: dict[str, Callable[[h5py.File], Any]] = {
    "ExternalLink": lambda file: file.update({"group/x": h5py.ExternalLink("other.h5", "/secret")}),
    "SoftLink": lambda file: file.update({"group/x": h5py.SoftLink("/text")}),
    "second link": lambda file: file.update({"group/x": file["group"]}),
    "second link to": lambda file: file.update({"again": file["text"]}),
    "other files": view_of_another,
    "kept in other": lambda file: file.create_dataset(
        "group/x", shape=(3,), dtype="f8", external=[("other.h5", 0, 24)]
    ),
}


@pytest.mark.parametrize("problem", LEADING_ELSEWHERE)
def test_a_file_that_leads_elsewhere_is_refused(problem: str, path: Path) -> None:
    change(path, LEADING_ELSEWHERE[problem])
    message = rf"expected a file without links .*file\.h5, got .*{problem}"
    with pytest.raises(BadFile, match=message), opened(path):
        pytest.fail("it was opened")


def test_groups_that_double_at_every_level_are_refused_at_once(path: Path) -> None:
    def doubled(file: h5py.File) -> None:
        group = file["group"]
        for _ in range(60):
            deeper = group.create_group("left")
            group["right"] = deeper
            group = deeper

    change(path, doubled)
    with pytest.raises(BadFile, match="second link"), opened(path):
        pass


# -- arrays ---------------------------------------------------------------------------------------


def test_numbers_and_text_are_read(path: Path) -> None:
    with opened(path) as file:
        np.testing.assert_array_equal(plain_array(file["group/numbers"]), [[0, 1, 2], [3, 4, 5]])
        assert plain_array(file["text"]).tolist() == ["T4c", "größe"]


PACKED = {"chunks": (1, 1000), "compression": "gzip"}
UNTRUSTED: dict[str, Callable[[h5py.File], Any]] = {
    "10000000000": lambda file: file.create_dataset("x", (10**6, 10**10), "f4", **PACKED),
    # The number of its elements is zero for a machine of 64 bits.
    "4611686018427387904": lambda file: file.create_dataset("x", (2**62, 2**10), "f4", **PACKED),
    "filters": lambda file: file.create_dataset("x", (9, 9), "f4", compression="lzf"),
    "type": lambda file: file.create_dataset("x", (3,), [("a", "f4"), ("b", "i4")]),
    "no array": lambda file: file.create_dataset("x", data=h5py.Empty("f4")),
}


@pytest.mark.parametrize("problem", UNTRUSTED)
def test_an_array_that_is_not_plain_is_refused(problem: str, path: Path) -> None:
    change(path, UNTRUSTED[problem])
    with opened(path) as file, pytest.raises(BadFile, match=rf"/x of .*file\.h5, got .*{problem}"):
        plain_array(file["x"])


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "folder"])
def test_a_damaged_file_is_named(damage: str, path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        kept = {"empty": b"", "truncated": content[: len(content) // 2], "text": b"luminance"}
        path.write_bytes(kept[damage])
    message = r"expected a store .*file\.h5, got .*; render it again"
    with pytest.raises(BadFile, match=message), opened(path, "a store", "render it again"):
        pytest.fail("it was opened")


# -- a disk that fills up -------------------------------------------------------------------------


def test_what_is_created_is_an_ordinary_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((300, 70))
    with created(tmp_path / "a.h5") as (file, check):
        dataset = file.create_dataset("x", (0, 70), "f8", maxshape=(None, 70), chunks=(7, 70))
        for start in range(0, 300, 50):
            dataset.resize(start + 50, axis=0)
            dataset[start:] = values[start : start + 50]
            check()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["x"], values)


FULL_DISK = """
import resource, sys
import numpy as np
from stimopt.storage.hdf5 import created
limit, checked = int(sys.argv[2]), sys.argv[3] == "checked"
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
n_written = 0
try:
    with created(sys.argv[1]) as (file, check):
        group = file.create_group("views")
        for i in range(40):
            group.create_dataset(f"view_{i}", data=np.random.rand(9, 721), chunks=(9, 721))
            file.flush()
            n_written += 1
            if checked:
                check()
except OSError as error:
    print(error.errno, n_written)
"""
"""A file that may not grow stands for a disk that is full."""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of files")
@pytest.mark.parametrize("limit", [0, 2_000, 500_000])
@pytest.mark.parametrize("checked", ["checked", "unchecked"])
def test_a_full_disk_is_one_error_and_no_crash(limit: int, checked: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.h5"), str(limit), checked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    errno, n_written = map(int, done.stdout.split())
    assert errno == 27, "the file may not grow"
    assert n_written == 40 if checked == "unchecked" else n_written < 20
