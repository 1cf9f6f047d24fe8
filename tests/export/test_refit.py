"""A stimulus optimized under what a rig can show."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from stimopt.export.directions import Eye
from stimopt.export.displays import Arena, Sphere
from stimopt.export.formats import Npz, Shown
from stimopt.export.light import Light
from stimopt.export.refit import (
    fit_to_rig,
    fitted,
    improves,
    require_fit,
    seeks_drive,
    weights_of,
)
from stimopt.export.seen import Seen, seen_back
from stimopt.export.session import Order, on_rig
from stimopt.export.stimuli import Stimulus, choose_stimuli
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.efficient import EfficientGenerator, ResponseLadder
from stimopt.optimize.filtered import Filtered
from stimopt.optimize.generate import FLYVIS_PENALTIES, StimulusGenerator
from stimopt.optimize.limited import LimitedRange
from stimopt.optimize.minimal import MinimalGenerator
from stimopt.protocol import Protocol
from stimopt.results import Result, Variable
from stimopt.runs.trainer import fit
from tests.results.cases import random_result

PROTOCOL = Protocol(t_pre=0.2)
OPTIONS = {"penalties": {"grey": 1.0}}
QUIET = {"enable_progress_bar": False, "logger": False}


@pytest.fixture(scope="module")
def optimum(small_network: FrozenNetwork) -> Result:
    generator = StimulusGenerator(small_network, "T4c", PROTOCOL, t_stim=0.2, **OPTIONS)
    return fit(generator, steps=25, **QUIET)


def shown_on(rig: Rig, result: Result) -> Shown:
    return on_rig(choose_stimuli([result]), rig, Npz(), PROTOCOL, Order())[0]


def before_and_after(
    network: FrozenNetwork, shown: Shown, result: Result, steps: int
) -> tuple[Seen, Seen, Stimulus]:
    """What is seen of a stimulus before and after a fit to its rig, and the stimulus after it."""
    module = fit_to_rig(shown, network, PROTOCOL, result, steps)
    fit(module, steps=steps, **QUIET)
    better = fitted(module, shown.stimulus)
    (again,) = on_rig([better], shown.rig, Npz(), PROTOCOL, Order())
    before, after = (seen_back(s, s.levels(), network, PROTOCOL) for s in (shown, again))
    return before, after, better


RIGS = {
    "blurred": Rig(Sphere(60, 60, 60), Eye(acceptance=9), outside="grey"),
    "held": Rig(Sphere(60, 60, 60), timing=Timing(25, "hold"), outside="grey"),
    "dark around": Rig(Arena("G4.1 1x12"), light=Light(16), outside="dark"),
}


@pytest.mark.parametrize("name", RIGS)
def test_the_fit_sees_what_the_fly_sees(
    small_network: FrozenNetwork, optimum: Result, name: str
) -> None:
    """Its luminance before the first step is that of the simulation of the file."""
    rig = dataclasses.replace(RIGS[name], light=Light(65536))
    shown = shown_on(rig, optimum)
    module = fit_to_rig(shown, small_network, PROTOCOL, optimum, 25)
    seen = seen_back(shown, shown.levels(), small_network, PROTOCOL).luminance
    luminance = module.luminance().detach().numpy()[0]
    still = module.parametrization.still
    assert still == (20 if name == "dark around" else 0)
    first = shown.plan.frames_before - still
    np.testing.assert_allclose(luminance, seen[first : first + len(luminance)], atol=2e-3)


@pytest.mark.parametrize("name", RIGS)
def test_a_fit_regains_response(small_network: FrozenNetwork, optimum: Result, name: str) -> None:
    rig = RIGS[name]
    shown = shown_on(rig, optimum)
    before, after, better = before_and_after(small_network, shown, optimum, 25)
    assert better.name == "T4c_fit_to_rig" and better.luminance.shape == (20, 61)
    assert better.luminance.min() >= 0 and better.luminance.max() <= 1
    assert after.shown > before.shown and improves(optimum, before, after, 1)


@pytest.fixture(scope="module")
def ceiling(small_network: FrozenNetwork) -> Result:
    return fit(ResponseRange(small_network, "T4c", PROTOCOL, t_stim=0.2, floor=True), **QUIET)


@pytest.fixture(scope="module")
def efficient(small_network: FrozenNetwork, ceiling: Result) -> Result:
    """At a level that is within the reach of all rigs."""
    options = {"ceiling": ceiling, "fraction": 0.6, "t_stim": 0.2}
    return fit(EfficientGenerator(small_network, "T4c", PROTOCOL, **options), **QUIET)


@pytest.mark.parametrize("name", RIGS)
def test_an_efficient_stimulus_stays_efficient(
    small_network: FrozenNetwork, ceiling: Result, efficient: Result, name: str
) -> None:
    """It regains its response and no more, far nearer to grey than the largest response is."""
    shown = shown_on(dataclasses.replace(RIGS[name], light=Light(65536)), efficient)
    before, after, _ = before_and_after(small_network, shown, efficient, 50)
    assert before.shown < 0.98 * before.ideal
    assert after.shown == pytest.approx(before.ideal, rel=0.01)
    assert improves(efficient, before, after, 1)
    _, largest, _ = before_and_after(small_network, shown, ceiling, 50)
    assert largest.shown > 1.02 * after.shown
    assert after.grey_distance < 0.3 * largest.grey_distance


def test_rungs_of_a_ladder_keep_their_levels(small_network: FrozenNetwork, ceiling: Result) -> None:
    levels = {"levels": [-0.5, 0, 0.5]}
    ladder = fit(
        ResponseLadder(small_network, "T4c", PROTOCOL, ceiling=ceiling, t_stim=0.2, **levels),
        **QUIET,
    )
    rig = dataclasses.replace(RIGS["blurred"], light=Light(65536))
    rungs = on_rig(choose_stimuli([ladder]), rig, Npz(), PROTOCOL, Order())
    assert [seeks_drive(ladder, each.stimulus.label) for each in rungs] == [True, False, True]
    for shown in rungs[::2]:
        before, after, _ = before_and_after(small_network, shown, ladder, 50)
        assert shown.stimulus.sign * before.ideal > 0
        assert after.shown == pytest.approx(before.ideal, rel=0.01)


def test_a_level_beyond_the_rig_gives_the_largest_response(
    small_network: FrozenNetwork, ceiling: Result, efficient: Result
) -> None:
    blurring = Rig(Sphere(60, 60, 60), Eye(acceptance=30), outside="grey")
    shown = shown_on(blurring, efficient)
    before, after, _ = before_and_after(small_network, shown, efficient, 60)
    _, largest, _ = before_and_after(small_network, shown, ceiling, 100)
    assert before.shown < after.shown < 0.95 * before.ideal
    assert after.shown == pytest.approx(largest.shown, rel=0.03)


def test_a_response_beyond_the_level_is_no_improvement_of_an_efficient_stimulus(
    optimum: Result, efficient: Result
) -> None:
    def seen(response: float) -> Seen:
        return Seen("T4c", 2.0, {"levels": response}, np.zeros((1, 1)), 0, 0.5, 1.0)

    assert improves(efficient, seen(1.8), seen(2.1), 1)
    assert not improves(efficient, seen(1.8), seen(2.3), 1)
    assert improves(optimum, seen(1.8), seen(2.3), 1)
    assert not improves(optimum, seen(1.8), seen(2.3), -1)


def test_a_minimal_stimulus_stays_on_its_columns_and_frames(
    small_network: FrozenNetwork, ceiling: Result
) -> None:
    generator = MinimalGenerator(small_network, "T4c", PROTOCOL, ceiling=ceiling, t_stim=0.2)
    minimal = fit(generator, **QUIET)
    shown = shown_on(RIGS["dark around"], minimal)
    before, after, better = before_and_after(small_network, shown, minimal, 25)
    grey = shown.stimulus.luminance == 0.5
    columns, frames = grey.all(axis=0), grey.all(axis=1)
    assert 0 < columns.sum() < 61 and 0 < frames.sum() < 20
    assert (better.luminance[:, columns] == 0.5).all() and (better.luminance[frames] == 0.5).all()
    assert (better.luminance != shown.stimulus.luminance).any() and after.shown > before.shown


def test_penalties_count_as_without_the_grey_before(small_network: FrozenNetwork) -> None:
    penalties = {"grey": 3.0, "grey_sum": 2.0}
    generator = StimulusGenerator(
        small_network, "T4c", PROTOCOL, t_stim=0.2, penalties=penalties, activity_weight=2.0
    )
    result = generator.result()
    shown = shown_on(RIGS["dark around"], result)
    module = fit_to_rig(shown, small_network, PROTOCOL, result, 25)
    weights = {name: weight for name, (weight, _) in module.penalties.items()}
    assert weights == {"grey": 3.0 * 40 / 20, "grey_sum": 2.0}
    assert module.activity_weight == 2.0


@pytest.mark.parametrize(
    ("start", "stop", "window"),
    [
        (None, None, slice(20, 40)),
        (0.05, 0.1, slice(25, 30)),
        (-0.1, None, slice(30, 40)),
        (-0.1, -0.05, slice(30, 35)),
    ],
)
def test_the_read_out_window_stays_within_the_stimulus(
    small_network: FrozenNetwork, optimum: Result, start, stop, window
) -> None:
    protocol = Protocol(t_pre=0.2, readout_start=start, readout_stop=stop)
    shown = on_rig(choose_stimuli([optimum]), RIGS["dark around"], Npz(), protocol, Order())[0]
    module = fit_to_rig(shown, small_network, protocol, optimum, 25)
    assert module.readout_window == window


def test_weights_of_a_generation_are_used_again(
    small_network: FrozenNetwork, optimum: Result
) -> None:
    assert weights_of(optimum) == {
        "objective": "exp_last_frame", "temperature": None,
        "activity_weight": 1.0, "penalties": {"grey": 1.0},
    }  # fmt: skip
    assert weights_of(random_result(small_network)) == {"penalties": FLYVIS_PENALTIES}
    soft = ResponseRange(small_network, "T4c", objective="soft_peak", temperature=0.05, t_stim=0.1)
    assert weights_of(soft.result()) == {
        "objective": "soft_peak", "temperature": 0.05, "activity_weight": 1.0, "penalties": {},
    }  # fmt: skip


def test_stimuli_that_a_fit_would_turn_into_others_are_refused(
    small_network: FrozenNetwork, efficient: Result
) -> None:
    several = random_result(small_network)
    response = Variable(("item", "reading", "frame"), np.zeros((2, 2, 12)))
    several.variables["reading_response"] = response
    with pytest.raises(ValueError, match="items of one cell"):
        require_fit(several)
    limited = LimitedRange(small_network, "T4c", PROTOCOL, rms_contrast=0.1, t_stim=0.2)
    with pytest.raises(ValueError, match="got LimitedRange's; export them without a fit"):
        require_fit(limited.result())
    for name, value, message in (
        ("objective", "my_lab.onset", "objective of a fit"),
        ("pool", "my_lab.both", "pool of a level"),
        ("parametrization", "Filtered(0123, still=0)", "without filters of their own, got a band"),
    ):
        foreign = dataclasses.replace(efficient, config={**efficient.config, name: value})
        with pytest.raises(ValueError, match=message):
            require_fit(foreign)


def test_filters_of_a_rig_are_a_parametrization_of_any_fit(small_network: FrozenNetwork) -> None:
    n = small_network.lattice.n_columns
    halves = Filtered(torch.eye(5), 0.5 * torch.eye(n), torch.full((n,), 0.25), still=2)
    generator = StimulusGenerator(
        small_network, "T4c", PROTOCOL, t_stim=0.05, parametrization=halves
    )
    result = fit(generator, steps=2, **QUIET)
    assert result["stimulus"].min() >= 0.25 and result["stimulus"].max() <= 0.75
    assert (generator.stimulus[0, :2] == 0.5).all()
