"""Checks before a simulation: a stable step, a fine step, a path from the photoreceptors."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.networks.precheck import faster_types, reached_types
from stimopt.protocol import Protocol
from tests.networks.circuits import loop
from tests.networks.equation import by_euler, by_runge_kutta

# The closed form of `loop`, see test_stability.py.
LIMIT = 0.05 * 2 / (1 + 4.0**2)


def test_an_unstable_step_is_refused_and_the_step_it_advises_is_accepted() -> None:
    network = loop(4.0, 0.05)
    network.precheck(Protocol(dt=0.97 * LIMIT))
    for dt in (1.03 * LIMIT, 0.01, 0.03):
        with pytest.raises(ValueError, match="the largest stable step of loop") as error:
            network.precheck(Protocol(dt=dt))
        advised = re.search(r"set protocol\.dt to (\S+) or less", str(error.value))
        assert advised is not None and 0.9 * LIMIT < float(advised[1]) <= LIMIT
        network.precheck(Protocol(dt=float(advised[1])))


def together(first: FrozenNetwork, second: FrozenNetwork) -> FrozenNetwork:
    """Two parameter sets in one network."""
    first.names = ("first", "second")
    for name in ("bias", "time_const", "tap_weight"):
        setattr(first, name, torch.cat([getattr(first, name), getattr(second, name)]))
    return first


def test_networks_that_are_not_used_are_not_checked() -> None:
    both = together(loop(1.0, 0.05), loop(3.0, 0.05))
    both.precheck(Protocol(dt=0.02), [0])
    with pytest.raises(ValueError, match="largest stable step of second"):
        both.precheck(Protocol(dt=0.02))


def test_a_step_longer_than_a_time_constant_is_warned_of(small_network: FrozenNetwork) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_network.precheck(Protocol(dt=0.01))  # As long as the shortest time constants.
    with pytest.warns(UserWarning, match=r"dt = 15 ms is longer .* 11 of 28 .* 0\.01 s or less"):
        small_network.precheck(Protocol(dt=0.015))


def test_a_coarse_step_has_more_than_a_proportional_error() -> None:
    # A cell slower than the step follows the equation. The clamp of tau delays a faster one, and
    # its voltage changes by less than half its error when dt is halved.
    network = builtin_network(2).double()
    time_const = dict(zip(network.cell_types, network.time_const[0].tolist(), strict=True))
    assert faster_types(time_const, 0.02) and not faster_types(time_const, 0.005)
    coarse = by_euler(network, 0.04)
    error = np.abs(coarse - by_runge_kutta(network)).max()
    assert np.abs(coarse - by_euler(network, 0.02)).max() != pytest.approx(error / 2, rel=0.15)


def test_51_types_of_the_published_network_have_time_constants_just_under_20_ms(
    trained_folder: Path, connectome_file: Path
) -> None:
    network = flyvis_network(trained_folder / "000", connectome_file, extent=1)
    with pytest.warns(UserWarning, match=r"51 of 65 cell types .* 0\.019 s or less"):
        network.precheck(Protocol(dt=0.02))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.precheck(Protocol(dt=0.019))


def test_light_reaches_types_along_used_taps() -> None:
    network = loop(2.0, 0.05)
    taps, types = network.connectome.taps, network.connectome.cell_types
    used = np.ones(len(taps), dtype=bool)
    assert reached_types(network.connectome, used) == {"R1", "A", "B"}
    used[
        [(types[s], types[t]) == ("A", "B") for s, t in zip(taps.source, taps.target, strict=True)]
    ] = False
    assert reached_types(network.connectome, used) == {"R1", "A"}


def test_a_type_is_unreached_if_its_paths_are_cut_in_all_networks_used() -> None:
    cut, intact = loop(2.0, 0.05), loop(2.0, 0.05)
    cut.tap_weight[0, cut.connectome.taps.target == 2] = 0.0
    both = together(cut, intact)
    assert both.unreached(["A", "B"], [0]) == ["B"]
    assert both.unreached(["A", "B"], [1]) == both.unreached(["A", "B"]) == []
