"""Files made to deceive, through the command line: refused, nothing run, nothing written outside.

Each has a canary, and each test shows that the trap works where it is not refused.
"""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from stimopt.cli import main
from stimopt.results import result as results
from stimopt.runs.callbacks import _file_name
from tests.whole.circuits import network_options, write_circuit
from tests.whole.commandline import (
    Files,
    contents,
    generate_command,
    refusal,
    regularize_command,
    render_command,
    search_command,
)

Capture = pytest.CaptureFixture[str]
pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # Four steps are too few to find a greyer stimulus.
    pytest.mark.filterwarnings("ignore:expected a greyer stimulus"),
]


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


# -- pickles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "search"])
@pytest.mark.parametrize("place", ["beside", "within the record", "in place of it"])
def test_a_pickle_in_a_checkpoint_of_ours(
    command: str, place: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    canary = tmp_path / "executed"
    output = files.copied(command, tmp_path)
    path = output / "checkpoints" / "last.ckpt"
    held = torch.load(path, weights_only=True)
    if place == "beside":
        held["note"] = Payload(canary)
    elif place == "within the record":
        held["stimopt"]["settings"]["kind"] = Payload(canary)
    else:
        held = Payload(canary)
    torch.save(held, path)
    arguments = (
        generate_command(output) if command == "fit" else search_command(files.store, output)
    )
    before = (output / "result.h5").read_bytes()
    assert "nothing was executed" in refusal(arguments, capsys)
    assert not canary.exists()
    assert (output / "result.h5").read_bytes() == before
    torch.load(path, weights_only=False)
    assert canary.exists(), "the trap works"


def test_a_pickle_without_an_archive(files: Files, tmp_path: Path, capsys: Capture) -> None:
    canary = tmp_path / "executed"
    path = tmp_path / "bare.ckpt"
    path.write_bytes(pickle.dumps(Payload(canary)))
    line = refusal(generate_command(tmp_path / "out", f"--ckpt_path={path}"), capsys)
    assert "expected a checkpoint" in line and not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists(), "the trap works"


def test_a_pickle_in_a_trained_network(tmp_path: Path, capsys: Capture) -> None:
    canary = tmp_path / "executed"
    write_circuit(tmp_path / "net", change_tensors=lambda t: t.update(note=Payload(canary)))
    arguments = generate_command(tmp_path / "out", *network_options(tmp_path / "net"))
    assert "nothing was executed" in refusal(arguments, capsys)
    assert not canary.exists()


def test_a_pickle_in_an_array(tmp_path: Path, capsys: Capture) -> None:
    canary = tmp_path / "executed"
    array = np.empty(1, dtype=object)
    array[0] = Payload(canary)
    np.save(tmp_path / "movie.npy", array, allow_pickle=True)
    refusal(render_command(tmp_path / "movie.npy", tmp_path / "out.h5"), capsys)
    assert not canary.exists()
    np.load(tmp_path / "movie.npy", allow_pickle=True)
    assert canary.exists(), "the trap works"


def test_a_config_that_would_run_code(tmp_path: Path, capsys: Capture) -> None:
    canary = tmp_path / "executed"
    config = tmp_path / "config.yaml"
    config.write_text(f"output: !!python/object/apply:os.mkdir ['{canary}']\n", encoding="utf-8")
    refusal(["generate", f"--config={config}"], capsys)
    assert not canary.exists()
    yaml.load(config.read_text(encoding="utf-8"), yaml.UnsafeLoader)
    assert canary.exists(), "the trap works"


# -- links and paths out of the file --------------------------------------------------------------


def replaced(name: str, make: Callable[[h5py.Group, str, Path], None]) -> Callable[..., None]:
    def change(path: Path, secret: Path) -> None:
        with h5py.File(path, "r+") as file:
            group, _, last = name.rpartition("/")
            parent = file[group] if group else file
            del parent[last]
            make(parent, last, secret)

    return change


def external_link(group: h5py.Group, name: str, secret: Path) -> None:
    group[name] = h5py.ExternalLink(str(secret), "/secret")


def external_bytes(group: h5py.Group, name: str, secret: Path) -> None:
    group.create_dataset(name, shape=(4, 19), dtype="f4", external=[(str(secret), 0, 304)])


def virtual(group: h5py.Group, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((4, 19), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "secret", (4, 19))
    group.create_virtual_dataset(name, layout)


def to_itself(group: h5py.Group, name: str, secret: Path) -> None:
    group[name] = group


LINKS = {
    "a link to another file": external_link,
    "bytes of another file": external_bytes,
    "a view of another file": virtual,
    "a group within itself": to_itself,
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = np.full((4, 19), 0.25, dtype=np.float32)
    return tmp_path / "secret.h5"


@pytest.mark.parametrize("link", LINKS)
def test_a_store_that_leads_outside(
    link: str, files: Files, secret: Path, tmp_path: Path, capsys: Capture
) -> None:
    store = files.copied("store.h5", tmp_path)
    replaced("scenes/00000/view_0", LINKS[link])(store, secret)
    line = refusal(search_command(store, tmp_path / "out"), capsys)
    assert "render it again" in line and str(store) in line


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", ["stimulus", "cell_type"])
def test_a_result_that_leads_outside(
    link: str, name: str, files: Files, secret: Path, tmp_path: Path, capsys: Capture
) -> None:
    result = files.copied("search/result.h5", tmp_path)
    replaced(name, LINKS[link])(result, secret)
    line = refusal(regularize_command(result, tmp_path / "out"), capsys)
    assert line.startswith("expected") and str(result) in line


def test_the_links_work_where_they_are_not_refused(secret: Path, tmp_path: Path) -> None:
    for make in (external_link, virtual):
        with h5py.File(tmp_path / "trap.h5", "w") as file:
            make(file, "x", secret)
        with h5py.File(tmp_path / "trap.h5") as file:
            assert (file["x"][:] == 0.25).all()


def test_a_group_of_a_walk_that_is_another_file(
    files: Files, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "walk.h5"
    with h5py.File(path, "w") as file:
        file["naturalistic"] = h5py.ExternalLink(str(files.search / "result.h5"), "/")
    with h5py.File(path) as file:
        assert "schema" in file["naturalistic"].attrs, "the trap works"
    assert "ExternalLink" in refusal(regularize_command(path, tmp_path / "out"), capsys)
    with pytest.raises(ValueError, match="ExternalLink"):
        results.groups(path)


@pytest.mark.parametrize("name", ["../outside/1.png", "/outside/1.png", "a/../../outside/1.png"])
def test_a_zip_that_leads_outside(name: str, tmp_path: Path, capsys: Capture) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    picture = inside / "1.png"
    Image.fromarray(np.zeros((20, 60), dtype=np.uint8)).save(picture)
    with zipfile.ZipFile(inside / "movie.zip", "w") as archive:
        for i in range(4):
            member = zipfile.ZipInfo(name.replace("1", str(i)))  # `write` would mend the name
            archive.writestr(member, picture.read_bytes())
    before = contents(tmp_path)
    line = refusal(render_command(inside / "movie.zip", inside / "store.h5"), capsys)
    assert "do not trust this file" in line
    assert contents(tmp_path) == before


def test_scene_names_are_no_paths(files: Files, tmp_path: Path) -> None:
    """Names go into files as text; the one that becomes a file name loses its slashes."""
    output = files.copied("search", tmp_path)
    with h5py.File(output / "result.h5", "r+") as file:
        file["scene"][...] = "../../outside"
    start = regularize_command(output / "result.h5", tmp_path / "deep" / "out")
    assert main(start) == 0
    held = results.read(tmp_path / "deep" / "out" / "result.h5")
    held.variables["label"].values[0] = "../../outside"
    assert "/" not in _file_name(held, 0)


# -- bombs ----------------------------------------------------------------------------------------


def test_a_picture_that_declares_more_than_it_holds(tmp_path: Path, capsys: Capture) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "1.png")
    content = bytearray((tmp_path / "1.png").read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2  # width and height; 2.5e9 pixels
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(content)
    line = refusal(render_command(tmp_path, tmp_path / "store.h5"), capsys)
    assert "2500000000 pixels" in line or "50000 x 50000" in line


def test_a_zip_of_pictures_that_are_all_zeros(tmp_path: Path, capsys: Capture) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("0.png", "w", force_zip64=True) as member,
    ):
        for _ in range(257):
            member.write(bytes(2**20))
    assert (tmp_path / "bomb.zip").stat().st_size < 2**19
    line = refusal(render_command(tmp_path / "bomb.zip", tmp_path / "store.h5"), capsys)
    assert "at most" in line and "bytes" in line


@pytest.mark.parametrize("name", ["stimulus", "every"])
def test_a_result_that_unpacks_to_a_terabyte(
    name: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    result = files.copied("search/result.h5", tmp_path)
    with h5py.File(result, "r+") as file:
        if name in file:
            del file[name]
        file.create_dataset(name, (3, 10**9, 19), "f4", chunks=(1, 1000, 19), compression="gzip")
    line = refusal(regularize_command(result, tmp_path / "out"), capsys)
    assert "do not trust this file" in line


def test_a_checkpoint_that_unpacks_to_more(files: Files, tmp_path: Path, capsys: Capture) -> None:
    output = files.copied("fit", tmp_path)
    path = output / "checkpoints" / "last.ckpt"
    packed = tmp_path / "packed.ckpt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/999", bytes(2**24))
    line = refusal(generate_command(output, f"--ckpt_path={packed}"), capsys)
    assert "expected a checkpoint" in line and "unpack" in line
