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
from stimopt.export.refit import fit_to_rig, fitted, options_of
from stimopt.export.seen import seen_back
from stimopt.export.session import Order, on_rig
from stimopt.export.stimuli import choose_stimuli
from stimopt.export.timing import Timing
from stimopt.export.view import Rig
from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.filtered import Filtered
from stimopt.optimize.generate import FLYVIS_PENALTIES, StimulusGenerator
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
    module = fit_to_rig(shown, small_network, PROTOCOL, **OPTIONS)
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
    before = seen_back(shown, shown.levels(), small_network, PROTOCOL)
    module = fit_to_rig(shown, small_network, PROTOCOL, **OPTIONS)
    fit(module, steps=25, **QUIET)
    better = fitted(module, shown.stimulus)
    assert better.name == "T4c_fit_to_rig" and better.luminance.shape == (20, 61)
    assert better.luminance.min() >= 0 and better.luminance.max() <= 1
    (again,) = on_rig([better], rig, Npz(), PROTOCOL, Order())
    after = seen_back(again, again.levels(), small_network, PROTOCOL)
    assert after.shown > before.shown


def test_penalties_count_as_without_the_grey_before(
    small_network: FrozenNetwork, optimum: Result
) -> None:
    shown = shown_on(RIGS["dark around"], optimum)
    options = {"penalties": {"grey": 3.0, "grey_sum": 2.0}}
    module = fit_to_rig(shown, small_network, PROTOCOL, **options)
    weights = {name: weight for name, (weight, _) in module.penalties.items()}
    assert weights == {"grey": 3.0 * 40 / 20, "grey_sum": 2.0}
    assert options["penalties"]["grey"] == 3.0


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
    assert fit_to_rig(shown, small_network, protocol).readout_window == window


def test_options_of_a_generation_are_used_again(
    small_network: FrozenNetwork, optimum: Result
) -> None:
    assert options_of(optimum) == {
        "objective": "exp_last_frame", "activity_weight": 1.0, "penalties": {"grey": 1.0},
    }  # fmt: skip
    assert options_of(random_result(small_network)) == {"penalties": FLYVIS_PENALTIES}
    foreign = dataclasses.replace(optimum, config={**optimum.config, "objective": "os.getcwd"})
    assert options_of(foreign) == {"penalties": FLYVIS_PENALTIES}


def test_an_item_of_several_cells_is_not_fitted_for_one(small_network: FrozenNetwork) -> None:
    result = random_result(small_network)
    response = Variable(("item", "reading", "frame"), np.zeros((2, 2, 12)))
    result.variables["reading_response"] = response
    with pytest.raises(ValueError, match="items of one cell"):
        options_of(result)


def test_filters_of_a_rig_are_a_parametrization_of_any_fit(small_network: FrozenNetwork) -> None:
    n = small_network.lattice.n_columns
    halves = Filtered(torch.eye(5), 0.5 * torch.eye(n), torch.full((n,), 0.25), still=2)
    generator = StimulusGenerator(
        small_network, "T4c", PROTOCOL, t_stim=0.05, parametrization=halves
    )
    result = fit(generator, steps=2, **QUIET)
    assert result["stimulus"].min() >= 0.25 and result["stimulus"].max() <= 0.75
    assert (generator.stimulus[0, :2] == 0.5).all()
