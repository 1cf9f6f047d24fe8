"""Trained parameters from network folders: the best checkpoint, and only a sound one."""

from __future__ import annotations

import json
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
from stimopt.networks.motion_circuit import motion_circuit_parameters, motion_circuit_spec
from tests.networks.circuits import write_circuit

CIRCUIT = Connectome.from_spec(motion_circuit_spec())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The built-in circuit in flyvis's format."""
    write_circuit(tmp_path)
    return tmp_path / "trained"


def rewrite(folder: Path, **changes: Any) -> None:
    """Put other tensors into the checkpoint; plain torch.save, as flyvis."""
    path = best_checkpoint(folder)
    network = torch.load(path, weights_only=True)["network"]
    torch.save({"network": {**network, **changes}}, path)


def number(folder: Path, losses: list[float], checkpoints: int) -> None:
    """Make a folder of the newer kind: numbered checkpoints and their validation losses."""
    for name in ("chkpts", "validation"):
        (folder / name).mkdir(exist_ok=True)
    for i in range(checkpoints):
        shutil.copy(folder / "best_chkpt", folder / "chkpts" / f"chkpt_{i:05d}")
    with h5py.File(folder / "validation" / "loss.h5", "w") as file:
        file["data"] = losses


def test_parameters_are_those_of_the_checkpoint(folder: Path) -> None:
    parameters, expected = read_trained(folder, CIRCUIT), motion_circuit_parameters()
    assert parameters.name == "/".join(folder.parts[-3:])
    for name in ("bias", "time_const", "syn_strength", "sign", "syn_count"):
        np.testing.assert_allclose(getattr(parameters, name), getattr(expected, name), rtol=1e-12)


def test_other_dynamics_are_refused(folder: Path) -> None:
    dynamics = {"type": "PPNeuronIGRSynapses", "activation": {"type": "relu"}}
    meta = folder / "_meta.yaml"
    meta.write_text(json.dumps({"config": {"network": {"dynamics": dynamics}}}))
    read_trained(folder, CIRCUIT)
    dynamics["activation"] = {"type": "tanh"}
    meta.write_text(json.dumps({"config": {"network": {"dynamics": dynamics}}}))
    with pytest.raises(ValueError, match=r"expected dynamics .*relu.* got .*tanh.*ModuleNetwork"):
        read_trained(folder, CIRCUIT)


@pytest.mark.parametrize("name", ["000", "001", "002", "003", "004"])
def test_published_networks_fit_the_published_connectome(
    trained_folder: Path, connectome_file: Path, name: str
) -> None:
    connectome = Connectome.from_json(connectome_file)
    parameters = read_trained(trained_folder / name, connectome)
    assert parameters.bias.shape == (65,)
    weight = parameters.tap_weight(connectome)
    # 2,266 non-zero taps in network 000 are a published fact of the file.
    assert np.count_nonzero(weight) == 2266 or name != "000"
    positive = connectome.signs[connectome.taps.pair] > 0
    assert (weight[positive] >= 0).all() and (weight[~positive] <= 0).all()


def test_the_checkpoint_with_the_smallest_loss_is_taken(folder: Path) -> None:
    number(folder, [5.2, 5.1], 2)
    assert best_checkpoint(folder).name == "chkpt_00001"
    number(folder, [5.0, 5.1], 2)
    assert best_checkpoint(folder).name == "chkpt_00000"


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([5.1], r"one validation loss for each of the 2 checkpoints .*, got 1"),
        ([5.1, float("nan")], "finite validation losses"),
        ([], "finite validation losses"),
    ],
)
def test_losses_that_do_not_fit_the_checkpoints_are_refused(
    folder: Path, losses: list[float], message: str
) -> None:
    number(folder, losses, 2)
    with pytest.raises(ValueError, match=message):
        best_checkpoint(folder)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"best_chkpt, or chkpts/chkpt_\*.* got neither"):
            read_trained(folder, CIRCUIT)


def test_no_pickle_is_executed(folder: Path) -> None:
    canary = folder / "executed"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(canary),)

    path = best_checkpoint(folder)
    torch.save({"network": {}, "validation_loss": Payload()}, path)
    with pytest.raises(ValueError, match=r"asks to run \w+\.mkdir\); nothing in it was executed"):
        read_trained(folder, CIRCUIT)
    assert not canary.exists()
    # The payload does work where pickles are run: the test would notice.
    torch.load(path, weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nodes_bias", torch.zeros(3), r"expected nodes_bias .* \(28\), got \(3,\)"),
        ("nodes_bias", torch.zeros(28, dtype=torch.int64), "floating-point"),
        ("nodes_bias", None, "floating-point tensor 'nodes_bias'"),
        ("nodes_time_const", torch.full((28,), torch.nan), "finite nodes_time_const"),
        ("nodes_time_const", torch.zeros(28), "positive time constants"),
        ("edges_sign", -torch.as_tensor(CIRCUIT.signs), "signs"),
        ("edges_syn_count", torch.zeros(len(CIRCUIT.taps)), "synapse counts"),
        ("edges_syn_count", torch.full((len(CIRCUIT.taps),), 1e6), "synapse counts"),
        ("edges_syn_strength", torch.full((len(CIRCUIT.pairs),), torch.inf), "finite"),
    ],
)
def test_impossible_values_are_refused(folder: Path, key: str, value: Any, message: str) -> None:
    rewrite(folder, **{key: value})
    with pytest.raises(ValueError, match=message):
        read_trained(folder, CIRCUIT)


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "text", "another tensor file"])
def test_a_damaged_checkpoint_is_refused(folder: Path, damage: str) -> None:
    path = best_checkpoint(folder)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "one bit":
        content[len(content) // 2] ^= 1  # Within a tensor.
    elif damage != "another tensor file":
        content = bytearray(b"" if damage == "empty" else b"not a checkpoint")
    path.write_bytes(content)
    if damage == "another tensor file":
        torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"expected .* got .*;"):
        read_trained(folder, CIRCUIT)
