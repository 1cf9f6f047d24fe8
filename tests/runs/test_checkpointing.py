"""Checkpoints: whole or not there, read once, and named when they do not fit."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from stimopt.networks.frozen import FrozenNetwork
from stimopt.runs.checkpointing import LastCheckpoint, SafeCheckpointIO, find_last
from stimopt.runs.trainer import fit
from stimopt.storage.files import BadFile
from stimopt.storage.identity import DifferentRun
from tests.optimize.cases import generator

CPU: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    SafeCheckpointIO().save_checkpoint({"step": 3, "x": torch.arange(5.0)}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_reads_what_it_wrote(path: Path) -> None:
    checkpoint = SafeCheckpointIO().load_checkpoint(path)
    assert checkpoint["step"] == 3 and torch.equal(checkpoint["x"], torch.arange(5.0))
    assert [other.name for other in path.parent.iterdir()] == ["a.ckpt"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        SafeCheckpointIO().save_checkpoint({"a lambda": lambda: None}, path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_checkpoint_read_ahead_is_handed_on_once(path: Path) -> None:
    reader = SafeCheckpointIO()
    ahead = reader.read_ahead(path)
    path.unlink()
    assert reader.load_checkpoint(str(path)) is ahead
    with pytest.raises(BadFile, match=r"a\.ckpt, got no file"):
        reader.load_checkpoint(path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(5.0).numpy().tobytes()) + 6] ^= 1
    path.write_bytes(content)


def inflate(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/999", bytes(2**20))


def replace_by(value: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "damaged or foreign"),
        (flip, "checksum"),
        (inflate, "unpack"),
        (replace_by([1, 2]), "got a list"),
        (replace_by({"a function": print}), r"\(it asks to run \S*print\)"),
        (replace_by({"a number": np.float64(1)}), r"\(it asks to run numpy\S+scalar\)"),
        (lambda path: path.write_text("text"), "damaged or foreign"),
        (lambda path: path.unlink(), "no file; check the path"),
    ],
)
def test_rejects_bad_files(path: Path, damage: Callable[[Path], Any], reason: str) -> None:
    damage(path)
    with pytest.raises(BadFile, match=f"(?s)expected a checkpoint.*{reason}"):
        SafeCheckpointIO().load_checkpoint(path)


def test_rejects_an_interval_below_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="steps between checkpoints"):
        LastCheckpoint(tmp_path, 0)


# -- a checkpoint that does not fit the run -------------------------------------------------------


@pytest.fixture
def folder(small_network: FrozenNetwork, tmp_path: Path) -> Path:
    """A run of four steps."""
    fit(generator(small_network, ["T4c"]), 4, tmp_path, checkpoint_every_n_steps=2, **CPU)
    return tmp_path


def change(folder: Path, act: Callable[[dict[str, Any]], Any]) -> Path:
    path = find_last(folder / "checkpoints")
    assert path is not None
    checkpoint = SafeCheckpointIO().load_checkpoint(path)
    act(checkpoint)
    SafeCheckpointIO().save_checkpoint(checkpoint, path)
    return path


@pytest.mark.parametrize(
    "act",
    [
        lambda c: c.pop("optimizer_states"),
        lambda c: c["stimopt"].pop("rng_state"),
        lambda c: c["state_dict"].update(stimulus=torch.zeros(3, 2)),
        lambda c: c.update(loops="none"),
    ],
)
def test_parts_that_do_not_fit_are_reported_with_the_file(
    folder: Path, small_network: FrozenNetwork, act: Callable[[dict[str, Any]], Any]
) -> None:
    path = change(folder, act)
    with pytest.raises(ValueError, match=r"expected a checkpoint of this run in .*last\.ckpt, got"):
        fit(generator(small_network, ["T4c"]), 8, folder, **CPU)
    assert path.is_file()


def test_another_run_is_reported_as_such(folder: Path, small_network: FrozenNetwork) -> None:
    with pytest.raises(DifferentRun, match="items"):
        fit(generator(small_network, ["T5a"]), 8, folder, **CPU)


def test_an_error_after_the_start_is_none_of_the_checkpoint(
    folder: Path, small_network: FrozenNetwork
) -> None:
    class Breaks(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit(generator(small_network, ["T4c"]), 8, folder, callbacks=[Breaks()], **CPU)
