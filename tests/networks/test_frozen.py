from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.protocol import Protocol
from tests.dynamics.dense_step import simulate_dense


def central_cells(network: FrozenNetwork, recorded: h5py.File) -> torch.Tensor:
    names = [name.decode() for name in recorded["cell_types"][()]]
    return torch.tensor([network.cell_index(name) for name in names])


@pytest.mark.parametrize("sample", ["000", "001", "007", "100", "421"])
def test_every_central_voltage_is_flyvis(
    real_network: FrozenNetwork, recorded: h5py.File, sample: str
) -> None:
    held = recorded[f"search/sample_{sample}"]
    luminance = torch.as_tensor(held["stimulus"][()])[None]
    cells = central_cells(real_network, recorded)
    found = real_network.respond(luminance, Protocol(), cells)
    np.testing.assert_allclose(found[0].numpy(), held["central_response"][()], atol=1e-4, rtol=0)


def test_counts_of_the_published_network(real_network: FrozenNetwork, recorded: h5py.File) -> None:
    assert real_network.n_cells == recorded["network"].attrs["n_nodes"]
    assert len(real_network.layout.synapses[0]) == recorded["network"].attrs["n_edges"]
    assert real_network.layout.occupied.sum(axis=1)[13:15].tolist() == [123, 123]


def test_the_built_in_circuit_is_the_dense_reference(small_network: FrozenNetwork) -> None:
    network = builtin_network(extent=2).double()
    generator = torch.Generator().manual_seed(1)
    luminance = torch.rand((1, 12, network.lattice.n_columns), generator=generator).double()
    initial = torch.randn((1, network.n_cells), generator=generator).double()
    found = network(luminance, 0.01, initial)[0]
    expected = simulate_dense(
        network.connectome,
        network.lattice,
        network.bias[0].numpy(),
        network.time_const[0].numpy(),
        network.tap_weight[0].numpy(),
        luminance[0].numpy(),
        initial[0].numpy(),
        0.01,
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10, rtol=0)


def test_frames_to_come_change_nothing(small_network: FrozenNetwork) -> None:
    luminance = torch.rand((1, 20, small_network.lattice.n_columns))
    changed = luminance.clone()
    changed[:, 11:] = 0
    a, b = small_network(luminance), small_network(changed)
    assert torch.equal(a[:, :11], b[:, :11])
    assert not torch.equal(a[:, 11:], b[:, 11:])


def test_output_frame_t_contains_input_frame_t(small_network: FrozenNetwork) -> None:
    luminance = torch.full((1, 3, small_network.lattice.n_columns), 0.5)
    changed = luminance.clone()
    changed[:, 2] = 1
    cell = torch.tensor([small_network.cell_index("R1")])
    a = small_network(luminance, readout=cell)
    b = small_network(changed, readout=cell)
    tau = float(small_network.time_const[0, small_network.connectome.type_index["R1"]])
    assert torch.equal(a[:, :2], b[:, :2])
    assert float(b[0, 2, 0] - a[0, 2, 0]) == pytest.approx(0.5 * 0.01 / max(tau, 0.01), rel=1e-5)


def test_grey_pre_stimulus_is_a_simulation_of_grey(small_network: FrozenNetwork) -> None:
    protocol = Protocol(t_pre=0.3)
    luminance = torch.rand((2, 5, small_network.lattice.n_columns))
    state = small_network.initial_state(luminance, protocol)
    type_of_cell = torch.as_tensor(small_network.layout.type_of_cell)
    rest = small_network.bias[:, type_of_cell]
    grey = torch.full((1, 30, small_network.lattice.n_columns), 0.5)
    expected = small_network(grey, 0.01, rest)[:, -1]
    assert torch.equal(state[0], expected[0]) and torch.equal(state[1], expected[0])


def test_fade_in_ramps_from_grey_to_the_first_frame(small_network: FrozenNetwork) -> None:
    n = small_network.lattice.n_columns
    luminance = torch.rand((1, 4, n))
    protocol = Protocol(t_pre=0.1, t_fade_in=0.05)
    contrast = luminance[:, :1] - 0.5
    ramp = torch.cat([0.5 + contrast * share for share in (0, 0.25, 0.5, 0.75, 1)], dim=1)
    before = small_network.initial_state(luminance, Protocol(t_pre=0.1))
    expected = small_network(ramp, 0.01, before)[:, -1]
    found = small_network.initial_state(luminance, protocol)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_difference_from_baseline(small_network: FrozenNetwork) -> None:
    luminance = torch.rand((2, 6, small_network.lattice.n_columns))
    cells = torch.tensor([small_network.cell_index("T4c"), small_network.cell_index("L1")])
    absolute = small_network.respond(luminance, Protocol(), cells)
    relative = small_network.respond(luminance, Protocol(baseline="grey"), cells)
    rest = small_network.initial_state(luminance, Protocol())[:, cells]
    torch.testing.assert_close(relative, absolute - rest[:, None])


