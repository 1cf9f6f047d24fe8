"""The Euler step against the equation it stands for, and against its own limit of stability.

The equation is solved apart, in dense float64 with classical Runge-Kutta steps 50 times shorter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.networks.stability import LinearizedNetwork, check_step, faster_types
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import GREY, Protocol
from stimopt.search.naturalistic import NaturalisticSearch
from tests.dynamics.dense_step import dense_weights
from tests.whole.circuits import loop

Floats = NDArray[np.float64]
DURATION = 0.48


def light(network: FrozenNetwork, time: Floats) -> Floats:
    """A smooth wave that drifts over the lattice, `(frames, columns)`; grey until time 0."""
    lattice = network.lattice
    place = 1.5 * lattice.v + 0.9 * (lattice.u + lattice.v / 2)
    swell = np.sin(np.pi * np.clip(time / DURATION, 0, 1)) ** 2
    return GREY + 0.4 * swell[:, None] * np.sin(2 * np.pi * 4 * time[:, None] - place[None])


def by_euler(network: FrozenNetwork, dt: float) -> Floats:
    """Voltages of all cells at the multiples of 40 ms, `(times, cells)`, from the steady state."""
    n = round(DURATION / dt)
    stimulus = torch.as_tensor(light(network, dt * np.arange(1, n + 1))[None])
    state = torch.as_tensor(steady_state(network))[None]
    with torch.no_grad():
        voltages = network(stimulus, dt, state)[0].numpy()
    every = round(0.04 / dt)
    return voltages[every - 1 :: every]


def by_runge_kutta(network: FrozenNetwork, dt: float = 2e-4) -> Floats:
    slope = equation(network)
    voltage, found = steady_state(network), []
    steps = round(0.04 / dt)
    for i in range(round(DURATION / dt)):
        at = dt * np.array([i, i + 0.5, i + 1])
        x = light(network, at)
        a = slope(voltage, x[0])
        b = slope(voltage + dt / 2 * a, x[1])
        c = slope(voltage + dt / 2 * b, x[1])
        d = slope(voltage + dt * c, x[2])
        voltage = voltage + dt / 6 * (a + 2 * b + 2 * c + d)
        if (i + 1) % steps == 0:
            found.append(voltage)
    return np.stack(found)


def equation(network: FrozenNetwork) -> Callable[[Floats, Floats], Floats]:
    """dV/dt as it stands in the README, with a dense matrix."""
    tap_weight = network.tap_weight[0].double().numpy()
    weights, _ = dense_weights(network.connectome, network.lattice, tap_weight)
    of_cell = network.layout.type_of_cell
    bias = network.bias[0].double().numpy()[of_cell]
    time_const = network.time_const[0].double().numpy()[of_cell]
    cells, columns = network.layout.input_cells

    def slope(voltage: Floats, luminance: Floats) -> Floats:
        drive = bias + weights @ np.maximum(voltage, 0)
        drive[cells] += luminance[columns]
        return (drive - voltage) / time_const

    return slope


def steady_state(network: FrozenNetwork) -> Floats:
    slope = equation(network)
    voltage = network.bias[0].double().numpy()[network.layout.type_of_cell]
    grey = np.full(network.lattice.n_columns, GREY)
    for _ in range(4000):
        voltage = voltage + 0.002 * slope(voltage, grey)
    assert np.abs(slope(voltage, grey)).max() < 1e-6
    return voltage


@pytest.fixture(scope="module")
def network() -> FrozenNetwork:
    return builtin_network(2, backend="sparse").double()


@pytest.fixture(scope="module")
def exact(network: FrozenNetwork) -> Floats:
    return by_runge_kutta(network)


@pytest.fixture(scope="module")
def errors(network: FrozenNetwork, exact: Floats) -> dict[float, float]:
    """Largest error in voltage by dt, over all cells and times."""
    steps = (0.01, 0.005, 0.0025, 0.00125, 0.000625)
    return {dt: float(np.abs(by_euler(network, dt) - exact).max()) for dt in steps}


def test_the_error_is_in_proportion_to_dt(errors: dict[float, float]) -> None:
    steps = np.array(list(errors))
    order, _ = np.polyfit(np.log(steps), np.log(list(errors.values())), 1)
    assert 0.9 < order < 1.1, errors
    # And more nearly so for finer steps.
    finest = np.log2(errors[0.00125] / errors[0.000625])
    assert 0.95 < finest < 1.05, errors


def test_halving_dt_changes_a_response_as_the_order_predicts(
    network: FrozenNetwork, errors: dict[float, float]
) -> None:
    # With an error C dt, the responses at dt and dt / 2 differ by C dt / 2: half the error at dt.
    for dt in (0.005, 0.0025, 0.00125):
        difference = np.abs(by_euler(network, dt) - by_euler(network, dt / 2)).max()
        assert difference == pytest.approx(errors[dt] / 2, rel=0.15)


def test_the_implementations_agree_at_any_dt(network: FrozenNetwork) -> None:
    fused = builtin_network(2, backend="fused")
    for dt in (0.01, 0.0025):
        with torch.no_grad():
            n = round(DURATION / dt)
            stimulus = torch.as_tensor(light(network, dt * np.arange(1, n + 1))[None]).float()
            start = torch.as_tensor(steady_state(network))[None].float()
            voltages = fused(stimulus, dt, start)[0].double().numpy()
        every = round(0.04 / dt)
        np.testing.assert_allclose(voltages[every - 1 :: every], by_euler(network, dt), atol=1e-5)


# -- stability ------------------------------------------------------------------------------------


def dense_step(network: FrozenNetwork, dt: float) -> Floats:
    """M(dt) in full, linearized where the equation settles."""
    tap_weight = network.tap_weight[0].double().numpy()
    weights, _ = dense_weights(network.connectome, network.lattice, tap_weight)
    time_const = network.time_const[0].double().numpy()[network.layout.type_of_cell]
    leak = dt / np.maximum(time_const, dt)
    active = steady_state(network) > 0
    return np.eye(len(leak)) + leak[:, None] * (weights * active - np.eye(len(leak)))


@pytest.mark.parametrize("dt", [0.004, 0.03, 0.2])
def test_growth_is_the_largest_eigenvalue_of_the_step(network: FrozenNetwork, dt: float) -> None:
    strong = builtin_network(2).double()
    pairs = list(strong.connectome.pairs)
    # Loops that are stable in the equation, and oscillate in long steps.
    for pair in (("Mi1", "CT1(M10)"), ("CT1(M10)", "Mi1")):
        strong.tap_weight[0, strong.connectome.taps.pair == pairs.index(pair)] *= 2
    step = dense_step(strong, dt)
    exact = np.linalg.eigvals(step)
    linear = LinearizedNetwork(strong)
    deviation = torch.randn(len(step), dtype=torch.float64)
    np.testing.assert_allclose(linear.step(deviation, dt), step @ deviation.numpy(), atol=1e-12)
    assert linear.growth(dt, 80) == pytest.approx(np.abs(exact[exact.real < 1]).max(), rel=0.01)


@pytest.mark.parametrize("gain", [1.5, 3.0])
def test_the_limit_of_a_loop_is_the_one_in_closed_form(gain: float) -> None:
    # Eigenvalues of the step: 1 - a (1 -+ i gain), a = dt / tau; modulus 1 at a = 2 / (1 + gain^2).
    tau = 0.05
    limit = tau * 2 / (1 + gain**2)
    network = loop(gain, tau)
    assert LinearizedNetwork(network).largest_stable_step() == pytest.approx(limit, rel=0.011)
    check_step(network, Protocol(dt=0.97 * limit))
    with pytest.raises(ValueError, match=r"expected dt of at most 0\.0\d+ s, the largest stable"):
        check_step(network, Protocol(dt=1.03 * limit))


def test_deviations_grow_above_the_limit_and_die_out_below() -> None:
    network = loop(3.0, 0.05).double()
    limit = LinearizedNetwork(network).largest_stable_step()

    def deviation_after(dt: float, n: int) -> float:
        rest = torch.as_tensor(steady_state(network))[None]
        grey = torch.full((1, n, network.lattice.n_columns), GREY, dtype=torch.float64)
        with torch.no_grad():
            return float((network(grey, dt, rest + 1e-6)[0, -1] - rest[0]).abs().max())

    assert deviation_after(1.05 * limit, 300) > 1e-5 > 1e-6 > deviation_after(0.95 * limit, 300)


def test_a_loop_no_step_is_to_blame_for_is_let_pass() -> None:
    # Positive feedback of 2 grows in the equation, at any step.
    network = loop(2.0, 0.05)
    network.tap_weight.abs_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_step(network, Protocol(dt=0.01))


def test_a_published_network_oscillates_at_grey_above_its_limit(
    trained_folder: Path, connectome_file: Path
) -> None:
    network = flyvis_network(trained_folder / "000", connectome_file, extent=4)
    check_step(network, Protocol())
    limit = LinearizedNetwork(network).largest_stable_step()
    assert 0.02 < limit < 0.2

    def late_swing(dt: float) -> float:
        """How much the voltages still move after 300 steps of grey."""
        grey = torch.full((1, 400, network.lattice.n_columns), GREY)
        with torch.no_grad():
            late = network(grey, dt)[0, 300:]
        return float((late.amax(0) - late.amin(0)).max())

    assert late_swing(0.7 * limit) < 0.01 < 0.1 < late_swing(1.3 * limit)


def test_fits_and_searches_check_the_step(make_trainer: Callable[..., pl.Trainer]) -> None:
    network, above = loop(3.0, 0.05), Protocol(dt=0.02)  # the limit is 0.01 s
    fit = StimulusGenerator(network, "B", above, t_stim=0.4)
    with pytest.raises(ValueError, match="largest stable step of loop"):
        make_trainer(2).fit(fit)
    search = NaturalisticSearch(network, above, cell_types="B")
    data = StimulusDataModule(dt=above.dt, extent=1, stop_sample=1)
    with pytest.raises(ValueError, match="largest stable step of loop"):
        make_trainer(-1).test(search, datamodule=data, verbose=False)


# -- coarse steps ---------------------------------------------------------------------------------


def test_a_step_longer_than_a_time_constant_is_warned_of(small_network: FrozenNetwork) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_step(small_network, Protocol(dt=0.01))  # as long as the shortest time constants
    with pytest.warns(UserWarning, match=r"dt = 15 ms is longer than .* 11 of 28 .*shortest is 10"):
        check_step(small_network, Protocol(dt=0.015))


def test_the_warning_tells_where_proportion_ends(network: FrozenNetwork, exact: Floats) -> None:
    # A cell slower than the step follows the equation; a faster one is held back by the clamp, and
    # what it loses by halving dt is not half its error.
    assert faster_types(network, 0, 0.02) and not faster_types(network, 0, 0.005)
    coarse = np.abs(by_euler(network, 0.04) - by_euler(network, 0.02)).max()
    assert coarse != pytest.approx(np.abs(by_euler(network, 0.04) - exact).max() / 2, rel=0.15)


def test_51_types_of_the_published_network_lie_just_under_20_ms(
    trained_folder: Path, connectome_file: Path
) -> None:
    network = flyvis_network(trained_folder / "000", connectome_file, extent=1)
    assert len(faster_types(network, 0, 0.02)) == 51
    assert not faster_types(network, 0, 0.019)
    with pytest.warns(UserWarning, match="51 of 65 cell types"):
        check_step(network, Protocol(dt=0.02))
