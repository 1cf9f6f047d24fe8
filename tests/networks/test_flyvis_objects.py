"""Networks from flyvis objects: real ones where flyvis is installed, alike ones elsewhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stimopt.networks.flyvis import SAFE_GLOBALS, best_checkpoint
from stimopt.networks.flyvis_objects import network_from_flyvis
from stimopt.networks.opening import flyvis_network
from stimopt.protocol import Protocol

has_flyvis = pytest.mark.skipif(
    importlib.util.find_spec("flyvis") is None,
    reason="flyvis is not installed (pip install flyvis==1.2.0)",
)


class View:
    """The part of a flyvis.NetworkView that is used, where flyvis itself is not installed."""

    def __init__(self, network: SimpleNamespace, name: str) -> None:
        self.network, self.name = network, name

    def init_network(self) -> SimpleNamespace:
        return self.network


def like_flyvis(folder: Path, **changes: Any) -> SimpleNamespace:
    """The parameters and the config of a flyvis.Network, straight from its checkpoint."""
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        state = torch.load(best_checkpoint(folder), map_location="cpu", weights_only=True)
    config = SimpleNamespace(
        connectome=SimpleNamespace(file="fib25-fib19_v2.2.json", extent=15, n_syn_fill=1),
        dynamics=SimpleNamespace(
            type="PPNeuronIGRSynapses", activation=SimpleNamespace(type="relu")
        ),
    )
    tensors = {k: torch.nn.Parameter(v) for k, v in state["network"].items()}
    return SimpleNamespace(config=config, **{**tensors, **changes})


def test_parameters_are_those_of_the_folder(trained_folder: Path, connectome_file: Path) -> None:
    folders = [trained_folder / "000", trained_folder / "001"]
    originals = [View(like_flyvis(folders[0]), "flow/0000/000"), like_flyvis(folders[1])]
    copy = network_from_flyvis(originals, connectome_file, extent=4)
    read = flyvis_network(folders, connectome_file, extent=4)
    assert copy.names == ("flow/0000/000", "flyvis.Network")
    assert copy.content_hash == read.content_hash
    whole = network_from_flyvis(originals[0], connectome_file)
    assert whole.lattice.extent == 15
    assert not any(p.requires_grad for p in whole.parameters())


def test_it_is_a_copy(trained_folder: Path, connectome_file: Path) -> None:
    network = like_flyvis(trained_folder / "000")
    copy = network_from_flyvis(network, connectome_file, extent=2)
    before = copy.bias.clone()
    with torch.no_grad():
        network.nodes_bias += 1
    assert torch.equal(copy.bias, before)
    assert not torch.equal(network_from_flyvis(network, connectome_file, extent=2).bias, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes_bias": torch.zeros(3)}, "expected nodes_bias"),
        ({"nodes_bias": torch.full((65,), torch.nan)}, "finite nodes_bias"),
        ({"edges_sign": torch.zeros(604)}, "signs"),
        ({"edges_syn_strength": None}, "edges_syn_strength"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    trained_folder: Path, connectome_file: Path, change: dict[str, Any], message: str
) -> None:
    network = like_flyvis(trained_folder / "000", **change)
    with pytest.raises(ValueError, match=message):
        network_from_flyvis(network, connectome_file, extent=2)


def test_other_dynamics_other_lattices_and_other_objects(
    trained_folder: Path, connectome_file: Path
) -> None:
    network = like_flyvis(trained_folder / "000")
    smaller = like_flyvis(trained_folder / "000")
    smaller.config.connectome.extent = 5
    with pytest.raises(ValueError, match="one connectome and extent"):
        network_from_flyvis([network, smaller], connectome_file)
    network.config.dynamics.activation.type = "softplus"
    with pytest.raises(ValueError, match="softplus"):
        network_from_flyvis(network, connectome_file)
    smaller.config.connectome.n_syn_fill = 0
    with pytest.raises(ValueError, match="n_syn_fill"):
        network_from_flyvis(smaller, connectome_file)
    with pytest.raises(TypeError, match=r"flyvis.NetworkView or a flyvis.Network, got Linear"):
        network_from_flyvis(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="empty list"):
        network_from_flyvis([])


@has_flyvis
def test_flyvis_objects_respond_as_in_flyvis(
    trained_folder: Path, connectome_file: Path, tmp_path: Path
) -> None:
    """A process of its own, as flyvis sets torch's default device, and a copy, as it writes."""
    root = tmp_path / "flyvis"
    network_folder = root / "results" / "flow" / "0000" / "000"
    shutil.copytree(trained_folder / "000", network_folder)
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    # Networks of the first release name a class and a column that flyvis 1.2.0 calls otherwise.
    meta = network_folder / "_meta.yaml"
    text = meta.read_text().replace("ConnectomeDir", "ConnectomeFromAvgFilters")
    meta.write_text(text.replace(', "edge_type"', ""))
    program = """
        import sys
        import numpy as np, torch
        import flyvis
        from flyvis.network.stimulus import Stimulus
        from stimopt.networks.flyvis_objects import network_from_flyvis
        from stimopt.networks.opening import flyvis_network

        view = flyvis.NetworkView("flow/0000/000")
        network = view.init_network()
        of_view, of_network = network_from_flyvis(view), network_from_flyvis(network)
        read = flyvis_network(flyvis.results_dir / "flow/0000/000")
        assert of_view.names == ("flow/0000/000",), of_view.names
        torch.manual_seed(0)
        noise = torch.rand(1, 12, 1, 721)
        stimulus = Stimulus(network.connectome, 1, 12)
        stimulus.zero()
        stimulus.add_input(noise)
        with torch.no_grad():
            voltages = network(stimulus(), 0.01, state=network.steady_state(1.0, 0.01, 1))
        np.savez(
            sys.argv[1], noise=noise[:, :, 0], voltages=voltages,
            types=np.array(network.connectome.nodes.type[:]).astype(str),
            hashes=[of_view.content_hash, of_network.content_hash, read.content_hash],
        )
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "output.npz")],
        env={**os.environ, "FLYVIS_ROOT_DIR": str(root)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    output = np.load(tmp_path / "output.npz")
    assert len(set(output["hashes"].tolist())) == 1
    network = flyvis_network(network_folder, connectome_file)
    assert network.content_hash == output["hashes"][0]
    voltages = network.respond(torch.from_numpy(output["noise"]), Protocol())[0]
    for cell_type in ("R1", "L1", "Mi9", "T4c", "T5a", "Lawf1"):
        cells = network.cells_of(cell_type)
        expected = output["voltages"][0][:, output["types"] == cell_type]
        # Both are float32 and sum in other orders, over 112 steps.
        np.testing.assert_allclose(voltages[:, cells[cells >= 0]], expected, atol=2e-5)
