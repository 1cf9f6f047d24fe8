"""Steps toward the optimum of a linear region, on neurons whose optima are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.optim.lr_scheduler import StepLR

import stimopt
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.efficient import EfficientGenerator, ResponseLadder
from stimopt.optimize.filtered import Bandwidth
from stimopt.optimize.generate import RegionGenerator, StimulusGenerator
from stimopt.optimize.minimal import MinimalGenerator
from stimopt.optimize.region import (
    from_grey,
    largest_size,
    nearest_to_grey,
    optimality_residual,
)
from stimopt.protocol import Protocol
from tests.optimize.cases import (
    half_blind_network,
    linear_jacobian,
    linear_network,
    same_run,
)

QUIET = {"enable_progress_bar": False, "logger": False}
SHORT = {"protocol": Protocol(t_pre=0.0), "t_stim": 0.05}


def gradient_of_last_frame(kernel: torch.Tensor, frames: int = 5) -> np.ndarray:
    """d r_last / d x of the linear neuron, `(frames, columns)`."""
    return linear_jacobian(kernel, frames)[-1].reshape(frames, -1)


def test_the_ceiling_of_a_linear_neuron_is_black_and_white_by_the_sign_of_its_kernel() -> None:
    network, kernel = linear_network()
    g = gradient_of_last_frame(kernel)
    fit = ResponseRange(network, "linear", floor=True, **SHORT)
    result = stimopt.fit(fit, steps=30, **QUIET)
    assert result["bound"].tolist() == ["ceiling", "floor"]
    expected = [np.maximum(g, 0).sum(), np.minimum(g, 0).sum()]
    np.testing.assert_allclose(result["objective"], expected, rtol=1e-5)
    np.testing.assert_allclose(result["start_spread"], 0, atol=1e-5)
    np.testing.assert_allclose(result["optimality_residual"], 0, atol=1e-6)
    # Pixels that the last frame does not depend on stay grey.
    assert (result["stimulus"][:, g == 0] != 0.5).sum() == 0


def test_the_best_of_all_starts_goes_on_after_a_trial(small_network: FrozenNetwork) -> None:
    """On a lattice too small for more, starts are tried at the cell itself, one by one."""
    options: Any = {"cell_types": "T4c,L1", "t_stim": 0.1, "floor": True, "anneal": 10}
    fit = ResponseRange(small_network, trial=2, **options)
    result = stimopt.fit(fit, log_every_n_steps=1, **QUIET)
    assert result["bound"].tolist() == ["ceiling", "floor"] * 2
    alone = [ResponseRange(small_network, trial=0, starts=[s], **options) for s in fit.starts]
    for each in alone:
        stimopt.fit(each, 2, **QUIET)
    tried = np.stack([-each.record.history["loss/total"][2].numpy() for each in alone])
    assert result["start"].tolist() == np.array(fit.starts)[tried.argmax(axis=0)].tolist()
    np.testing.assert_allclose(result["start_spread"], np.ptp(tried, axis=0), rtol=1e-5)
    losses = fit.record.history["loss/total"].numpy()
    np.testing.assert_allclose(-losses[0], tried.max(axis=0), rtol=1e-5)
    signs = np.where(result["bound"] == "floor", -1, 1)
    np.testing.assert_allclose(result["objective"] * signs, -losses.min(axis=0), rtol=1e-5)
    # The logged peak is the lowest response where the floor is sought.
    logged = result["response_peak"][result["best_step"], np.arange(len(signs))]
    central = [result["central_response"][i, result.frame_of_peak(i)] for i in range(len(signs))]
    np.testing.assert_allclose(logged, central, atol=1e-5)


def test_a_trial_is_not_repeated_by_a_resumed_fit(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    def made() -> ResponseRange:
        return ResponseRange(small_network, "T4c,L1", t_stim=0.1, anneal=10, trial=3)

    whole, second = made(), made()
    stimopt.fit(whole, 20, **QUIET)
    stimopt.fit(made(), 7, tmp_path, **QUIET)
    stimopt.fit(second, 20, tmp_path, **QUIET)
    assert same_run(whole, second)


def test_without_a_trial_the_first_start_is_followed(small_network: FrozenNetwork) -> None:
    fit = ResponseRange(small_network, "T4c", t_stim=0.1, anneal=5, trial=0)
    result = stimopt.fit(fit, **QUIET)
    assert result["start"].tolist() == ["grey"] and np.isnan(result["start_spread"]).all()
    at_grey = -result["grey_objective"][0]
    assert fit.record.history["loss/total"][0, 0] == pytest.approx(at_grey)


def test_rounds_bring_to_the_ceiling_what_the_first_steps_leave_and_then_stop() -> None:
    network, kernel = linear_network()
    expected = np.abs(gradient_of_last_frame(kernel)).sum() / 2
    fit = ResponseRange(network, "linear", anneal=1, starts=["grey"], trial=0, **SHORT)
    result = stimopt.fit(fit, log_every_n_steps=1, **QUIET)
    risen = -result["losses"][:, 0] - result["grey_objective"][0]
    # One step of 0.2 is 0.4 of the way to black or white; the first round goes the rest.
    np.testing.assert_allclose(risen[1], 0.4 * expected, rtol=1e-5)
    np.testing.assert_allclose(risen[21], expected, rtol=1e-5)
    # The second brings nothing, and the item stops.
    assert result["stop_reason"].tolist() == ["it no longer improved"]
    assert len(risen) <= 1 + 1 + 2 * 20 + 2


def test_the_efficient_optimum_of_a_linear_neuron_is_the_closed_form() -> None:
    network, kernel = linear_network()
    g = gradient_of_last_frame(kernel)
    ceiling = stimopt.fit(ResponseRange(network, "linear", **SHORT), steps=30, **QUIET)
    fit = EfficientGenerator(network, "linear", ceiling=ceiling, fraction=0.7, **SHORT)
    result = stimopt.fit(fit, steps=100, **QUIET)

    def reached(mu: float) -> float:
        return float((g * np.clip(mu * g, -0.5, 0.5)).sum() / (np.abs(g).sum() / 2))

    mu = minimize_scalar(lambda m: (reached(m) - 0.7) ** 2, bounds=(0, 10), method="bounded").x
    distance = float((np.clip(mu * g, -0.5, 0.5) ** 2).sum())
    assert result["level_met"].all()
    assert 0.7 - 1e-5 <= result["fraction_reached"][0] < 0.71
    # 0.3 % of the range is aimed at on top, which costs about twice that in distance.
    assert distance * (1 - 1e-4) <= result["grey_distance"][0] < 1.02 * distance


@pytest.mark.parametrize("fits", [EfficientGenerator, MinimalGenerator, ResponseLadder])
def test_a_ceiling_at_which_every_rectifier_is_shut_is_left(
    small_network: stimopt.FrozenNetwork, fits: Any
) -> None:
    """At the ceiling of L3, black and white, its response does not depend on light."""
    options: Any = {"cell_types": "L3", "t_stim": 0.3}
    if fits is ResponseLadder:
        options["levels"] = [0.5, 0.9]
    ceiling = stimopt.fit(fits.range_fit(small_network, **options), **QUIET)
    result = stimopt.fit(fits(small_network, ceiling=ceiling, **options), **QUIET)
    assert result["level_met"].all()
    distance = ((result["stimulus"] - 0.5) ** 2).sum(axis=(1, 2))
    assert (distance < 0.5 * ((ceiling["stimulus"] - 0.5) ** 2).sum()).all()
    if fits is not MinimalGenerator:
        np.testing.assert_allclose(result["fraction_reached"], result["fraction"], atol=0.011)


def test_a_rung_above_its_level_does_not_meet_it(small_network: stimopt.FrozenNetwork) -> None:
    options: Any = {"cell_types": "T4c", "t_stim": 0.1, "levels": [0.5]}
    ceiling = stimopt.fit(ResponseLadder.range_fit(small_network, **options), **QUIET)
    fit = ResponseLadder(small_network, ceiling=ceiling, **options)
    assert fit.result()["fraction_reached"] > 0.99  # it starts from the ceiling
    assert not fit.result()["level_met"].any()


def test_a_cell_that_darkness_alone_drives_has_a_ceiling() -> None:
    """The slope is zero at grey, and wherever the one pixel that counts is bright."""

    class Off(torch.nn.Module):
        def forward(self, luminance: torch.Tensor) -> torch.Tensor:
            return torch.relu(0.5 - luminance[:, :, [3]])

    network = ModuleNetwork(Off(), {"off": 0}, extent=1)
    result = stimopt.fit(ResponseRange(network, "off", Protocol(t_pre=0.0), t_stim=0.05), **QUIET)
    assert result["objective"][0] == pytest.approx(0.5)


def test_every_rung_of_a_ladder_lies_at_its_level() -> None:
    network, _ = linear_network()
    extremes = stimopt.fit(ResponseRange(network, "linear", floor=True, **SHORT), 30, **QUIET)
    fit = ResponseLadder(network, "linear", ceiling=extremes, **SHORT)
    result = stimopt.fit(fit, steps=100, **QUIET)
    levels = np.array(fit.settings()["fractions"])
    assert len(levels) == 11
    np.testing.assert_allclose(result["fraction_reached"], np.abs(levels), atol=0.01)
    # The farther from grey the response, the more contrast it takes, on either side.
    assert (np.diff(result["grey_distance"][levels >= 0]) > 0).all()
    assert (np.diff(result["grey_distance"][levels <= 0]) < 0).all()


def test_region_steps_come_nearer_to_the_end_of_adam_than_adam_in_as_many_gradients(
    small_network: stimopt.FrozenNetwork,
) -> None:
    types = ["T4c", "T5a", "Mi1", "L1"]
    adam = StimulusGenerator(small_network, types)
    stimopt.fit(adam, steps=200, **QUIET)
    region = RegionGenerator(small_network, types)
    stimopt.fit(region, steps=30, **QUIET)
    losses = adam.record.history["loss/total"]
    end, early = losses[-1], losses[:31].amin(dim=0)
    reached = region.record.best_score
    assert (reached < early).all()
    assert (reached <= end + 0.05 * end.abs()).all()
    # Cells whose loss is nearly a parabola are solved: no pixel wanders around grey.
    assert (reached[2:] <= end[2:] + 1e-3 * end[2:].abs()).all()


def test_a_fit_that_has_settled_stops_by_itself(small_network: stimopt.FrozenNetwork) -> None:
    fit = RegionGenerator(small_network, "T4c", t_stim=0.1, anneal=5)
    result = stimopt.fit(fit, steps=100, log_every_n_steps=5, **QUIET)
    assert len(result["losses"]) <= 12
    assert result["stop_reason"][0] == "its steps had become as short as planned"


def test_a_resumed_fit_is_bit_for_bit_the_uninterrupted_one(
    small_network: stimopt.FrozenNetwork, tmp_path: Path
) -> None:
    def efficient() -> EfficientGenerator:
        return EfficientGenerator(small_network, "T4c", t_stim=0.1, ceiling=ceiling, anneal=12)

    def in_rounds() -> ResponseRange:
        return ResponseRange(small_network, "T4c,L1", t_stim=0.1, anneal=4)

    ceiling = stimopt.fit(ResponseRange(small_network, "T4c", t_stim=0.1), 30, **QUIET)
    options = {"checkpoint_every_n_steps": 1, "enable_progress_bar": False}
    for make, interrupted, steps in ((efficient, 5, 12), (in_rounds, 37, 60)):
        whole, first, rest = make(), make(), make()
        folder = tmp_path / make.__name__
        stimopt.fit(whole, steps, folder / "whole", **options)
        stimopt.fit(first, interrupted, folder / "parts", **options)
        stimopt.fit(rest, steps, folder / "parts", **options)
        assert same_run(whole, rest)


def test_where_nothing_depends_on_the_pixels_the_optimum_is_grey() -> None:
    nowhere = torch.zeros(1, 2, 3)
    assert torch.equal(from_grey(largest_size(nowhere), nowhere), torch.full((1, 2, 3), 0.5))


def test_the_residual_counts_only_pixels_that_can_move() -> None:
    gradient = torch.tensor([[[3.0, -4.0, 0.0]]])
    inside, at_bounds = torch.full((1, 1, 3), 0.5), torch.tensor([[[1.0, 0.0, 0.5]]])
    assert optimality_residual(gradient, inside).item() == 1
    assert optimality_residual(gradient, at_bounds).item() == 0
    assert optimality_residual(gradient, torch.tensor([[[1.0, 0.5, 0.5]]])).item() == pytest.approx(
        0.8
    )


def test_the_factor_meets_what_the_response_lacks() -> None:
    generator = torch.Generator().manual_seed(0)
    d = torch.randn((3, 4, 5), generator=generator)
    x = torch.rand((3, 4, 5), generator=generator)
    missing = torch.tensor([0.5, 2.0, 1e6])
    mu = nearest_to_grey(d, x, missing)
    optimum = (0.5 + mu[:, None, None] * d).clamp(0, 1)
    change = (d * (optimum - x)).flatten(1).sum(1)
    torch.testing.assert_close(change[:2], missing[:2], rtol=1e-4, atol=1e-4)
    assert set(optimum[2].unique().tolist()) == {0.0, 1.0}  # as far as pixels go


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 1.5}, "fraction"),
        ({"t_stim": 0.06}, "stimuli of the ceiling"),
        ({"seeds": 3}, "the ceiling of linear"),
        ({"objective": "window_mean"}, "a ceiling with objective = window_mean, got last_frame"),
        ({"pool": "worst"}, "a ceiling with pool = worst, got mean"),
        ({"bandwidth": Bandwidth(t_hold=0.02)}, r"a ceiling with parametrization = .* got Clamp"),
    ],
)
def test_what_does_not_fit_the_ceiling_is_refused(options: dict[str, Any], message: str) -> None:
    network, _ = linear_network()
    ceiling = stimopt.fit(ResponseRange(network, "linear", **SHORT), steps=2, **QUIET)
    with pytest.raises(ValueError, match=message):
        EfficientGenerator(network, "linear", ceiling=ceiling, **{**SHORT, **options})


@pytest.mark.parametrize("kind", [ResponseRange, RegionGenerator])
@pytest.mark.parametrize(
    ("option", "value"),
    [("parametrization", "sigmoid"), ("lr_scheduler", lambda o: StepLR(o, 1, 0.1))],
)
def test_what_would_spoil_steps_to_the_optimum_of_a_region_is_refused(
    kind: Any, option: str, value: Any
) -> None:
    network, _ = linear_network()
    with pytest.raises(ValueError, match=f"{option}.* with steps toward the optimum of a region"):
        kind(network, "linear", **{**SHORT, option: value})


def test_the_ceiling_of_another_contrast_is_refused(small_network: FrozenNetwork) -> None:
    fit = ResponseRange(small_network, "T4c", t_stim=0.1, contrast=["T4a"])
    ceiling = stimopt.fit(fit, steps=2, **QUIET)
    with pytest.raises(ValueError, match="a ceiling of responses of T4c, T4d, got T4c, T4a"):
        EfficientGenerator(small_network, "T4c", t_stim=0.1, contrast=["T4d"], ceiling=ceiling)


def test_a_cell_that_nothing_drives_stays_grey_and_says_so() -> None:
    network, options = half_blind_network(), {"t_stim": 0.03, "protocol": Protocol(t_pre=0.0)}
    with pytest.warns(UserWarning, match="got none for blind"):
        ceiling = stimopt.fit(ResponseRange(network, "sees,blind", **options), **QUIET)
    with pytest.warns(UserWarning, match="got none for blind; their stimuli stay grey"):
        fit = EfficientGenerator(network, "sees,blind", ceiling=ceiling, **options)
    result = stimopt.fit(fit, **QUIET)
    assert "no stimulus drives it" in result["stop_reason"][1]
    assert (result["stimulus"][1] == 0.5).all() and np.isnan(result["fraction_reached"][1])
    assert result["level_met"].tolist() == [True, False]
    with pytest.raises(ValueError, match="a response that some stimulus drives"):
        EfficientGenerator(network, "blind", ceiling=ceiling, **options)


def test_the_lowest_response_is_approached_with_sign_minus_one() -> None:
    network, _ = linear_network()
    options = {**SHORT, "sign": -1}
    floor = stimopt.fit(EfficientGenerator.range_fit(network, "linear", **options), **QUIET)
    fit = EfficientGenerator(network, "linear", ceiling=floor, **options)
    result = stimopt.fit(fit, **QUIET)
    assert result["ceiling"][0] == floor["objective"][0] < result["grey_objective"][0]
    reached = (result["objective"] - result["grey_objective"]) / (
        result["ceiling"] - result["grey_objective"]
    )
    assert 0.9 - 1e-5 <= reached[0] < 0.91


@pytest.mark.parametrize("levels", [[0.5, 0.5], [2.0], [], 0.5, "0.5"])
def test_levels_that_repeat_or_lie_outside_or_are_no_list_are_refused(levels: Any) -> None:
    network, _ = linear_network()
    extremes = stimopt.fit(ResponseRange(network, "linear", floor=True, **SHORT), 2, **QUIET)
    with pytest.raises(ValueError, match="level"):
        ResponseLadder(network, "linear", ceiling=extremes, levels=levels, **SHORT)


@pytest.mark.parametrize("starts", [["grey", "grey"], [], "grey"])
def test_starts_are_a_list_of_names_once_each(starts: Any) -> None:
    network, _ = linear_network()
    with pytest.raises(ValueError, match=r"a list of starts, once each, got \W?(grey|\[)"):
        ResponseRange(network, "linear", starts=starts, **SHORT)


def test_bandwidth_and_a_parametrization_are_not_both_taken() -> None:
    network, _ = linear_network()
    bandwidth = Bandwidth(t_hold=0.02)
    with pytest.raises(ValueError, match="bandwidth or a parametrization, got both"):
        ResponseRange(network, "linear", bandwidth=bandwidth, parametrization="sigmoid", **SHORT)


def test_a_cell_that_light_does_not_reach_is_refused() -> None:
    # One frame is over before the light has passed the synapses on the way.
    network = stimopt.builtin_network(extent=2)
    fit = ResponseRange(network, "T4c", Protocol(t_pre=0.0), t_stim=0.01)
    with pytest.raises(RuntimeError, match="none for T4c"):
        stimopt.fit(fit, steps=2, **QUIET)


def test_a_fade_in_passes_the_gradient_of_the_first_frame() -> None:
    network = stimopt.builtin_network(extent=2).double()
    protocol = Protocol(t_pre=0.05, t_fade_in=0.05)
    cell = torch.tensor([network.cell_index("T4c")])
    generator = torch.Generator().manual_seed(0)
    clip = torch.rand((1, 4, 19), generator=generator, dtype=torch.float64)

    def last(x: torch.Tensor) -> torch.Tensor:
        return network.respond(x, protocol, cell)[:, -1].sum()

    leaf = clip.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(last(leaf), leaf)
    for column in (0, 9, 18):
        step = torch.zeros_like(clip)
        step[0, 0, column] = 1e-6
        slope = (last(clip + step) - last(clip - step)) / 2e-6
        torch.testing.assert_close(gradient[0, 0, column], slope, rtol=1e-5, atol=1e-9)
