"""The frozen network against flyvis's record, the dense equation and Runge-Kutta."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.motion_circuit import motion_circuit_parameters
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.protocol import Protocol
from tests.dynamics.dense_step import simulate_dense
from tests.networks.equation import by_euler, by_runge_kutta


@pytest.mark.parametrize("sample", ["000", "001", "007", "100", "421"])
def test_every_central_voltage_is_that_of_flyvis(
    real_network: FrozenNetwork, recorded: h5py.File, sample: str
) -> None:
    record = recorded[f"search/sample_{sample}"]
    luminance = torch.as_tensor(record["stimulus"][()])[None]
    names = [name.decode() for name in recorded["cell_types"][()]]
    cells = torch.tensor([real_network.cell_index(name) for name in names])
    voltages = real_network.respond(luminance, Protocol(), cells)[0]
    np.testing.assert_allclose(voltages, record["central_response"][()], atol=1e-4, rtol=0)


def test_counts_of_the_published_network(real_network: FrozenNetwork, recorded: h5py.File) -> None:
    assert real_network.n_cells == recorded["network"].attrs["n_nodes"]
    assert len(real_network.layout.synapses[0]) == recorded["network"].attrs["n_edges"]
    assert real_network.layout.occupied.sum(axis=1)[13:15].tolist() == [123, 123]


def test_the_built_in_circuit_is_the_dense_equation() -> None:
    network = builtin_network(extent=2).double()
    generator = torch.Generator().manual_seed(1)
    luminance = torch.rand((1, 12, network.lattice.n_columns), generator=generator).double()
    initial = torch.randn((1, network.n_cells), generator=generator).double()
    voltages = network.respond(luminance, Protocol(), initial_state=initial)[0]
    parameters = (network.bias[0], network.time_const[0], network.tap_weight[0])
    expected = simulate_dense(
        network.connectome, network.lattice, parameters, luminance[0], initial[0], 0.01
    )
    torch.testing.assert_close(voltages, expected, atol=1e-10, rtol=0)


def test_the_error_of_a_step_is_in_proportion_to_dt() -> None:
    network = builtin_network(2).double()
    exact = by_runge_kutta(network)
    steps = (0.01, 0.005, 0.0025, 0.00125, 0.000625)
    errors = {dt: np.abs(by_euler(network, dt) - exact).max() for dt in steps}
    order, _ = np.polyfit(np.log(steps), np.log(list(errors.values())), 1)
    assert 0.9 < order < 1.1, errors
    # And more nearly so for finer steps.
    assert 0.95 < np.log2(errors[0.00125] / errors[0.000625]) < 1.05, errors


def test_output_frame_t_contains_input_frame_t_and_none_later(small_network: FrozenNetwork) -> None:
    luminance = torch.full((1, 3, small_network.lattice.n_columns), 0.5)
    changed = luminance.clone()
    changed[:, 2] = 1
    cell = torch.tensor([small_network.cell_index("R1")])
    a, b = (small_network.respond(x, Protocol(), cell) for x in (luminance, changed))
    tau = float(small_network.time_const[0, small_network.connectome.type_index["R1"]])
    assert torch.equal(a[:, :2], b[:, :2])
    assert float(b[0, 2, 0] - a[0, 2, 0]) == pytest.approx(0.5 * 0.01 / max(tau, 0.01), rel=1e-5)


def test_the_pre_stimulus_is_a_simulation_of_grey_and_fade_in(small_network: FrozenNetwork) -> None:
    n = small_network.lattice.n_columns
    luminance = torch.rand((2, 4, n))
    rest = small_network.bias[:, torch.as_tensor(small_network.layout.type_of_cell)]
    grey = torch.full((1, 10, n), 0.5)
    after_grey = small_network.respond(grey, Protocol(), initial_state=rest)[:, -1]
    assert torch.equal(
        small_network.initial_state(luminance, Protocol(t_pre=0.1)), after_grey.expand(2, -1)
    )
    contrast = luminance[:, :1] - 0.5
    ramp = torch.cat([0.5 + contrast * share for share in (0, 0.25, 0.5, 0.75, 1)], dim=1)
    after_grey = after_grey.expand(2, -1)
    after_fade = small_network.respond(ramp, Protocol(), initial_state=after_grey)[:, -1]
    protocol = Protocol(t_pre=0.1, t_fade_in=0.05)
    initial = small_network.initial_state(luminance, protocol)
    torch.testing.assert_close(initial, after_fade, atol=1e-6, rtol=0)
    # A response starts from it.
    torch.testing.assert_close(
        small_network.respond(luminance, protocol),
        small_network.respond(luminance, Protocol(), initial_state=initial),
    )


def test_difference_from_baseline(small_network: FrozenNetwork) -> None:
    luminance = torch.rand((2, 6, small_network.lattice.n_columns))
    cells = torch.tensor([small_network.cell_index("T4c"), small_network.cell_index("L1")])
    absolute = small_network.respond(luminance, Protocol(), cells)
    relative = small_network.respond(luminance, Protocol(baseline="grey"), cells)
    rest = small_network.initial_state(luminance, Protocol())[:, cells]
    torch.testing.assert_close(relative, absolute - rest[:, None])


def test_each_item_uses_its_own_network() -> None:
    both = builtin_network(2)
    both.names = ("first", "second")
    for name in ("bias", "time_const", "tap_weight"):
        values = getattr(both, name)
        setattr(both, name, torch.cat([values, 0.8 * values]))
    second = builtin_network(2)
    for name in ("bias", "time_const", "tap_weight"):
        getattr(second, name).mul_(0.8)
    luminance = torch.rand((3, 5, 19))
    responses = both.respond(luminance, Protocol(), network_index=torch.tensor([1, 0, 1]))
    alone = second.respond(luminance[[0, 2]], Protocol())
    assert torch.equal(responses[[0, 2]], alone)
    assert torch.equal(responses[1:2], builtin_network(2).respond(luminance[1:2], Protocol()))


def test_the_stored_grey_state_serves_the_same_weights_and_protocol_alone() -> None:
    network = builtin_network(extent=2)
    luminance = torch.rand((1, 5, network.lattice.n_columns))
    before = network(luminance)
    network.tap_weight.mul_(0.5)
    fresh = builtin_network(extent=2)
    fresh.tap_weight.mul_(0.5)
    assert torch.equal(network(luminance), fresh(luminance))
    assert not torch.equal(network(luminance), before)
    # As many frames of grey, but longer ones.
    longer = Protocol(t_pre=2.0, dt=0.02)
    again = builtin_network(extent=2)
    again.tap_weight.mul_(0.5)
    assert torch.equal(network(luminance, longer), again(luminance, longer))


def test_a_grey_state_computed_in_inference_mode_serves_a_gradient() -> None:
    network = builtin_network(extent=2)
    with torch.inference_mode():
        network(torch.rand((1, 3, network.lattice.n_columns)))
    luminance = torch.rand((1, 3, network.lattice.n_columns), requires_grad=True)
    network(luminance).sum().backward()
    assert luminance.grad is not None and luminance.grad.any()


def test_parameters_follow_device_and_dtype_and_never_train() -> None:
    network = builtin_network(extent=1)
    assert list(network.parameters()) == []
    assert network.double().bias.dtype == torch.float64
    assert network(torch.rand((1, 2, 7), dtype=torch.float64)).dtype == torch.float64
    network.to(torch.bfloat16)
    assert network(torch.rand((1, 2, 7), dtype=torch.bfloat16)).dtype == torch.float32


def test_the_hash_follows_the_content(trained_folder: Path, connectome_file: Path) -> None:
    one, changed = builtin_network(extent=2), builtin_network(extent=2)
    assert one.content_hash == changed.content_hash != builtin_network(extent=3).content_hash
    for name in ("bias", "time_const", "tap_weight"):
        before = changed.content_hash
        getattr(changed, name)[0, 0] += 1e-3
        assert changed.content_hash != before
    taps = dataclasses.replace(one.connectome.taps, dv=one.connectome.taps.dv + 1)
    shifted = FrozenNetwork(
        dataclasses.replace(one.connectome, taps=taps), [motion_circuit_parameters()], extent=2
    )
    assert shifted.content_hash != one.content_hash
    # It is not that of the precision, nor of the way the tensors came about.
    assert changed.content_hash == changed.double().content_hash
    with torch.inference_mode():
        assert builtin_network(extent=2).content_hash == one.content_hash
    a, b = (flyvis_network(trained_folder / n, connectome_file) for n in ("000", "001"))
    assert a.content_hash != b.content_hash


def test_torch_has_one_thread_in_a_busy_block_with_the_compiled_step(
    small_network: FrozenNetwork,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with small_network.busy():
            assert torch.get_num_threads() == 1
        with builtin_network(1, backend="sparse").busy():
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_arguments_that_do_not_fit_are_refused(small_network: FrozenNetwork) -> None:
    def respond(luminance: torch.Tensor, **options: torch.Tensor) -> None:
        small_network.respond(luminance, Protocol(), **options)

    luminance = torch.rand((2, 3, 61))
    with pytest.raises(ValueError, match=r"\(items, frames, 61\) .*got .*62"):
        respond(torch.rand((1, 3, 62)))
    with pytest.raises(ValueError, match="floating-point luminance"):
        respond(torch.ones((1, 3, 61), dtype=torch.int64))
    for index in (torch.tensor([0, 3]), torch.tensor([0])):
        with pytest.raises(ValueError, match=r"network_index \(2,\) within 0 to 0"):
            respond(luminance, network_index=index)
    for readout in (torch.tensor([10**6]), torch.zeros((3, 1), dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"read-out cells \(k,\) or \(2, k\) within 0 to"):
            respond(luminance, readout=readout)
    with pytest.raises(ValueError, match="an initial state"):
        respond(luminance, initial_state=torch.zeros((2, 5)))
    for options, message in (
        ({"backend": "none"}, "backend as one of"),
        ({"segment": 0}, "segment as a whole number >= 1 or None, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            builtin_network(1, **options)
    with pytest.raises(ValueError, match="at least one set of parameters"):
        FrozenNetwork(small_network.connectome, [], 1)


def test_importing_changes_no_global_state_and_compiles_nothing() -> None:
    code = """
import logging, random, sys, torch, numpy as np
import h5py, matplotlib.figure, lightning.pytorch.cli, tensorboard  # What these do is not ours.
before = (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(),
          torch.initial_seed(), logging.getLogger().handlers[:], logging.getLogger().level)
state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
import stimopt, stimopt.networks.opening, stimopt.optimize.generate
import stimopt.runs.callbacks, stimopt.cli
assert "numba" not in sys.modules, "Numba takes as long to import as the rest"
network = stimopt.networks.opening.builtin_network(1)
after = (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(),
         torch.initial_seed(), logging.getLogger().handlers[:], logging.getLogger().level)
assert before == after, (before, after)
assert torch.equal(state[0], torch.get_rng_state()), "torch"
assert state[1] == np.random.get_state()[1].tolist(), "numpy"
assert state[2] == random.getstate(), "random"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_larger_lattice_shares_the_weights() -> None:
    small = builtin_network(extent=3).lesion("Mi9>T4c")
    large = small.at_extent(5)
    assert (large.lattice.extent, large.names) == (5, small.names)
    assert large.content_hash == builtin_network(extent=5).lesion("Mi9>T4c").content_hash
    assert small.lattice.extent == 3 and small.content_hash != large.content_hash
