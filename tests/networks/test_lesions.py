"""Lesions against flyvis, against the equation with dense matrices, and by what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from stimopt.connectome import Connectome
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.flyvis import best_checkpoint
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.lesions import find_lesions
from stimopt.networks.motion_circuit import motion_circuit_spec
from stimopt.networks.opening import NetworkSource, builtin_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol
from stimopt.runs.trainer import fit, run_search
from stimopt.search.naturalistic import NaturalisticSearch
from tests.dynamics.dense_step import simulate_dense

RECORDED = Path(__file__).with_name("recorded-lesions.h5")


@pytest.fixture(scope="module")
def circuit() -> Connectome:
    return Connectome.from_spec(motion_circuit_spec())


def rising_edge(network: FrozenNetwork) -> torch.Tensor:
    """An ON edge moving up by 40 columns a second, as flyvis was shown it."""
    time = 0.01 * np.arange(1, 51)
    y = -(network.lattice.u + 0.5 * network.lattice.v)
    return torch.tensor(np.where(y <= -10 + 40 * time[:, None], 1.0, 0.25), dtype=torch.float32)


def test_voltages_are_those_of_flyvis_with_the_same_strengths_set_to_zero(
    real_network: FrozenNetwork,
) -> None:
    with h5py.File(RECORDED) as file:
        expected = {name: file[name][()] for name in file if name != "cell_types"}
        cell_types = file["cell_types"].asstr()[()]
    lesions = [name for name in expected if name != "intact"]
    assert len(lesions) == 4
    lesioned = real_network.lesion(lesions)
    cells = torch.tensor([lesioned.cell_index(name) for name in cell_types])
    luminance = rising_edge(lesioned).expand(5, -1, -1)
    voltages = lesioned.respond(luminance, Protocol(), cells, torch.arange(5))
    for name, values in zip(["intact", *lesions], voltages, strict=True):
        np.testing.assert_allclose(values, expected[name], atol=1e-4, rtol=0, err_msg=name)


def test_a_lesioned_circuit_is_the_dense_equation_without_those_synapses() -> None:
    network = builtin_network(2).lesion("Mi9>T4c+Mi1").double()
    luminance = torch.rand((1, 30, 19), generator=torch.Generator().manual_seed(0)).double()
    state = torch.zeros((1, network.n_cells)).double()
    voltages = network.respond(
        luminance, Protocol(), network_index=torch.tensor([1]), initial_state=state
    )
    taps, types = network.connectome.taps, np.array(network.connectome.cell_types)
    source, target = types[taps.source], types[taps.target]
    weight = network.tap_weight[0].numpy().copy()
    weight[(source == "Mi1") | ((source == "Mi9") & (target == "T4c"))] = 0
    parameters = (network.bias[0], network.time_const[0], weight)
    expected = simulate_dense(
        network.connectome, network.lattice, parameters, luminance[0], state[0], 0.01
    )
    torch.testing.assert_close(voltages[0], expected, atol=1e-10, rtol=0)


def test_lesions_are_parameter_sets_after_the_intact_ones(small_network: FrozenNetwork) -> None:
    before = small_network.content_hash
    both = small_network.lesion("Mi9>T4c").lesion(["Tm3", "Mi4>T4c"])
    assert both.names == (
        "builtin",
        "builtin without Mi9>T4c",
        "builtin without Tm3",
        "builtin without Mi4>T4c",
        "builtin without Mi9>T4c without Tm3",
        "builtin without Mi9>T4c without Mi4>T4c",
    )
    # The original is as it was; a part of a network is that part.
    assert small_network.content_hash == before == both.select([0]).content_hash
    assert small_network.names == ("builtin",)
    assert both.select([3]).content_hash == small_network.lesion("Mi4>T4c").select([1]).content_hash
    both.tap_weight.zero_()
    assert small_network.content_hash == before


def names(lesions: str | list[str], connectome: Connectome) -> list[str]:
    return [lesion.name for lesion in find_lesions(lesions, connectome)]


def test_all_stands_for_every_type_in_turn(circuit: Connectome) -> None:
    onto = ["Mi1>T4c", "Tm3>T4c", "Mi4>T4c", "Mi9>T4c", "C3>T4c", "CT1(M10)>T4c"]
    assert names("all>T4c", circuit) == onto
    assert names("Mi9>all", circuit) == ["Mi9>Mi4", *(f"Mi9>T4{x}" for x in "abcd")]
    # T4 and T5 have no synapses in this circuit, so that silencing them is no lesion.
    assert names("all", circuit) == list(circuit.cell_types[:-8])
    assert len(names("all>all", circuit)) == len(circuit.pairs)
    pairs = names("Mi9>T4c+all>T4c", circuit)
    assert pairs == [f"Mi9>T4c+{other}" for other in onto if other != "Mi9>T4c"]


def test_a_silenced_type_is_the_cut_of_all_its_pathways(circuit: Connectome) -> None:
    (silenced,) = find_lesions("Mi9", circuit)
    one_by_one = find_lesions("Mi9>all", circuit)
    assert (silenced.taps == np.any([lesion.taps for lesion in one_by_one], axis=0)).all()
    assert sum(lesion.taps.sum() for lesion in one_by_one) == silenced.taps.sum() > 0


@pytest.mark.parametrize(
    ("lesions", "message"),
    [
        ("mi9>T4c", r"cell type to lesion as one of .*got 'mi9'; did you mean 'Mi9'\?"),
        ("Mi9>T4x", "got 'T4x'; did you mean 'T4a'"),
        ("Mi9>T4c+", "got ''"),
        ("Mi9>T5c", r"a pathway to cut as one of 'Mi9>Mi4'.*got 'Mi9>T5c'; did you mean"),
        ("T4c", "expected synapses from T4c, got none"),
        ("Mi9>T4c, Mi9>T4c", "listed once each, got Mi9>T4c twice"),
        (["Mi9>T4c+Mi4>T4c", "Mi4>T4c+Mi9>T4c"], "listed once each"),
        ("Mi9+Mi9", r"different parts, got Mi9\+Mi9"),
        ([], "at least one lesion"),
    ],
)
def test_bad_lesions_are_refused(
    circuit: Connectome, lesions: str | list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_lesions(lesions, circuit)


def test_a_config_adds_lesions() -> None:
    network = NetworkSource(extent=1, lesions="all>T4c, Tm3").open()
    assert network.n_networks == 8 and network.names[-1] == "builtin without Tm3"


def test_a_fit_of_a_cell_that_a_lesion_cuts_off_from_light_is_refused() -> None:
    network = builtin_network(2).lesion("L1>Mi1")
    assert network.unreached(["Mi1", "T4c"], [0]) == []
    assert network.unreached(["Mi1", "T4c"], [1]) == ["Mi1"]
    generator = StimulusGenerator(network, "Mi1", networks=[1], t_stim=0.1)
    with pytest.raises(RuntimeError, match=r"none for Mi1; .*receptors"):
        fit(generator, steps=1, accelerator="cpu", enable_progress_bar=False)
    # Beside other items it stops alone.
    several = StimulusGenerator(network, "Mi1,T4c", t_stim=0.1)
    with pytest.warns(UserWarning, match="none for Mi1-builtin without L1>Mi1-1, which stay"):
        result = fit(several, steps=1, accelerator="cpu", enable_progress_bar=False)
    assert ["no gradient" in reason for reason in result["stop_reason"]] == [
        False,
        False,
        True,
        False,
    ]


def test_a_search_names_the_lesion_that_cuts_a_cell_off_from_light() -> None:
    search = NaturalisticSearch(builtin_network(2).lesion("L1>Mi1"), cell_types="Mi1,T4c")
    data = StimulusDataModule(extent=2, stop_sample=4, batch_size=4)
    with pytest.warns(UserWarning, match=r"photoreceptors to Mi1-builtin without L1>Mi1-1: every"):
        run_search(search, data, enable_progress_bar=False, accelerator="cpu")


@pytest.mark.skipif(find_spec("flyvis") is None, reason="pip install flyvis==1.2.0")
def test_an_installed_flyvis_gives_the_recorded_values(
    real_network: FrozenNetwork, trained_folder: Path, tmp_path: Path
) -> None:
    # In a process of its own, as importing flyvis changes torch's default device.
    script = """
