"""Checks before a simulation: a stable step, a fine step, a path from the photoreceptors."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network, flyvis_network
from stimopt.networks.precheck import faster_types, reached_types
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.record import StopReason
from stimopt.protocol import Protocol
from stimopt.runs.trainer import fit, run_search
from stimopt.search.naturalistic import NaturalisticSearch
from tests.networks.circuits import latch, loop, together
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


def test_of_several_networks_those_used_are_checked_and_marked() -> None:
    both = together(loop(1.0, 0.05), loop(3.0, 0.05))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.precheck(Protocol(dt=0.02), [0])
    with pytest.warns(UserWarning, match=r"marked in results: loop-1 \(the step is longer"):
        both.precheck(Protocol(dt=0.02))


def test_a_step_at_which_none_of_several_networks_is_stable_is_refused() -> None:
    both = together(loop(3.0, 0.05), loop(4.0, 0.05))
    with pytest.raises(ValueError, match=r"dt of at most 0\.0099 s, .* of loop-0, got 0\.02 s"):
        both.precheck(Protocol(dt=0.02))


def test_one_network_that_grows_in_the_equation_is_warned_of_as_no_step_helps() -> None:
    with pytest.warns(UserWarning, match=r"latch \(its voltages keep growing after a stimulus"):
        latch(1.5, 0.8).precheck(Protocol())


@pytest.mark.parametrize("unstable", ["leave_out", "refuse"])
def test_unstable_networks_are_left_out_or_refused(unstable: Any) -> None:
    three = together(loop(3.0, 0.05), loop(1.5, 0.05), loop(4.0, 0.05))
    message = r"loop-0 \(the step is longer .*\), loop-2 \("
    if unstable == "leave_out":
        with pytest.warns(UserWarning, match="left out: " + message):
            stable = three.only_stable(Protocol(dt=0.02))
        assert stable.names == ("loop-1",)
        assert stable.content_hash == loop(1.5, 0.05).content_hash
    else:
        with pytest.raises(ValueError, match=r"simulated at dt = 0\.02 s, got " + message):
            three.only_stable(Protocol(dt=0.02), unstable)
        assert three.only_stable(Protocol(dt=0.005), unstable).names == three.names
    with pytest.raises(ValueError, match=r"dt = 0\.1 s, got loop-0"):
        three.only_stable(Protocol(dt=0.1), unstable)


def test_a_step_longer_than_a_time_constant_is_warned_of(small_network: FrozenNetwork) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_network.precheck(Protocol(dt=0.01))  # As long as the shortest time constants.
    with pytest.warns(UserWarning, match=r"dt = 15 ms is longer .* 11 of 28 .* 0\.01 s or less"):
        small_network.precheck(Protocol(dt=0.015))


def test_lesioned_copies_of_a_network_are_not_warned_of_again() -> None:
    with pytest.warns(UserWarning, match="dt = 15 ms is longer .* of builtin ") as warned:
        builtin_network(1).lesion("all>T4c").precheck(Protocol(dt=0.015))
    assert len(warned) == 1


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


def test_an_unstable_network_stops_neither_search_nor_fit_of_the_others(tmp_path: Path) -> None:
    networks = together(latch(0.8, 0.3), latch(40.0, 0.3))
    marked = pytest.warns(UserWarning, match=r"latch-1 \(its voltages leave the finite numbers")
    options: dict[str, Any] = {"enable_progress_bar": False, "accelerator": "cpu"}
    search = NaturalisticSearch(networks, cell_types="A")
    with marked:
        searched = run_search(search, StimulusDataModule(extent=1, stop_sample=6), **options)
    alone = NaturalisticSearch(latch(0.8, 0.3), cell_types="A")
    data = StimulusDataModule(extent=1, stop_sample=6)
    expected = run_search(alone, data, **options)
    np.testing.assert_array_equal(searched["sample"][0], expected["sample"][0])
    assert searched["stable"].tolist() == [True, False]
    generator = StimulusGenerator(networks, "A", t_stim=0.2)
    with marked:
        grown = fit(generator, 4, tmp_path, **options)
    assert grown["stable"].tolist() == [True, False]
    assert grown["stop_reason"].tolist() == [
        StopReason.STEPS_DONE.value,
        StopReason.LOSS_NOT_FINITE.value,
    ]
    assert len(list(tmp_path.glob("*.png"))) == 2 and (tmp_path / "result.h5").is_file()
