"""Files made to deceive, through the command line: refused, nothing run, nothing written outside.

Where a trap could be run, its test shows that it works where it is not refused.
"""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import stimopt
from stimopt.cli import main
from tests.networks.circuits import write_circuit
from tests.whole.commandline import (
    Files,
    contents,
    generate_command,
    refusal,
    refused,
    regularize_command,
    render_command,
    search_command,
)

Capture = pytest.CaptureFixture[str]
pytestmark = [
    pytest.mark.filterwarnings("ignore:expected a greyer stimulus"),  # in four steps there is none
]


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "executed"


# -- code that would run --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["beside", "within the record", "in place of it"])
@pytest.mark.parametrize("command", ["fit", "search"])
def test_a_pickle_in_a_checkpoint(
    command: str, place: str, files: Files, canary: Path, tmp_path: Path, capsys: Capture
) -> None:
    output = files.copied(command, tmp_path)
    path = output / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    if place == "beside":
        saved["note"] = Payload(canary)
    elif place == "within the record":
        saved["stimopt"]["identity" if command == "fit" else "settings"]["kind"] = Payload(canary)
    else:
        saved = Payload(canary)
    torch.save(saved, path)
    make = generate_command(output) if command == "fit" else search_command(files.store, output)
    before = (output / "result.h5").read_bytes()
    assert "executed" in refusal(make, capsys)
    assert not canary.exists() and (output / "result.h5").read_bytes() == before
    torch.load(path, weights_only=False)
    assert canary.exists(), "the trap works"


def test_a_pickle_in_a_trained_network(canary: Path, tmp_path: Path, capsys: Capture) -> None:
    net = write_circuit(tmp_path / "net", change_tensors=lambda t: t.update(note=Payload(canary)))
    assert "executed" in refusal(generate_command(tmp_path / "out", *net), capsys)
    assert not canary.exists()


def test_a_pickle_without_an_archive(canary: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bare.ckpt"
    path.write_bytes(pickle.dumps(Payload(canary)))
    refused(generate_command(tmp_path / "out", f"--ckpt_path={path}"), capsys, "ckpt", tmp_path)
    pickle.loads(path.read_bytes())
    assert canary.exists(), "the trap works"


def test_a_pickle_in_an_array(canary: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "movie.npy"
    np.save(path, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    refused(render_command(path, tmp_path / "out.h5"), capsys, "movie.npy", tmp_path)
    np.load(path, allow_pickle=True)
    assert canary.exists(), "the trap works"


def test_a_config_that_would_run_code(canary: Path, tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"output: !!python/object/apply:os.mkdir ['{canary}']\n", encoding="utf-8")
    refusal(["generate", f"--config={config}"], capsys)
    assert not canary.exists()
    yaml.load(config.read_text(encoding="utf-8"), yaml.UnsafeLoader)
    assert canary.exists(), "the trap works"


# -- links and paths out of the file --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["store", "result", "optima"])
def test_a_link_to_another_file(kind: str, files: Files, tmp_path: Path, capsys: Capture) -> None:
    """The kinds of links are distinguished in `tests/storage`; here each reader refuses one."""
    place = {"store": "scenes/00000/view_0", "result": "stimulus", "optima": "naturalistic"}[kind]
    path = files.copied("store.h5" if kind == "store" else "search/result.h5", tmp_path)
    original = files.store if kind == "store" else files.search / "result.h5"
    with h5py.File(path, "w" if kind == "optima" else "r+") as file:
        if place in file:
            del file[place]
        file[place] = h5py.ExternalLink(str(original), "/" if kind == "optima" else place)
    with h5py.File(path) as file:
        assert len(file[place]), "the trap works"
    out = tmp_path / "out"
    command = search_command(path, out) if kind == "store" else regularize_command(path, out)
    refused(command, capsys, path.name, tmp_path)


@pytest.mark.parametrize("name", ["../outside/1.png", "/outside/1.png", "a/../../outside/1.png"])
def test_a_zip_that_leads_outside(name: str, tmp_path: Path, capsys: Capture) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    Image.fromarray(np.zeros((20, 60), dtype=np.uint8)).save(inside / "1.png")
    with zipfile.ZipFile(inside / "movie.zip", "w") as archive:
        for i in range(4):
            member = zipfile.ZipInfo(name.replace("1", str(i)))  # `write` would correct the name
            archive.writestr(member, (inside / "1.png").read_bytes())
    command = render_command(inside / "movie.zip", inside / "store.h5")
    refused(command, capsys, "movie.zip", tmp_path)


def test_a_cell_type_with_slashes_is_no_path(tmp_path: Path) -> None:
    name, network = "../../T4c", write_circuit(tmp_path / "net")
    connectome = tmp_path / "net" / "connectome.json"
    text = connectome.read_text(encoding="utf-8").replace('"T4c"', f'"{name}"')
    connectome.write_text(text, encoding="utf-8")
    before = contents(tmp_path)
    out = tmp_path / "deep" / "out"
    assert main(generate_command(out, *network, f"--model.cell_types={name}")) == 0
    written = [file for file in contents(tmp_path) if file not in before]
    assert written and all(file.startswith("deep/out/") for file in written)
    assert stimopt.read(out / "result.h5")["cell_type"].tolist() == [name]


# -- files that unpack to more --------------------------------------------------------------------


def test_a_picture_that_declares_more_than_it_holds(tmp_path: Path, capsys: Capture) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "1.png")
    content = bytearray((tmp_path / "1.png").read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2  # width and height; 2.5e9 pixels
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(content)
    refused(render_command(tmp_path, tmp_path / "store.h5"), capsys, "pixels|50000", tmp_path)


def test_a_zip_of_zeros(tmp_path: Path, capsys: Capture) -> None:
    bomb = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("0.png", "w", force_zip64=True) as member,
    ):
        for _ in range(257):
            member.write(bytes(2**20))
    assert bomb.stat().st_size < 2**19
    refused(render_command(bomb, tmp_path / "store.h5"), capsys, "bytes", tmp_path)


@pytest.mark.parametrize("name", ["stimulus", "every"])
def test_a_result_that_unpacks_to_a_terabyte(
    name: str, files: Files, tmp_path: Path, capsys: Capture
) -> None:
    result = files.copied("search/result.h5", tmp_path)
    with h5py.File(result, "r+") as file:
        if name in file:
            del file[name]
        file.create_dataset(name, (3, 10**9, 19), "f4", chunks=(1, 1000, 19), compression="gzip")
    command = regularize_command(result, tmp_path / "out")
    refused(command, capsys, "do not trust this file", tmp_path)


def test_a_checkpoint_that_unpacks_to_more(files: Files, tmp_path: Path, capsys: Capture) -> None:
    packed = tmp_path / "packed.ckpt"
    whole = files.fit / "checkpoints" / "last.ckpt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/999", bytes(2**24))
    command = generate_command(tmp_path / "out", f"--ckpt_path={packed}")
    refused(command, capsys, "packed.ckpt", tmp_path)
