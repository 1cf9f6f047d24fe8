"""Trained parameters from network folders: the best checkpoint, and nothing but a sound one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from stimopt.connectome import Connectome
from stimopt.networks.flyvis import best_checkpoint, read_trained


@pytest.fixture(scope="module")
def connectome(connectome_file: Path) -> Connectome:
    return Connectome.from_json(connectome_file)


@pytest.fixture
def copied(trained_folder: Path, tmp_path: Path) -> Path:
    """A writable copy of network 000."""
    folder = tmp_path / "000"
    shutil.copytree(trained_folder / "000", folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    """Put other tensors into the checkpoint of a copied network; plain torch.save, as flyvis."""
    path = best_checkpoint(folder)
    network = torch.load(path, map_location="cpu", weights_only=False)["network"]
    torch.save({"network": {**network, **changes}}, path)


@pytest.mark.parametrize("name", ["000", "001", "002", "003", "004"])
def test_both_layouts_fit_the_connectome(
    trained_folder: Path, connectome: Connectome, name: str
) -> None:
    parameters = read_trained(trained_folder / name, connectome)
    assert parameters.bias.shape == (65,)
    weight = parameters.tap_weight(connectome)
    # 2,266 non-zero taps in network 000 are a published fact of the file.
    assert np.count_nonzero(weight) == 2266 or name != "000"
    positive = connectome.signs[connectome.taps.pair] > 0
    assert (weight[positive] >= 0).all() and (weight[~positive] <= 0).all()


def test_the_checkpoint_with_the_smallest_loss_is_taken(copied: Path) -> None:
    shutil.copy(copied / "chkpts" / "chkpt_00000", copied / "chkpts" / "chkpt_00001")
    losses = copied / "validation" / "loss.h5"
    losses.unlink()
    with h5py.File(losses, "w") as file:
        file["data"] = [5.2, 5.1]
    assert best_checkpoint(copied).name == "chkpt_00001"
    with h5py.File(losses, "r+") as file:
        file["data"][...] = [5.0, 5.1]
    assert best_checkpoint(copied).name == "chkpt_00000"


def test_losses_and_checkpoints_must_match(copied: Path) -> None:
    shutil.copy(copied / "chkpts" / "chkpt_00000", copied / "chkpts" / "chkpt_00001")
    with pytest.raises(ValueError, match=r"2 checkpoints.*got 1"):
        best_checkpoint(copied)


def test_no_pickle_is_executed(copied: Path, connectome: Connectome) -> None:
    canary = copied / "executed"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(canary),)

    path = best_checkpoint(copied)
    torch.save({"network": {}, "validation_loss": Payload()}, path)
    with pytest.raises(ValueError, match="nothing was executed"):
        read_trained(copied, connectome)
    assert not canary.exists()
    # The payload does work where pickles are run: the test would notice.
    torch.load(path, weights_only=False)
    assert canary.exists()


def test_other_counts_are_refused_with_both_numbers(copied: Path, connectome: Connectome) -> None:
    rewrite(copied, nodes_bias=torch.zeros(64))
    with pytest.raises(ValueError, match=r"expected 65 .*got \(64,\)"):
        read_trained(copied, connectome)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nodes_time_const", torch.full((65,), float("nan")), "finite nodes_time_const"),
        ("nodes_time_const", torch.full((65,), -0.1), "positive time constants"),
        ("edges_sign", torch.ones(604), "signs"),
        ("edges_syn_count", torch.zeros(2355), "synapse counts"),
        ("edges_syn_count", torch.full((2355,), 1e6), "synapse counts"),
        ("edges_syn_strength", [1, 2], "tensor"),
        ("nodes_bias", torch.zeros(65, dtype=torch.int64), "floating-point"),
    ],
)
def test_impossible_values_are_refused(
    copied: Path, connectome: Connectome, key: str, value: Any, message: str
) -> None:
    rewrite(copied, **{key: value})
    with pytest.raises(ValueError, match=message):
        read_trained(copied, connectome)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "one bit", "text"])
def test_damaged_checkpoints_are_refused(copied: Path, connectome: Connectome, damage: str) -> None:
    path = best_checkpoint(copied)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    elif damage == "flipped":
        for i in range(100, 1000):
            content[i] ^= 0xFF
    elif damage == "one bit":
        content[len(content) // 2] ^= 1  # within the synapse counts
    else:
        content = bytearray(b"not a checkpoint")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected .* got .*;"):
        read_trained(copied, connectome)


def test_a_folder_without_a_checkpoint(tmp_path: Path, connectome: Connectome) -> None:
    with pytest.raises(ValueError, match="got neither"):
        read_trained(tmp_path, connectome)