import sys, h5py, numpy as np, torch
from flyvis.network import Network
from stimopt.networks.flyvis import SAFE_GLOBALS
checkpoint, recorded, movie = sys.argv[1:]
network = Network()
with torch.serialization.safe_globals(SAFE_GLOBALS):
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
network.load_state_dict(stored["network"])
names = network.connectome.unique_cell_types[:].astype(str).tolist()
centre = network.connectome.central_cells_index[:]
movie, strength = torch.tensor(np.load(movie))[None, :, None], network.edges_syn_strength.data
with h5py.File(recorded) as file, torch.no_grad():
    kept = [names.index(name) for name in file["cell_types"].asstr()[()]]
    for lesion in file.keys() - {"cell_types"}:
        intact = strength.clone()
        for i, (source, target) in enumerate(network.edge_params["syn_strength"].keys):
            if {source, f"{source}>{target}"} & set(lesion.split("+")):
                strength[i] = 0
        state = network.steady_state(1.0, 0.01, 1, value=0.5)
        voltages = network.simulate(movie, 0.01, initial_state=state)[0][:, centre[kept]]
        np.testing.assert_allclose(voltages.cpu(), file[lesion][()], atol=1e-4)
        strength.copy_(intact)
"""
    np.save(tmp_path / "movie.npy", rising_edge(real_network).numpy())
    arguments = (best_checkpoint(trained_folder / "000"), RECORDED, tmp_path / "movie.npy")
    environment = {**os.environ, "FLYVIS_ROOT_DIR": str(tmp_path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    subprocess.run(command, check=True, env=environment)