def test_the_kept_grey_state_notices_changed_weights() -> None:
    network = builtin_network(extent=2)
    luminance = torch.rand((1, 5, network.lattice.n_columns))
    before = network(luminance)
    network.tap_weight.mul_(0.5)
    fresh = builtin_network(extent=2)
    fresh.tap_weight.mul_(0.5)
    assert torch.equal(network(luminance), fresh(luminance))
    assert not torch.equal(network(luminance), before)


def test_grey_state_made_in_inference_mode_serves_a_gradient(small_network: FrozenNetwork) -> None:
    network = builtin_network(extent=2)
    with torch.inference_mode():
        network(torch.rand((1, 3, network.lattice.n_columns)))
    luminance = torch.rand((1, 3, network.lattice.n_columns), requires_grad=True)
    network(luminance).sum().backward()
    assert luminance.grad is not None and luminance.grad.any()


def test_parameters_follow_device_and_dtype_and_never_train(small_network: FrozenNetwork) -> None:
    network = builtin_network(extent=1)
    assert list(network.parameters()) == []
    assert network.double().bias.dtype == torch.float64
    voltages = network(torch.rand((1, 2, 7), dtype=torch.float64))
    assert voltages.dtype == torch.float64
    assert (
        network.to(torch.bfloat16)(torch.rand((1, 2, 7), dtype=torch.bfloat16)).dtype
        == torch.float32
    )


def test_hash_names_content(trained_folder: Path, connectome_file: Path) -> None:
    one = builtin_network(extent=2)
    assert one.content_hash == builtin_network(extent=2).content_hash
    assert one.content_hash != builtin_network(extent=3).content_hash
    changed = builtin_network(extent=2)
    before = changed.content_hash
    changed.bias.add_(1e-3)
    assert before == one.content_hash != changed.double().content_hash
    a, b = (flyvis_network(trained_folder / n, connectome_file) for n in ("000", "001"))
    assert a.content_hash != b.content_hash


def test_errors_name_what_fits(small_network: FrozenNetwork) -> None:
    with pytest.raises(ValueError, match=r"nearest: T4c"):
        small_network.cell_index("t4C")
    with pytest.raises(ValueError, match="u=9"):
        small_network.cell_index("T4c", u=9)
    with pytest.raises(ValueError, match=r"\(items, frames, 61\)"):
        small_network(torch.rand((1, 3, 62)))
    with pytest.raises(ValueError, match="backend"):
        builtin_network(extent=1, backend="none")
    with pytest.raises(ValueError, match="network_index"):
        small_network(torch.rand((1, 3, 61)), network_index=torch.tensor([3]))
    with pytest.raises(ValueError, match="read-out"):
        small_network(torch.rand((1, 3, 61)), readout=torch.tensor([10**6]))


def test_a_missing_connectome_says_how_to_get_it(trained_folder: Path) -> None:
    # flyvis is not installed beside the tests, so nothing is found without a path.
    with pytest.raises(ValueError, match="pip install flyvis"):
        flyvis_network(trained_folder / "000")


def test_importing_changes_no_global_state() -> None:
    code = """
import logging, random, torch, numpy as np
import h5py, matplotlib.figure, lightning.pytorch.cli, tensorboard  # theirs, not ours
before = (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(),
          torch.initial_seed(), logging.getLogger().handlers[:], logging.getLogger().level)
state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
import stimopt, stimopt.networks.opening, stimopt.optimize.generate
import stimopt.runs.callbacks, stimopt.cli
FN = stimopt.networks.opening.builtin_network(1)
after = (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(),
         torch.initial_seed(), logging.getLogger().handlers[:], logging.getLogger().level)
assert before == after, (before, after)
assert torch.equal(state[0], torch.get_rng_state()), "torch"
assert state[1] == np.random.get_state()[1].tolist(), "numpy"
assert state[2] == random.getstate(), "random"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_network_changed_in_place_has_another_hash() -> None:
    network, same = builtin_network(extent=2), builtin_network(extent=2)
    intact = network.content_hash
    network.tap_weight[0, 0] = 0.0
    assert network.content_hash != intact == same.content_hash
    same.tap_weight[0, 0] = 0.0
    assert network.content_hash == same.content_hash
    # Nothing that decides a response is lost on the way there and back.
    assert network.double().content_hash == same.content_hash
    with torch.inference_mode():
        made = builtin_network(extent=2)
    assert made.content_hash == intact
