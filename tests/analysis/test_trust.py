"""Planted faults are each caught by their check, and a clean optimum passes all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from stimopt.analysis import check_optima
from stimopt.analysis.criteria import CRITERIA, checked_thresholds
from stimopt.analysis.trust import FAILED, PASSED, SKIPPED
from stimopt.movies.datamodule import StimulusDataModule
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.efficient import EfficientGenerator
from stimopt.optimize.filtered import Bandwidth
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.minimal import MinimalGenerator
from stimopt.protocol import Protocol
from stimopt.results import Result, Variable
from stimopt.runs.trainer import fit, run_search
from stimopt.search.naturalistic import NaturalisticSearch
from tests.analysis.planted import two_inputs, with_stimulus
from tests.networks.circuits import circuit
from tests.results.cases import random_optima

SHORT = {"t_stim": 0.3}
QUIET = {"enable_progress_bar": False, "logger": False}
ALWAYS = ("reproduced", "finite", "settled", "half_dt", "extent", "noise", "one_column")


def ceiling(network: FrozenNetwork, steps: int = 30, cell: str = "T4c", **options: Any) -> Result:
    return fit(ResponseRange(network, cell, **{**SHORT, **options}), steps=steps)


def outcomes(checked: Result, i: int = 0) -> dict[str, int]:
    names = checked["criterion"].tolist()
    return dict(zip(names, checked["outcome"][i].tolist(), strict=True))


def figures(checked: Result, i: int = 0) -> dict[str, float]:
    names = checked["criterion"].tolist()
    return dict(zip(names, checked["figure"][i].tolist(), strict=True))


@pytest.fixture(scope="module")
def network() -> FrozenNetwork:
    return builtin_network(extent=5)


@pytest.fixture(scope="module")
def clean(network: FrozenNetwork) -> Result:
    return ceiling(network)


# -- clean cases ----------------------------------------------------------------------------------


def test_a_clean_ceiling_passes_all_that_can_be_made(network: FrozenNetwork, clean: Result) -> None:
    checked = check_optima(clean, network)
    found = outcomes(checked)
    absent = {"level", "best_clip", "percentile", "other_networks", "paths"}
    assert {name for name, outcome in found.items() if outcome == SKIPPED} == absent
    assert {found[name] for name in found.keys() - absent} == {PASSED}
    assert checked["passed"].tolist() == [True]
    assert np.isnan([figures(checked)[name] for name in absent]).all()


def test_a_clean_efficient_optimum_passes_with_clips_and_a_network_like_its_own(
    network: FrozenNetwork, clean: Result
) -> None:
    fraction = EfficientGenerator(network, "T4c", ceiling=clean, **SHORT)
    efficient = fit(fraction, steps=60)
    # A dimmer copy of the stimulus stands for the best clip.
    dim = efficient.variables["stimulus"]
    clips = with_stimulus(network, 0.5 + 0.8 * (dim.values - 0.5), "T4c")
    every = Variable(("clip", "item"), np.linspace(-1, 0, 50)[:, None])
    clips.variables["every_peak_response"] = every
    checked = check_optima(efficient, network, clips=clips, others=[network.lesion("CT1(Lo1)")])
    assert set(outcomes(checked).values()) == {PASSED}
    measured = figures(checked)
    assert measured["percentile"] == 100
    assert measured["other_networks"] == pytest.approx(1.0)  # CT1(Lo1) is no input of T4
    assert measured["best_clip"] > 1 and measured["paths"] > 0.9


def test_the_three_optima_bring_their_clips(network: FrozenNetwork, clean: Result) -> None:
    assert outcomes(check_optima(clean, network, clips=clean))["best_clip"] == PASSED
    optima = random_optima(network)
    checked = check_optima(optima, network)
    assert checked["label"].tolist() == optima.artificial["label"].tolist()
    without = check_optima(optima.artificial, network)
    for name in ("best_clip", "paths"):
        assert outcomes(checked)[name] != SKIPPED and outcomes(without)[name] == SKIPPED


def test_the_parameter_sets_of_a_network_are_others_to_each_other() -> None:
    many = builtin_network(extent=5).lesion("CT1(Lo1)")
    of_both = ceiling(many)
    shares = [figures(check_optima(of_both, many), i)["other_networks"] for i in range(2)]
    np.testing.assert_allclose(shares, 1.0, atol=1e-4)


def test_the_percentile_is_the_same_whatever_the_search_subtracted(network: FrozenNetwork) -> None:
    random = torch.Generator().manual_seed(0)
    faint = 0.48 + 0.04 * torch.rand(1, 30, network.lattice.n_columns, generator=random)
    found = []
    for baseline in ("absolute", "grey"):
        protocol = Protocol(baseline=baseline)
        search = NaturalisticSearch(network, protocol, cell_types="L1", keep_all=True)
        clips = run_search(search, StimulusDataModule(extent=5, stop_sample=24), **QUIET)
        noise = StimulusGenerator(network, "L1", protocol, init=faint).result()
        found.append(figures(check_optima(noise, network, clips=clips))["percentile"])
    assert found == [50, 50]  # brighter edges come first, then as many darker ones


def test_stimuli_that_suppress_their_cell_have_no_spread_of_drives(network: FrozenNetwork) -> None:
    random = torch.Generator().manual_seed(0)
    bright = 0.6 + 0.4 * torch.rand(2, 30, network.lattice.n_columns, generator=random)
    checked = check_optima(
        StimulusGenerator(network, "L1", seeds=[0, 1], init=bright).result(), network
    )
    assert outcomes(checked)["restarts"] == FAILED and np.isnan(figures(checked)["restarts"])


# -- planted faults -------------------------------------------------------------------------------


def test_a_step_too_coarse_is_caught(network: FrozenNetwork) -> None:
    coarse = StimulusGenerator(network, "T4c", Protocol(dt=0.05), t_stim=0.5).result()
    assert outcomes(check_optima(coarse, network))["half_dt"] == FAILED
    fine = StimulusGenerator(network, "T4c", Protocol(dt=0.002), t_stim=0.3).result()
    assert outcomes(check_optima(fine, network))["half_dt"] == PASSED


def test_a_stimulus_that_leans_on_the_edge_is_caught() -> None:
    small = builtin_network(extent=0)  # a single column
    checked = check_optima(ceiling(small), small)
    assert outcomes(checked)["extent"] == FAILED


def test_a_search_that_stopped_early_is_caught(network: FrozenNetwork, clean: Result) -> None:
    checked = check_optima(ceiling(network, steps=1, trial=1), network)
    assert outcomes(checked)["optimality"] == FAILED
    assert outcomes(checked)["restarts"] == FAILED
    assert figures(check_optima(clean, network))["optimality"] < 0.01
    # A weighted loss that was hardly followed: a better stimulus lies at the same distance.
    noise = StimulusGenerator(network, "T4c", **SHORT).result()
    assert outcomes(check_optima(noise, network))["optimality"] == FAILED


def test_what_was_sought_beside_the_drive_is_no_search_that_stopped_early(
    network: FrozenNetwork, clean: Result
) -> None:
    smooth = {"grey": 100.0, "roughness": 100.0}
    for sought in (
        ceiling(network, contrast=["T4d"]),
        ceiling(network, objective="window_mean"),
        ceiling(network, bandwidth=Bandwidth(t_hold=0.1)),
        fit(MinimalGenerator(network, "T4c", ceiling=clean, **SHORT), steps=30),
        fit(StimulusGenerator(network, "T4c", penalties=smooth, **SHORT), steps=30),
    ):
        assert outcomes(check_optima(sought, network))["optimality"] == SKIPPED
    peak = ceiling(network, objective="soft_peak")
    assert outcomes(check_optima(peak, network))["optimality"] == PASSED


def test_seeds_that_end_apart_are_caught(network: FrozenNetwork) -> None:
    noise = StimulusGenerator(network, ["T4c", "Mi1"], seeds=[0, 1], **SHORT).result()
    checked = check_optima(noise, network)
    drives = [figures(checked, i)["restarts"] for i in range(4)]
    assert drives[0] == drives[1] > 0.05 and drives[2] == drives[3]
    assert outcomes(checked)["restarts"] == FAILED
    alone = StimulusGenerator(network, "T4c", **SHORT).result()
    assert outcomes(check_optima(alone, network))["restarts"] == SKIPPED


def test_a_network_that_drifts_at_grey_is_caught() -> None:
    slow = circuit("slow", {("R1", "A"): 1.0}, {"R1": 0.0, "A": 0.0}, time_const=2.0)
    checked = check_optima(ceiling(slow, cell="A"), slow)
    assert outcomes(checked)["settled"] == FAILED
    fast = circuit("fast", {("R1", "A"): 1.0}, {"R1": 0.0, "A": 0.0}, time_const=0.05)
    assert outcomes(check_optima(ceiling(fast, cell="A"), fast))["settled"] == PASSED


def test_a_stimulus_for_another_network_is_caught(network: FrozenNetwork, clean: Result) -> None:
    other = network.lesion("Mi9").select([1])
    with pytest.raises(ValueError, match=r"expected the network of the result .* load that"):
        check_optima(clean, other)
    forged = dataclasses.replace(clean, network_hash=other.content_hash)
    assert outcomes(check_optima(forged, other))["reproduced"] == FAILED
    # Where excitation and inhibition of T4c are exchanged, its optimum suppresses it.
    reversed_input = network.select([0])
    taps = network.connectome.taps
    onto = torch.as_tensor(taps.target == network.connectome.type_index["T4c"])
    reversed_input.tap_weight[:, onto] *= -1
    shown = check_optima(clean, network, others=[reversed_input])
    assert outcomes(shown)["other_networks"] == FAILED


def test_an_input_that_clips_never_use_is_caught() -> None:
    network = two_inputs()
    stimulus = np.full((1, 30, network.lattice.n_columns), 0.5, np.float32)
    natural = stimulus.copy()
    stimulus[0, 10:, network.lattice.index(1, 0)] = 1.0  # through B
    natural[0, 10:, network.lattice.index(0, 0)] = 0.9  # through A
    clips = with_stimulus(network, natural)
    checked = check_optima(with_stimulus(network, stimulus), network, clips=clips)
    assert outcomes(checked)["paths"] == FAILED
    assert outcomes(checked)["best_clip"] == PASSED
    own = check_optima(clips, network, clips=clips)
    assert outcomes(own)["paths"] == PASSED


def test_a_clip_that_drives_more_and_a_level_not_reached_are_caught(
    network: FrozenNetwork, clean: Result
) -> None:
    weak = with_stimulus(network, 0.5 + 0.2 * (clean["stimulus"] - 0.5), "T4c")
    weak.variables["fraction"] = Variable(("item",), np.array([0.9]))
    weak.variables["fraction_reached"] = Variable(("item",), np.array([0.4]))
    every = Variable(("clip", "item"), np.linspace(0, 9, 50)[:, None])
    clips = dataclasses.replace(clean, variables={**clean.variables, "every_peak_response": every})
    found = outcomes(check_optima(weak, network, clips=clips))
    assert {found[name] for name in ("level", "best_clip", "percentile")} == {FAILED}


def test_the_rung_of_a_ladder_at_grey_has_no_level_to_reach(network: FrozenNetwork) -> None:
    rungs = StimulusGenerator(network, ["T4c", "Mi1", "Tm3"], **SHORT).result()
    rungs.variables["fraction"] = Variable(("item",), np.array([-0.5, 0.0, 0.5]))
    rungs.variables["fraction_reached"] = Variable(("item",), np.array([0.5, 0.0, 0.4]))
    checked = check_optima(rungs, network)
    found = [outcomes(checked, i)["level"] for i in range(3)]
    assert found == [PASSED, SKIPPED, FAILED]
    assert SKIPPED not in {outcomes(checked, i)["half_dt"] for i in (0, 2)}


def test_nothing_is_measured_of_a_drive_that_is_not_sought(network: FrozenNetwork) -> None:
    stimulus = np.full((1, 30, network.lattice.n_columns), 0.5, np.float32)
    stimulus[0, -9, 0] += 1e-3  # the tolerance of a fit
    rung = with_stimulus(network, stimulus, "T4c")
    rung.variables["fraction"] = Variable(("item",), np.array([0.0]))
    checked = check_optima(rung, network)
    found = outcomes(checked)
    assert {name for name in found if found[name] != SKIPPED} == {"reproduced", "finite"}
    assert checked["passed"][0]


def test_what_a_display_may_miss_is_caught(network: FrozenNetwork) -> None:
    flash = np.full((1, 30, network.lattice.n_columns), 0.5, np.float32)
    flash[0, -2] = 0.0  # the receptors follow in this frame, L1 in the next
    found = outcomes(check_optima(with_stimulus(network, flash, "L1"), network))
    assert found["missed_frame"] == FAILED and found["extent"] == PASSED


# -- thresholds and bad input ---------------------------------------------------------------------


def test_thresholds_decide_and_are_reported(network: FrozenNetwork, clean: Result) -> None:
    checked = check_optima(clean, network, thresholds={"half_dt": 0.0})
    assert outcomes(checked)["half_dt"] == FAILED and not checked["passed"][0]
    limits = dict(zip(checked["criterion"], checked["threshold"], strict=True))
    assert limits["half_dt"] == 0 and limits["extent"] == checked_thresholds({})["extent"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"half": 0.1}, "did you mean 'half_dt'"),
        ({"half_dt": -0.1}, "threshold of half_dt >= 0, got -0.1"),
        ({"percentile": 101.0}, "threshold of percentile >= 0 and <= 100"),
        ({"paths": np.nan}, "finite threshold of paths"),
    ],
)
def test_refuses_thresholds_out_of_range(changed: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_thresholds(changed)


def test_refuses_results_without_stimuli_and_networks_of_another_size(
    network: FrozenNetwork, clean: Result
) -> None:
    without = {k: v for k, v in clean.variables.items() if k != "stimulus"}
    with pytest.raises(ValueError, match="expected a result with stimuli"):
        check_optima(dataclasses.replace(clean, variables=without), network)
    with pytest.raises(ValueError, match="expected another network with 91 columns"):
        check_optima(clean, network, others=[builtin_network(extent=4)])
    with pytest.raises(ValueError, match=r"as a list, got one network; pass \[network\]"):
        check_optima(clean, network, others=network)  # type: ignore[arg-type]


def test_every_criterion_says_what_it_measures_and_why() -> None:
    assert len({criterion.name for criterion in CRITERIA}) == len(CRITERIA)
    for criterion in CRITERIA:
        assert criterion.low <= criterion.threshold <= criterion.high
        assert criterion.measure and criterion.reason and criterion.failing
    assert {criterion.name for criterion in CRITERIA} > set(ALWAYS)
