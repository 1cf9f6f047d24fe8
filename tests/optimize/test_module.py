from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from stimopt.items import Readout
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.module import ModuleNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.record import StopReason
from stimopt.protocol import Protocol
from tests.optimize.cases import LinearNeuron, generator, half_blind_network, linear_network

Trainers = Callable[..., pl.Trainer]


# -- the optimum of a linear neuron, in closed form ---------------------------------------------


def test_unpenalized_optimum_of_a_linear_neuron_is_the_sign_of_its_kernel(
    make_trainer: Trainers,
) -> None:
    network, kernel = linear_network()
    fit = StimulusGenerator(network, "linear", t_stim=0.03, objective="last_frame", penalties={})
    make_trainer(120).fit(fit)
    # The last response is sum_s k_s x_{T-s}: each pixel goes to the end its weight points to.
    best = (kernel.flip(0) > 0).float()
    torch.testing.assert_close(fit.record.best_stimulus[0], best, atol=0, rtol=0)
    assert float(fit.record.history["response/peak"][-1]) == pytest.approx(
        float(kernel.clamp(min=0).sum()), rel=1e-5
    )


def test_penalized_optimum_of_a_linear_neuron_is_its_kernel_scaled(make_trainer: Trainers) -> None:
    network, kernel = linear_network(seed=1)
    weight = 40.0
    fit = StimulusGenerator(
        network,
        "linear",
        t_stim=0.03,
        objective="last_frame",
        penalties={"grey": weight},
        init="grey",
    )
    make_trainer(600).fit(fit)
    # d/dx (-k x + w mean((x - 1/2)^2)) = 0 gives x = 1/2 + k n / (2 w), here inside [0, 1].
    n_pixels = kernel.numel()
    expected = (0.5 + kernel.flip(0) * n_pixels / (2 * weight)).clamp(0, 1)
    torch.testing.assert_close(fit.record.best_stimulus[0], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("parametrization", ["clamp", "sigmoid"])
def test_sign_minus_one_seeks_the_opposite(make_trainer: Trainers, parametrization: Any) -> None:
    network, kernel = linear_network()
    fit = StimulusGenerator(
        network,
        "linear",
        t_stim=0.03,
        objective="last_frame",
        penalties={},
        sign=-1,
        parametrization=parametrization,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.3),
    )
    make_trainer(150).fit(fit)
    best = (kernel.flip(0) < 0).float()
    atol = 0 if parametrization == "clamp" else 0.05
    torch.testing.assert_close(fit.record.best_stimulus[0], best, atol=atol, rtol=0)


# -- flyvis ---------------------------------------------------------------------------------------


def test_flyvis_preset_gives_flyvis_s_losses(
    real_network: FrozenNetwork, recorded: Any, make_trainer: Trainers
) -> None:
    held = recorded["generate/T4c"]
    fit = StimulusGenerator.flyvis(real_network, "T4c", t_stim=0.8)
    # Seed 0 draws what flyvis drew, so this is the recorded start.
    np.testing.assert_array_equal(fit.stimulus.detach()[0].numpy(), held["start"][()])
    make_trainer(200).fit(fit)
    losses = held["losses_total_central_mei_before_each_step"][()]
    found = fit.record.history["loss/total"][:, 0].numpy()
    assert len(found) == 201
    np.testing.assert_allclose(found[:200], losses[:, 0], atol=0.05, rtol=5e-3)
    assert found[-1] == pytest.approx(-29.62, rel=5e-3)
    last = float(fit.respond(fit.luminance().detach())[0, 0, -1])
    assert last == pytest.approx(3.667, rel=5e-3)
    assert float(held["response"][-1, 360]) == pytest.approx(3.667, rel=5e-4)


# -- items ----------------------------------------------------------------------------------------


def test_a_fit_asks_the_module_s_own_responses_also_when_an_item_has_stopped(
    make_trainer: Trainers,
) -> None:
    class Halved(StimulusGenerator):
        def respond(self, luminance: Tensor, readout: Readout | None = None) -> Tensor:
            return super().respond(luminance, readout) / 2

    network, _ = linear_network()
    plain, halved = (
        kind(network, "linear", t_stim=0.03, objective="last_frame", penalties={}, seeds=[0, 1])
        for kind in (StimulusGenerator, Halved)
    )
    for fit in (plain, halved):
        fit.record.stop(torch.tensor([False, True]), StopReason.PLATEAU)
        make_trainer(1).fit(fit)
    peaks, half = (fit.record.history["response/peak"] for fit in (plain, halved))
    torch.testing.assert_close(half, peaks / 2)
    assert not torch.equal(peaks[0], torch.zeros(2))


