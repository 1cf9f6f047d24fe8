"""The linearized step against dense eigenvalues, a closed form and simulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stimopt.lattice import HexLattice
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.networks.stability import Stability, crossing_edges
from stimopt.protocol import GREY, Protocol
from tests.dynamics.dense_step import dense_weights
from tests.networks.circuits import latch, loop
from tests.networks.equation import Floats, steady_state


def dense_step(network: FrozenNetwork, dt: float) -> Floats:
    """M(dt) in full, linearized at the steady state of the equation."""
    weights = dense_weights(network.connectome, network.lattice, network.tap_weight[0])
    time_const = network.time_const[0].double().numpy()[network.layout.type_of_cell]
    leak = dt / np.maximum(time_const, dt)
    active = steady_state(network) > 0
    return np.eye(len(leak)) + leak[:, None] * (weights * active - np.eye(len(leak)))


@pytest.mark.parametrize("dt", [0.004, 0.03, 0.2])
def test_growth_is_the_largest_eigenvalue_of_the_step(dt: float) -> None:
    strong = builtin_network(2).double()
    pairs = list(strong.connectome.pairs)
    # Loops that are stable in the equation, and oscillate in long steps.
    for pair in (("Mi1", "CT1(M10)"), ("CT1(M10)", "Mi1")):
        strong.tap_weight[0, strong.connectome.taps.pair == pairs.index(pair)] *= 2
    step = dense_step(strong, dt)
    exact = np.linalg.eigvals(step)
    linear = strong.linearized()
    deviation = torch.randn(len(step), dtype=torch.float64)
    np.testing.assert_allclose(linear.step(deviation, dt), step @ deviation.numpy(), atol=1e-12)
    assert linear.growth(dt, 80) == pytest.approx(np.abs(exact[exact.real < 1]).max(), rel=0.01)


@pytest.mark.parametrize("gain", [1.5, 3.0])
def test_the_largest_stable_step_of_a_loop_is_the_closed_form(gain: float) -> None:
    # Eigenvalues of the step: 1 - a (1 -+ i gain), a = dt / tau; modulus 1 at a = 2 / (1 + gain^2).
    tau = 0.05
    limit = loop(gain, tau).linearized().largest_stable_step()
    assert limit == pytest.approx(tau * 2 / (1 + gain**2), rel=0.011)


def test_deviations_grow_above_the_largest_stable_step_and_decay_below() -> None:
    network = loop(3.0, 0.05).double()
    limit = network.linearized().largest_stable_step()

    def deviation_after(dt: float, n: int) -> float:
        rest = torch.as_tensor(steady_state(network))[None]
        grey = torch.full((1, n, network.lattice.n_columns), GREY, dtype=torch.float64)
        late = network.respond(grey, Protocol(dt=dt), initial_state=rest + 1e-6)[0, -1]
        return float((late - rest[0]).abs().max())

    assert deviation_after(1.05 * limit, 300) > 1e-5 > 1e-6 > deviation_after(0.95 * limit, 300)


def test_growth_in_the_equation_itself_is_not_counted() -> None:
    # Positive feedback of 2 grows in the equation, at any step.
    network = loop(2.0, 0.05)
    network.tap_weight.abs_()
    assert network.linearized().growth(0.01) < 1


def test_a_published_network_oscillates_at_grey_above_its_largest_stable_step(
    trained_folder: Path, connectome_file: Path
) -> None:
    network = flyvis_network(trained_folder / "000", connectome_file, extent=4)
    limit = network.linearized().largest_stable_step()
    assert 0.02 < limit < 0.2

    def late_swing(dt: float) -> float:
        """Range of the voltages after 300 steps of grey."""
        grey = torch.full((1, 400, network.lattice.n_columns), GREY)
        late = network.respond(grey, Protocol(dt=dt))[0, 300:]
        return float((late.amax(0) - late.amin(0)).max())

    assert late_swing(0.7 * limit) < 0.01 < 0.1 < late_swing(1.3 * limit)


# -- the probe ----------------------------------------------------------------------------------


def test_a_linear_network_is_stable_whatever_its_time_constant() -> None:
    # Without a loop the voltage approaches its end by exp(-t / tau).
    for time_const in (0.01, 0.3, 3.0):
        assert latch(0.0, 0.8, time_const).stability(Protocol()) is Stability.STABLE


def test_positive_feedback_of_more_than_one_never_comes_to_rest() -> None:
    # Above zero dV/dt = ((gain - 1) V + input - threshold) / tau: it decays below gain 1. At grey
    # the input is 0.5: the cell is above zero already, or is only once it has seen white.
    for gain, threshold, expected in (
        (0.8, 0.3, Stability.STABLE),
        (0.8, 0.8, Stability.STABLE),
        (1.2, 0.3, Stability.GROWS),
        (1.2, 0.8, Stability.GROWS_AFTER),
        (1.2, 1.1, Stability.STABLE),  # White does not reach it either.
        (40.0, 0.3, Stability.NOT_FINITE),
    ):
        assert latch(gain, threshold).stability(Protocol()) is expected, (gain, threshold)


def test_a_step_that_is_too_long_is_named_as_the_reason() -> None:
    limit = loop(3.0, 0.05).linearized().largest_stable_step()
    assert loop(3.0, 0.05).stability(Protocol(dt=1.05 * limit)) is Stability.STEP
    assert loop(3.0, 0.05).stability(Protocol(dt=0.95 * limit)) is Stability.STABLE


def test_stability_follows_the_parameters() -> None:
    network = latch(0.8, 0.8)
    assert network.stability(Protocol()) is Stability.STABLE
    taps = network.connectome.taps
    network.tap_weight[0, taps.source == taps.target] *= 2
    assert network.stability(Protocol()) is Stability.GROWS_AFTER


def test_edges_start_on_one_side_and_end_on_the_other() -> None:
    lattice = HexLattice(3)
    edges = crossing_edges(lattice, 20)
    assert edges.shape == (8, 20, 37)
    assert (edges[:4, 0] == 0).all() and (edges[:4, -1] == 1).all()
    np.testing.assert_array_equal(edges[4:], 1 - edges[:4])
    assert (np.diff(edges[:4], axis=1) >= 0).all()
    # The first moves to the right: halfway through, the left half is bright.
    np.testing.assert_array_equal(edges[0, 10] == 1, lattice.positions()[:, 0] <= 4 / 19)


def test_the_published_networks_are_stable_at_10_ms(
    trained_folder: Path, connectome_file: Path
) -> None:
    networks = flyvis_network(
        [trained_folder / f"00{i}" for i in range(5)], connectome_file, extent=6
    )
    found = [networks.stability(Protocol(), k) for k in range(5)]
    assert found == [Stability.STABLE] * 5
