"""Regularization: closed forms, flyvis's recorded run, promises kept, resumed runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize import constrained
from stimopt.optimize.band import FIRST_STIFFNESS, MARGIN
from stimopt.optimize.constrained import NEAR_GREY
from stimopt.optimize.regularize import PenalizedRegularizer, StimulusRegularizer
from stimopt.protocol import Protocol
from stimopt.runs.checkpointing import LastCheckpoint
from tests.optimize.cases import linear_jacobian, linear_network, noise_clip, same_run

Trainers = Callable[..., pl.Trainer]
FEW_STEPS = pytest.mark.filterwarnings("ignore:expected a greyer stimulus within the tolerance")
NO_PRE = Protocol(t_pre=0.0)
"""The linear neuron answers grey with 0 from the first frame on."""
MOTION = ["T4a", "T4b", "T4c", "T4d", "T5a", "T5b", "T5c", "T5d"]


# -- closed forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_without_memory_every_frame_has_its_least_norm_in_closed_form(
    make_trainer: Trainers, scale: float
) -> None:
    network, kernel = linear_network(taps=1, scale=scale, base=0.5)
    clip = noise_clip(1, 12, 7, spread=0.4)
    fit = StimulusRegularizer(network, "linear", NO_PRE, init=clip, tolerance=0.05)
    make_trainer(120).fit(fit)
    # Least |y|^2 with |k y - c| <= b is y = k (|c| - b)+ sign(c) / |k|^2, for each frame alone.
    k, c = kernel[0].double().numpy(), fit.band.level[0, 0].double().numpy()
    aimed = (1 - MARGIN) * float(fit.band.above[0, 0, 0])
    expected = np.outer(np.sign(c) * np.maximum(np.abs(c) - aimed, 0), k) / (k @ k) + 0.5
    # The multipliers settle within a hundred updates of PERIOD steps to about 1e-3.
    np.testing.assert_allclose(fit.luminance().detach()[0].numpy(), expected, atol=1e-3)
    assert float(fit.record.best_score) == pytest.approx(((expected - 0.5) ** 2).sum(), rel=2e-3)


def test_with_memory_and_bounds_it_is_the_quadratic_programme(make_trainer: Trainers) -> None:
    network, kernel = linear_network(taps=3, seed=2, base=0.5)
    # Pixels far from grey: in the solution some of them stay at 0 or 1.
    clip = (noise_clip(1, 16, 7, seed=5) > 0.5).float()
    fit = StimulusRegularizer(network, "linear", NO_PRE, init=clip, tolerance=0.02)
    make_trainer(300).fit(fit)
    jacobian = linear_jacobian(kernel, 16)
    target = fit.band.level[0, 0].double().numpy()
    allowed = float(fit.band.above[0, 0, 0])
    aimed = (1 - MARGIN) * allowed
    expected = least_norm(jacobian, target, aimed)
    assert (np.abs(expected) > 0.5 - 1e-9).sum() >= 3, "bounds are wanted here"
    found = fit.record.best_stimulus[0].double().numpy().ravel() - 0.5
    assert np.abs(found).max() <= 0.5
    assert np.abs(jacobian @ found - target).max() <= allowed * (1 + 1e-6)
    # The optimum for the band promised is at most as far from grey, that for the one aimed at
    # bounds what the iterates go to.
    least = float((least_norm(jacobian, target, allowed) ** 2).sum())
    aim = float((expected**2).sum())
    assert least * (1 - 1e-5) <= float(fit.record.best_score) <= aim * 1.002
    np.testing.assert_allclose(found, expected, atol=0.02)


def least_norm(jacobian: np.ndarray, target: np.ndarray, band: float) -> np.ndarray:
    """argmin |y|^2 with |J y - c| <= b and |y| <= 1/2, by Hildreth's rows and bisection.

    One multiplier after another is set so that its own row is met, y = clip(-J^T m); the dual is
    concave, so this goes to the optimum.
    """
    multiplier = np.zeros(len(target))

    def row_error(t: int, value: float) -> float:
        trial = multiplier.copy()
        trial[t] = value
        return float(jacobian[t] @ np.clip(-jacobian.T @ trial, -0.5, 0.5) - target[t])

    for _ in range(300):
        before = multiplier.copy()
        for t in range(len(target)):
            if abs(row_error(t, 0.0)) <= band:
                multiplier[t] = 0.0
                continue
            # The error falls as the multiplier grows: above the band it must be raised.
            above = row_error(t, 0.0) > band
            low, high = (0.0, 64.0) if above else (-64.0, 0.0)
            edge = band if above else -band
            for _ in range(60):
                middle = (low + high) / 2
                if row_error(t, middle) > edge:
                    low = middle
                else:
                    high = middle
            multiplier[t] = (low + high) / 2
        if np.abs(multiplier - before).max() < 1e-9:
            break
    return np.clip(-jacobian.T @ multiplier, -0.5, 0.5)


# -- flyvis ----------------------------------------------------------------------------------------


def test_flyvis_preset_gives_flyvis_s_run(
    real_network: FrozenNetwork, recorded: h5py.File, make_trainer: Trainers
) -> None:
    held = recorded["regularize/T4c"]
    clip = torch.tensor(recorded["search/sample_421/stimulus"][()])[None]
    fit = PenalizedRegularizer(real_network, "T4c", init=clip)
    np.testing.assert_allclose(fit.target[0], held["target_response"][()], atol=1e-5)
    make_trainer(100).fit(fit)
    found = fit.record.history["loss/total"][:, 0].numpy()
    assert len(found) == 101
    np.testing.assert_allclose(found[:100], held["losses"][()], rtol=1e-3)
    # Recorded before the last step; the stimulus after it.
    assert float(fit.record.history["response/peak"][99]) == pytest.approx(1.2964, rel=1e-3)
    np.testing.assert_allclose(fit.luminance().detach()[0], held["stimulus"][()], atol=1e-3)
    assert float(fit.result()["central_response"].max()) < 0.75 * float(fit.target.max())


@pytest.mark.slow
def test_t4c_keeps_its_response_and_is_greyer_than_flyvis_s_loss_at_100(
    real_network: FrozenNetwork, recorded: h5py.File, make_trainer: Trainers
) -> None:
    clip = torch.tensor(recorded["search/sample_421/stimulus"][()])[None]
    heavy = PenalizedRegularizer(
        real_network,
        "T4c",
        init=clip,
        activity_weight=100.0,
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.995),
    )
    make_trainer(1000).fit(heavy)
    losses = heavy.record.history["loss/total"][:, 0]
    assert float(losses[900] / losses[-1]) < 1.001, "converged"
    fit = StimulusRegularizer(real_network, "T4c", init=clip)
    make_trainer(300).fit(fit)
    result = fit.result()
    assert result["tolerance_met"][0] and result["largest_deviation"][0] <= 0.02
    assert fit.record.best_stimulus.min() >= 0 and fit.record.best_stimulus.max() <= 1
    assert result["grey_distance"][0] <= 1.1 * float(heavy.record.history["loss/grey"][-1, 0])


# -- promises --------------------------------------------------------------------------------------


def test_every_motion_cell_keeps_its_response_in_range(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    clip = noise_clip(1, 30, small_network.lattice.n_columns).expand(len(MOTION), -1, -1)
    fit = StimulusRegularizer(small_network, MOTION, init=clip)
    make_trainer(200).fit(fit)
    result = fit.result()
    # By hand, from the arrays a reader of the result has.
    target, predicted = result["central_target_response"], result["central_response"]
    bound = 0.02 * (target.max(axis=1) - target.min(axis=1))
    assert (np.abs(predicted - target).max(axis=1) <= bound).all()
    assert result["tolerance_met"].all() and result["start_tolerance_met"].all()
    assert result["stimulus"].min() >= 0 and result["stimulus"].max() <= 1
    distance = ((result["stimulus"] - 0.5) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(distance, result["grey_distance"], rtol=1e-5)
    # Most of the noise says nothing to a cell: its stimulus must lose nearly all of it.
    assert (distance < 0.1 * result["loss_grey"][0]).all()
    assert result.check(small_network) <= 1e-6
    assert result.kind == "regularized"


def test_best_is_the_greyest_of_those_that_meet_the_tolerance(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    clip = noise_clip(2, 24, small_network.lattice.n_columns, seed=3)
    fit = StimulusRegularizer(small_network, ["T4a", "T5c"], init=clip)
    make_trainer(120).fit(fit)
    deviation, grey = fit.record.history["constraint/deviation"], fit.record.history["loss/grey"]
    for i in range(2):
        met = fit.record.history["constraint/violation"][:, i] == 0
        assert (deviation[met, i] <= 0.02).all()
        assert float(fit.record.best_score[i]) == float(grey[met, i].min())
        assert met[fit.record.best_step[i]]


def test_readout_window_alone_is_held(small_network: FrozenNetwork, make_trainer: Trainers) -> None:
    clip = noise_clip(1, 30, small_network.lattice.n_columns)
    whole = StimulusRegularizer(small_network, "T4c", init=clip)
    window = Protocol(readout_start=-0.2, readout_stop=-0.05)
    late = StimulusRegularizer(small_network, "T4c", window, init=clip)
    for fit in (whole, late):
        make_trainer(130).fit(fit)
    result = late.result()
    target = result["central_target_response"][0]
    off = np.abs(result["central_response"][0] - target)
    assert off[10:25].max() <= 0.02 * np.ptp(target[10:25])
    # The bound leaves room for rounding, for a simulation on another machine.
    assert float(fit.band.above[0, 0, 10]) < 0.02 * float(fit.target_range[0])
    assert off[:10].max() > 0.02 * np.ptp(target[10:25]), "what is outside is free"
    assert late.record.best_score < whole.record.best_score


def test_an_infeasible_start_and_an_unreachable_target_are_said(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    clip = noise_clip(1, 20, small_network.lattice.n_columns)
    reach = StimulusRegularizer(small_network, "T4c", init=clip)
    far = reach.band.level[:, 0] + 100 * torch.arange(20)
    fit = StimulusRegularizer(small_network, "T4c", init=clip, target=far)
    with pytest.warns(UserWarning) as said:
        make_trainer(12).fit(fit)
    messages = [str(w.message) for w in said]
    assert any("start within the tolerance" in m and "T4c" in m for m in messages)
    assert any("none was found" in m for m in messages)
    result = fit.result()
    assert not result["tolerance_met"][0] and not result["start_tolerance_met"][0]
    assert torch.isinf(fit.record.best_score).all()
    torch.testing.assert_close(fit.record.best_stimulus, clip)


@FEW_STEPS
def test_a_constant_target_leaves_the_other_items_to_go_on(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    clip = noise_clip(2, 20, small_network.lattice.n_columns)
    level = StimulusRegularizer(small_network, "T4c,T5c", init=clip).band.level[:, 0]
    level[0] = 0.3
    with pytest.warns(UserWarning, match="got constant ones for T4c, .*their clips are kept"):
        fit = StimulusRegularizer(small_network, "T4c,T5c", init=clip, target=level)
    with pytest.warns(UserWarning, match="expected a start within the tolerance"):
        make_trainer(20).fit(fit)
    result = fit.result()
    assert result["stop_reason"][0].startswith("its target is constant")
    np.testing.assert_array_equal(result["stimulus"][0], clip[0])
    assert result["loss_grey"][-1, 1] < 0.5 * result["loss_grey"][0, 1]


def test_a_start_out_of_tolerance_is_brought_within_it(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    clip = noise_clip(1, 20, small_network.lattice.n_columns)
    target = StimulusRegularizer(small_network, "T4c", init=clip).band.level[:, 0]
    other = 0.5 + 0.7 * (clip - 0.5)
    fit = StimulusRegularizer(small_network, "T4c", init=other, target=target, tolerance=0.05)
    with pytest.warns(UserWarning, match="start within the tolerance"):
        make_trainer(150).fit(fit)
    result = fit.result()
    assert not result["start_tolerance_met"][0] and result["tolerance_met"][0]


def test_too_few_steps_are_said(small_network: FrozenNetwork, make_trainer: Trainers) -> None:
    # One step takes a tenth of the way to grey, which is out of a band this narrow.
    clip = noise_clip(1, 20, small_network.lattice.n_columns)
    fit = StimulusRegularizer(small_network, "T4c", init=clip, tolerance=1e-5)
    with pytest.warns(UserWarning, match="none but the start was found"):
        make_trainer(2).fit(fit)
    assert float(fit.record.best_score) == float(fit.record.history["loss/grey"][0, 0])


# -- items, resuming -------------------------------------------------------------------------------


@FEW_STEPS
def test_every_item_gives_what_it_would_give_alone(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    clips = noise_clip(2, 48, small_network.lattice.n_columns, seed=1)
    lengths = [48, 35]  # which torch would sum in different groups
    together = StimulusRegularizer(
        small_network, ["T4a", "T5c"], init=clips, n_frames=lengths, tolerance=[0.02, 0.1]
    )
    assert together.labels == ["T4a-tol0.02", "T4a-tol0.1", "T5c-tol0.02", "T5c-tol0.1"]
    make_trainer(35).fit(together)
    assert (together.record.best_stimulus[2:, 35:] == 0.5).all()
    for i, name in enumerate(["T4a", "T5c"]):
        for j, tolerance in enumerate([0.02, 0.1]):
            alone = StimulusRegularizer(
                small_network, name, init=clips[i : i + 1, : lengths[i]], tolerance=tolerance
            )
            make_trainer(35).fit(alone)
            row = 2 * i + j
            assert torch.equal(alone.stimulus[0], together.stimulus[row, : lengths[i]])
            assert torch.equal(alone.record.best_step[0], together.record.best_step[row])
            for key, values in alone.record.history.items():
                assert torch.equal(values[:, 0], together.record.history[key][:, row]), key


def resume(
    make_trainer: Trainers, folder: Path, first: Any, at: int, second: Any, steps: int
) -> None:
    """Fit the first for `at` steps; the second goes on from there to `steps`."""
    make_trainer(at, callbacks=[LastCheckpoint(folder, 9)]).fit(first)
    make_trainer(steps, callbacks=[LastCheckpoint(folder, 9)]).fit(
        second, ckpt_path=folder / "last.ckpt"
    )


@FEW_STEPS
@pytest.mark.parametrize("kind", [StimulusRegularizer, PenalizedRegularizer])
def test_resumed_is_bit_for_bit_what_was_not_interrupted(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path, kind: Any
) -> None:
    clips = noise_clip(2, 20, small_network.lattice.n_columns, seed=2)

    def fit() -> Any:
        return kind(small_network, ["T4c", "T5a"], init=clips)

    whole, second = fit(), fit()
    make_trainer(45).fit(whole)
    # 27 lies within a period of the multipliers.
    resume(make_trainer, tmp_path, fit(), 27, second, 45)
    assert second.global_step == 45 and same_run(whole, second)


@FEW_STEPS
@pytest.mark.filterwarnings("ignore:expected targets that vary", "ignore:expected a gradient")
def test_an_item_that_feels_nothing_does_not_change_what_another_resumes(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    """Light does not reach T4c within three frames, so no curvature is ever measured for it."""
    clips = noise_clip(2, 3, small_network.lattice.n_columns, seed=0)

    def fit() -> StimulusRegularizer:
        return StimulusRegularizer(small_network, ["L1", "T4c"], init=clips)

    whole, second = fit(), fit()
    make_trainer(20).fit(whole)
    assert whole.band.curvature[1] == 0
    resume(make_trainer, tmp_path, fit(), 10, second, 20)
    assert second.global_step == 20 and same_run(whole, second)


def test_an_item_stops_that_is_within_its_band_and_no_longer_becomes_greyer(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    clips = noise_clip(2, 20, small_network.lattice.n_columns, seed=2)

    def fit() -> StimulusRegularizer:
        return StimulusRegularizer(small_network, ["T4c", "T5a"], init=clips)

    whole, second = fit(), fit()
    make_trainer(1000).fit(whole)
    # It is seen at the start of a step, which is then the last.
    last = whole.global_step - 1
    assert 150 <= last < 1000 and last % 25 == 0
    assert whole.record.stop_reasons == ["it no longer improved"] * 2
    met = whole.record.history["constraint/violation"] == 0
    distance = torch.where(met, whole.record.history["loss/grey"], torch.inf)
    greyest = distance.cummin(dim=0).values
    assert (greyest[last] > 0.99 * greyest[last - 25]).any()
    assert (greyest[last] < 0.1 * greyest[0]).all()
    resume(make_trainer, tmp_path, fit(), 149, second, 1000)
    assert same_run(whole, second)


def test_an_item_that_has_found_nothing_starts_anew_and_goes_to_grey_slowly(
    make_trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constrained, "AGAIN", 5)  # by when nothing counts as found
    network, _ = linear_network(taps=1, base=0.5)
    clip = noise_clip(1, 12, 7, spread=0.4)
    fit = StimulusRegularizer(network, "linear", NO_PRE, init=clip, tolerance=100.0)
    make_trainer(85).fit(fit)
    # By hand: Nesterov's steps to a point that goes to grey, in a band that is never felt.
    start = clip[0].double().numpy() - 0.5
    y, velocity, distances = start, np.zeros_like(start), []
    for i in range(80):
        distances.append((y**2).sum())
        slope = (y - max(0, 1 - i / 60) ** 2 * start) / (1 + FIRST_STIFFNESS)
        velocity = 0.9 * velocity + slope
        y = y - slope - 0.9 * velocity
    assert fit.again.all()
    found = fit.record.history["loss/grey"][5:85, 0].numpy()
    np.testing.assert_allclose(found, distances, rtol=1e-4, atol=1e-8)


@FEW_STEPS
@pytest.mark.parametrize("step", [5, 30])
def test_only_items_that_have_found_nothing_start_anew_and_are_resumed(
    small_network: FrozenNetwork,
    make_trainer: Trainers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    clips = noise_clip(2, 20, small_network.lattice.n_columns, seed=2)

    def fit() -> StimulusRegularizer:
        # The second is drawn to grey within a band so wide that it is not felt.
        return StimulusRegularizer(small_network, "T4c", init=clips[:1], tolerance=[0.02, 100.0])

    before, whole, second = fit(), fit(), fit()
    make_trainer(70).fit(before)
    monkeypatch.setattr(constrained, "AGAIN", step)
    make_trainer(70).fit(whole)
    assert whole.again.tolist() == ([True, True] if step == 5 else [True, False])
    kept = ~whole.again
    for name, values in whole.record.history.items():
        assert torch.equal(values[:, kept], before.record.history[name][:, kept]), name
    resume(make_trainer, tmp_path, fit(), 33, second, 70)
    assert same_run(whole, second)


@FEW_STEPS
def test_a_checkpoint_of_another_tolerance_is_refused(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    clip = noise_clip(1, 20, small_network.lattice.n_columns)
    fit = StimulusRegularizer(small_network, "T4c", init=clip)
    make_trainer(2, callbacks=[LastCheckpoint(tmp_path, 1)]).fit(fit)
    other = StimulusRegularizer(small_network, "T4c", init=clip, tolerance=0.03)
    with pytest.raises(ValueError, match=r"expected tolerance = \[0.02\]"):
        make_trainer(4, callbacks=[LastCheckpoint(tmp_path, 1)]).fit(
            other, ckpt_path=tmp_path / "last.ckpt"
        )


# -- input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "tolerance > 0, got 0.0"),
        ({"tolerance": [0.1, 0.1]}, "once each"),
        ({"tolerance": []}, "once each"),
        ({"init": "noise"}, "naturalistic:RESULT.h5"),
        ({"init": "naturalistic:"}, "naturalistic:RESULT.h5"),
        ({"init": "naturalistic:not_there.h5"}, "not_there.h5, got no file"),
        ({"init": "naturalistic:not_there.h5", "n_frames": [3]}, "with a tensor only"),
        ({"init": torch.rand(61, 20)}, r"\(items, frames, columns\)"),
        ({"init": torch.rand(1, 20, 60)}, r"\(1, frames, 61\)"),
        ({"init": 2 * torch.ones(1, 20, 61)}, r"start in \[0, 1\]"),
        ({"n_frames": [0]}, r"n_frames in \[1, 20\]"),
        ({"n_frames": [21]}, r"n_frames in \[1, 20\]"),
        ({"n_frames": [20, 20]}, r"n_frames \(1\), got \(2,\)"),
        ({"target": torch.zeros(1, 19)}, r"target \(items, frames\) \(1, 20\)"),
        ({"target": torch.full((1, 20), torch.nan)}, "finite target"),
        ({"target": torch.zeros(1, 20)}, "vary within the read-out window"),
    ],
)
def test_bad_input_is_refused(
    small_network: FrozenNetwork, options: dict[str, Any], message: str
) -> None:
    clip = noise_clip(1, 20, small_network.lattice.n_columns)
    with pytest.raises(ValueError, match=message):
        StimulusRegularizer(small_network, "T4c", **{"init": clip, **options})


class Surround(torch.nn.Module):
    """The central column, five times as much of it where the contrast around it is full."""

    def forward(self, luminance: torch.Tensor) -> torch.Tensor:
        off = luminance - 0.5
        center, others = off[..., 3:4], torch.cat([off[..., :3], off[..., 4:]], dim=-1)
        return center * (1 + 8 * others.abs().mean(dim=-1, keepdim=True))


@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")
def test_curvature_is_measured_again_near_grey(make_trainer: Trainers) -> None:
    network = ModuleNetwork(Surround(), {"cell": 0}, extent=1)
    clip = noise_clip(1, 12, 7).round()
    clip[..., 3] = 0.5 + 0.1 * (clip[..., 3] - 0.5)

    def after(steps: int) -> StimulusRegularizer:
        fit = StimulusRegularizer(network, "cell", init=clip)
        make_trainer(steps).fit(fit)
        return fit

    def exact(luminance: torch.Tensor) -> float:
        jacobian = torch.autograd.functional.jacobian(fit.respond, luminance)
        return float(torch.linalg.svdvals(jacobian.reshape(12, -1))[0]) ** 2

    fit = after(NEAR_GREY)
    start, near = exact(clip), exact(fit.luminance().detach())
    assert near < start / 3
    assert float(fit.band.curvature) == pytest.approx(start, rel=0.1)
    assert float(after(NEAR_GREY + 1).band.curvature) == pytest.approx(near, rel=0.1)


def test_a_black_clip_at_the_kink_of_a_rectifier_can_be_left(make_trainer: Trainers) -> None:
    """These cells rest exactly at zero under black, where relu has no slope."""
    start = torch.full((3, 30, 61), 0.5)
    start[:, 10:] = 0.0
    fit = StimulusRegularizer(builtin_network(4), ["CT1(Lo1)", "Tm1", "Tm9"], init=start)
    make_trainer(150).fit(fit)
    result = fit.result()
    assert result["tolerance_met"].all()
    assert (result["grey_distance"] < 0.25 * 20 * 61 / 2).all()