def test_every_item_gives_what_it_would_give_alone(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    together = generator(small_network, ["T4c", "T5a", "L1"], seeds=[0, 7])
    make_trainer(8).fit(together)
    for i, item in enumerate(together.items):
        alone = generator(small_network, [item.cell_type], seeds=item.seed)
        make_trainer(8).fit(alone)
        assert torch.equal(alone.stimulus[0], together.stimulus[i])
        for key, values in alone.record.history.items():
            assert torch.equal(values[:, 0], together.record.history[key][:, i])


def test_losses_belong_to_the_iterate_they_stand_beside(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    runs = {}
    for steps in (3, 4):
        runs[steps] = generator(small_network)
        make_trainer(steps).fit(runs[steps])
        assert len(runs[steps].record.history["loss/total"]) == steps + 1
    # An independent evaluation of the iterate after 3 steps, by the formula.
    x = runs[3].luminance().detach()
    cells = torch.tensor([small_network.cell_index("T4c"), small_network.cell_index("T5a")])
    last = small_network(x, readout=cells)[:, -1].diagonal()
    total = -torch.exp(last) + 3000 * ((x - 0.5) ** 2).mean(dim=(1, 2))
    torch.testing.assert_close(runs[3].record.history["loss/total"][3], total)
    torch.testing.assert_close(runs[4].record.history["loss/total"][3], total)


def test_the_best_iterate_is_kept_not_the_last(make_trainer: Trainers) -> None:
    network, _ = linear_network()
    # A step of 0.6 overshoots (0.6 * 2 * 40 / 21 > 2): the loss goes up and down.
    fit = StimulusGenerator(
        network,
        "linear",
        t_stim=0.03,
        objective="last_frame",
        penalties={"grey": 40.0},
        optimizer=lambda p: torch.optim.SGD(p, lr=0.6),
    )
    make_trainer(9).fit(fit)
    losses = fit.record.history["loss/total"][:, 0]
    assert losses[-1] > losses.min()
    assert int(fit.record.best_step) == int(losses.argmin())
    luminance = fit.record.best_stimulus
    response = network(luminance)[0, -1, 0]
    again = -response + 40 * ((luminance - 0.5) ** 2).mean()
    torch.testing.assert_close(again, losses.min())


class _SteepPast(torch.autograd.Function):
    """The identity, whose gradient is infinite past a limit for whom it matters at all."""

    @staticmethod
    def forward(ctx: Any, response: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(response > limit)
        return response.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (past,) = ctx.saved_tensors
        return torch.where(past & (gradient != 0), torch.inf, gradient), None


class Overflowing(LinearNeuron):
    """Two cells; the second's response, or its gradient, is not finite once x is large enough."""

    def __init__(self, kernel: Tensor, how: str) -> None:
        super().__init__(kernel)
        self.how = how
        # Halfway from the response to grey to the largest there is: passed on the way.
        self.limit = 0.25 * float(kernel.sum()) + 0.5 * float(kernel.clamp(min=0).sum())

    def forward(self, luminance: Tensor) -> Tensor:
        response = super().forward(luminance)
        if self.how == "loss":
            other = torch.where(response > self.limit, torch.inf, response)
        else:
            other = _SteepPast.apply(response, self.limit)
        return torch.cat([response, other], dim=-1)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("loss", StopReason.LOSS_NOT_FINITE), ("gradient", StopReason.GRADIENT_NOT_FINITE)],
)
def test_an_item_that_is_not_finite_stops_alone(
    make_trainer: Trainers, how: str, reason: StopReason
) -> None:
    _, kernel = linear_network()
    both = ModuleNetwork(Overflowing(kernel, how), {"a": 0, "b": 1}, extent=1, check=False)
    single = ModuleNetwork(LinearNeuron(kernel), {"a": 0}, extent=1)
    options: dict[str, Any] = {
        "t_stim": 0.03,
        "objective": "last_frame",
        "penalties": {},
        "init": "grey",
    }
    fit = StimulusGenerator(both, ["a", "b"], **options)
    make_trainer(80).fit(fit)
    assert fit.record.stop_reasons[1] == reason.value
    assert fit.record.stop_reasons[0] == StopReason.STEPS_DONE.value
    assert torch.isfinite(fit.record.best_stimulus).all()
    alone = StimulusGenerator(single, "a", **options)
    make_trainer(80).fit(alone)
    assert torch.equal(fit.stimulus[0], alone.stimulus[0])
    stopped_at = int(fit.record.best_step[1])
    assert 0 < stopped_at < 80


def test_an_item_without_a_gradient_is_named_and_stops_alone(make_trainer: Trainers) -> None:
    network, options = half_blind_network(), {"t_stim": 0.03}
    with pytest.raises(RuntimeError, match=r"got none for blind;"):
        make_trainer(3).fit(StimulusGenerator(network, "blind", **options))
    fit = StimulusGenerator(network, ["sees", "blind"], **options)
    with pytest.warns(UserWarning, match=r"got none for blind, which stay as they are"):
        make_trainer(3).fit(fit)
    reasons = StopReason.STEPS_DONE.value, StopReason.NO_GRADIENT.value
    assert tuple(fit.record.stop_reasons) == reasons
    alone = StimulusGenerator(network, "sees", **options)
    make_trainer(3).fit(alone)
    assert torch.equal(fit.stimulus[0], alone.stimulus[0])


def test_an_item_that_has_stopped_is_not_simulated_and_changes_no_other(
    small_network: FrozenNetwork, make_trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fast(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=0.3)

    def fit(cell_types: str) -> StimulusGenerator:
        module = StimulusGenerator(
            small_network, cell_types, t_stim=0.1, patience=3, penalties={}, optimizer=fast
        )
        make_trainer(40, log_every_n_steps=1).fit(module)
        return module

    sizes, respond = [], small_network.respond

    def counted(luminance: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        sizes.append(len(luminance))
        return respond(luminance, *args, **options)

    monkeypatch.setattr(small_network, "respond", counted)
    together = fit("T4c,L1,Mi1")
    stopped = together.record.stop_reason == StopReason.PLATEAU.code
    assert 3 in sizes and min(sizes) < 3 and stopped.any()
    monkeypatch.undo()
    for i, name in enumerate(("T4c", "L1", "Mi1")):
        alone = fit(name)
        assert torch.equal(together.stimulus[i], alone.stimulus[0])
        for term, values in alone.record.history.items():
            assert torch.equal(together.record.history[term][: len(values), i], values[:, 0])


def test_plateau_stops_and_ends_the_fit(make_trainer: Trainers) -> None:
    network, _ = linear_network()
    fit = StimulusGenerator(
        network,
        "linear",
        t_stim=0.03,
        objective="last_frame",
        penalties={},
        patience=5,
    )
    trainer = make_trainer(1000, log_every_n_steps=5)
    trainer.fit(fit)
    assert trainer.global_step < 200
    assert fit.record.stop_reasons == [StopReason.PLATEAU.value]


def test_off_centre_columns_and_contrast(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    fit = generator(
        small_network,
        ["T4c"],
        u=2,
        v=-1,
        contrast=["T4d"],
        objective="soft_peak",
        temperature=0.2,
        penalties={"grey": 10.0},
    )
    make_trainer(5).fit(fit)
    x = fit.luminance().detach()
    cells = [small_network.cell_index(name, 2, -1) for name in ("T4c", "T4d")]
    r = small_network(x, readout=torch.tensor(cells))
    soft = 0.2 * torch.log(torch.exp(r / 0.2).sum(dim=1))
    expected = soft[:, 1] - soft[:, 0]
    torch.testing.assert_close(fit.record.history["loss/activity"][-1], expected)


def test_read_out_window_is_the_protocol_s(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    protocol = Protocol(readout_start=0.05, readout_stop=0.1)
    fit = generator(
        small_network, ["Mi1"], protocol=protocol, objective="window_mean", penalties={}
    )
    make_trainer(2).fit(fit)
    cell = torch.tensor([small_network.cell_index("Mi1")])
    r = small_network(fit.luminance().detach(), readout=cell)[0, 5:10, 0]
    torch.testing.assert_close(fit.record.history["loss/activity"][-1, 0], -r.mean())
    # Nothing after the window can matter to it.
    assert torch.equal(
        fit.stimulus[0, 10:], generator(small_network, ["Mi1"], protocol=protocol).stimulus[0, 10:]
    )


# -- the network stays as it is -------------------------------------------------------------------


def test_weights_are_bit_identical_after_a_fit(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    before = {name: buffer.clone() for name, buffer in small_network.named_buffers()}
    fit = generator(small_network)
    assert [name for name, _ in fit.named_parameters()] == ["stimulus"]
    make_trainer(3).fit(fit)
    assert all(torch.equal(before[name], b) for name, b in small_network.named_buffers())


def test_the_graph_does_not_grow(small_network: FrozenNetwork, make_trainer: Trainers) -> None:
    sizes = []

    def count(node: Any, seen: set[Any]) -> int:
        if node is None or node in seen:
            return 0
        seen.add(node)
        return 1 + sum(count(n, seen) for n, _ in node.next_functions)

    class Counting(pl.Callback):
        def on_before_backward(self, trainer: Any, module: Any, loss: Tensor) -> None:
            sizes.append(count(loss.grad_fn, set()))

    make_trainer(6, callbacks=[Counting()], enable_checkpointing=False).fit(
        generator(small_network)
    )
    assert len(sizes) == 6 and len(set(sizes)) == 1 and sizes[0] > 3


def test_precision_is_the_trainer_s(small_network: FrozenNetwork, make_trainer: Trainers) -> None:
    stimuli = {}
    for precision in ("32-true", "bf16-mixed", "64-true"):
        fit = generator(builtin_network(extent=4), ["T4c"])
        make_trainer(20, precision=precision).fit(fit)
        stimuli[precision] = fit.luminance().detach().double()
    assert fit.stimulus.dtype == torch.float64
    # The state is integrated in float32 under bf16-mixed, and no other operation is reduced.
    assert torch.equal(stimuli["bf16-mixed"], stimuli["32-true"])
    # Adam's first steps are sign-like, so pixels whose gradient is near zero may part by 2 lr.
    difference = (stimuli["64-true"] - stimuli["32-true"]).abs()
    assert float(difference.mean()) < 1e-4


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell_types": ["T4cc"]}, "did you mean 'T4c'"),
        ({"t_stim": 0.0}, "at least one frame"),
        ({"objective": "best"}, "objective as one of"),
        ({"sign": 2}, "sign as one of 1, -1"),
        ({"penalties": {"grey": -1.0}}, "weight of penalty grey >= 0"),
        ({"penalties": {"grey": float("nan")}}, "weight of penalty grey >= 0"),
        ({"init": "white"}, "init 'noise'"),
        ({"init": torch.full((2, 15, 61), 2.0)}, r"in \[0, 1\]"),
        ({"init": torch.full((2, 15, 61), float("nan"))}, "NaN"),
        ({"init": torch.zeros((2, 15, 7))}, r"\(2, frames, 61\)"),
        ({"seeds": [0, 0]}, "once"),
        ({"seeds": [-1]}, "seeds"),
        ({"networks": [1]}, "networks as a whole number within 0 to 0"),
        ({"contrast": ["T4c"]}, "T4c against other cell types"),
        ({"parametrization": "tanh"}, "parametrization"),
        ({"cell_types": []}, "at least one"),
    ],
)
def test_bad_settings(small_network: FrozenNetwork, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        generator(small_network, **options)
    assert str(error.value).startswith("expected") and ";" in str(error.value)


def test_a_trainer_without_an_end_is_refused(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    with pytest.raises(RuntimeError, match="max_steps"):
        make_trainer(-1, max_epochs=1).fit(generator(small_network))


def test_attributes_are_set_as_on_any_module(small_network: FrozenNetwork) -> None:
    module = generator(small_network)
    module.note, module.scale = "text", torch.nn.Parameter(torch.ones(1))
    assert module.note == "text" and "note" not in module._parameters
    assert dict(module.named_parameters())["scale"] is module.scale
