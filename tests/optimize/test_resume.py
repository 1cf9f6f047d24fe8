"""A resumed fit is the fit that was interrupted; any other run is rejected."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor
from torch.optim import lr_scheduler as schedules

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import builtin_network
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.objectives import soft_peak
from stimopt.protocol import Protocol
from stimopt.runs.checkpointing import LastCheckpoint
from stimopt.storage.identity import digest, function_name
from tests.optimize.cases import generator, same_run
from tests.whole.forked import Forks

Trainers = Callable[..., pl.Trainer]


@pytest.mark.parametrize("stopped_after", [5, 10, 17])
def test_resumed_equals_uninterrupted(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path, stopped_after: int
) -> None:
    whole = generator(small_network)
    make_trainer(20).fit(whole)
    first = generator(small_network)
    make_trainer(stopped_after, callbacks=[LastCheckpoint(tmp_path, 5)]).fit(first)
    torch.manual_seed(99)  # whatever the new process drew before
    second = generator(small_network)
    trainer = make_trainer(20, callbacks=[LastCheckpoint(tmp_path, 5)])
    trainer.fit(second, ckpt_path="last")
    assert trainer.global_step == 20
    assert same_run(whole, second)


def test_a_finished_run_continues_with_more_steps_and_schedule(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    def make() -> StimulusGenerator:
        return generator(small_network, lr_scheduler=lambda o: schedules.StepLR(o, 6, 0.5))

    whole = make()
    make_trainer(20).fit(whole)
    part = make()
    make_trainer(10, callbacks=[LastCheckpoint(tmp_path, 10)]).fit(part)
    again = make()
    make_trainer(20, callbacks=[LastCheckpoint(tmp_path, 10)]).fit(again, ckpt_path="last")
    assert same_run(whole, again)
    plain = generator(small_network)
    make_trainer(20).fit(plain)
    assert not torch.equal(plain.stimulus, whole.stimulus)


def test_the_random_stream_continues(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    def noisy(responses: Tensor) -> Tensor:
        return (responses[:, -1] * (1 + 0.1 * torch.randn(len(responses)))).exp()

    def run(steps: int, **options: Any) -> StimulusGenerator:
        fit = generator(small_network, objective=noisy)
        ckpt = options.pop("ckpt_path", None)
        make_trainer(steps, **options).fit(fit, ckpt_path=ckpt)
        return fit

    torch.manual_seed(5)
    whole = run(12, callbacks=[LastCheckpoint(tmp_path / "a", 12)])
    torch.manual_seed(5)
    run(6, callbacks=[LastCheckpoint(tmp_path / "b", 6)])
    torch.manual_seed(77)
    noisy_settings_match = run(12, callbacks=[LastCheckpoint(tmp_path / "b", 6)], ckpt_path="last")
    assert torch.equal(whole.stimulus, noisy_settings_match.stimulus)


def test_checkpoints_contain_no_network_and_no_code(
    real_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    fit = generator(real_network, ["T4c"], t_stim=0.05)
    make_trainer(2, callbacks=[LastCheckpoint(tmp_path, 1)]).fit(fit)
    path = tmp_path / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    assert set(saved["state_dict"]) == {
        "stimulus",
        *(f"record.{name}" for name in ("best_stimulus", "best_score", "best_step", "stop_reason")),
        "record._extra_state",
    }
    # Stimulus, two moments and the best iterate, 4 bytes each, and little else.
    assert path.stat().st_size < 4 * 4 * fit.stimulus.numel() + 40_000


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"cell_types": ["T4d"]}, "items"),
        ({"protocol": Protocol(t_pre=0.5)}, "protocol.t_pre"),
        ({"t_stim": 0.2}, "frames"),
        ({"penalties": {"grey": 1.0}}, "penalties.grey"),
        ({"optimizer": functools.partial(torch.optim.Adam, lr=0.1)}, r"Adam\(lr=0.01"),
        ({"optimizer": functools.partial(torch.optim.SGD, lr=0.01)}, r"optimizer = 'Adam"),
        ({"lr_scheduler": lambda o: schedules.StepLR(o, 5)}, "lr_scheduler = "),
        ({"patience": 40}, "patience = "),
        ({"network": 3}, "expected network_hash"),
    ],
)
def test_another_run_is_not_resumed(
    small_network: FrozenNetwork,
    make_trainer: Trainers,
    tmp_path: Path,
    other: dict[str, Any],
    message: str,
) -> None:
    make_trainer(2, callbacks=[LastCheckpoint(tmp_path, 1)]).fit(generator(small_network, ["T4c"]))
    before = (tmp_path / "last.ckpt").read_bytes()
    changed = {"cell_types": ["T4c"], **other}
    network = builtin_network(changed.pop("network", 4))
    with pytest.raises((ValueError, RuntimeError), match=message):
        make_trainer(4, callbacks=[LastCheckpoint(tmp_path, 1)]).fit(
            generator(network, **changed), ckpt_path="last"
        )
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_a_checkpoint_saved_after_a_fit_continues_it(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    whole, first, second = (generator(small_network, ["T4c"]) for _ in range(3))
    make_trainer(20).fit(whole)
    trainer = make_trainer(10)
    trainer.fit(first)
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    make_trainer(20).fit(second, ckpt_path=tmp_path / "after.ckpt")
    assert torch.equal(second.stimulus, whole.stimulus)
    assert not torch.equal(second.stimulus, first.stimulus)
    torch.testing.assert_close(
        second.record.history["loss/total"], whole.record.history["loss/total"]
    )


def test_a_second_fit_continues_the_history(
    small_network: FrozenNetwork, make_trainer: Trainers
) -> None:
    fit = generator(small_network, ["T4c"])
    for _ in range(2):
        make_trainer(10).fit(fit)
    losses = fit.record.history["loss/total"][:, 0]
    assert losses.shape == (21,)
    assert int(fit.record.best_step) == int(losses.argmin()) > 10
    assert float(fit.record.best_score) == float(losses.min())


def test_a_run_whose_items_have_all_stopped_stays_as_it_is(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    def run() -> StimulusGenerator:
        # Steps of length zero improve nothing.
        fit = generator(
            small_network,
            ["T4c"],
            patience=3,
            init=torch.full((1, 15, 61), 0.5),
            optimizer=functools.partial(torch.optim.SGD, lr=0.0),
        )
        there = (tmp_path / "last.ckpt").exists()
        make_trainer(60, callbacks=[LastCheckpoint(tmp_path, 1)], log_every_n_steps=10).fit(
            fit, ckpt_path="last" if there else None
        )
        return fit

    lengths = [len(run().record.history["loss/total"]) for _ in range(3)]
    assert lengths[0] < 30 and len(set(lengths)) == 1


def test_two_starts_are_distinguished(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    noise = torch.rand((1, 15, 61), generator=torch.Generator().manual_seed(1))
    make_trainer(2, callbacks=[LastCheckpoint(tmp_path, 1)]).fit(
        generator(small_network, ["T4c"], init=noise)
    )
    with pytest.raises(ValueError, match="start_sha256 = "):
        make_trainer(4).fit(
            generator(small_network, ["T4c"], init=torch.full((1, 15, 61), 0.5)),
            ckpt_path=tmp_path / "last.ckpt",
        )


def test_a_fit_with_a_user_s_objective_resumes_in_another_process(
    forks: Forks, tmp_path: Path
) -> None:
    script = tmp_path / "own.py"
    script.write_text(
        """
import sys
import lightning.pytorch as pl
from stimopt.runs.checkpointing import LastCheckpoint, SafeCheckpointIO, find_last
from stimopt.optimize.generate import StimulusGenerator
from stimopt.networks.opening import builtin_network

def middle(responses):
    return responses[:, 5]

fit = StimulusGenerator(builtin_network(extent=2), "T4c", t_stim=0.1, objective=middle)
trainer = pl.Trainer(
    max_steps=int(sys.argv[1]), accelerator="cpu", logger=False, plugins=[SafeCheckpointIO()],
    callbacks=[LastCheckpoint("kept", 1)], enable_progress_bar=False,
)
trainer.fit(fit, ckpt_path=find_last("kept"))
print(len(fit.record.history["loss/total"]))
"""
    )
    rows = [forks.script(script, str(steps)).split()[-1] for steps in (2, 4)]
    assert rows == ["3", "5"]


def test_names_of_functions_and_tensors() -> None:
    def own(responses: Tensor) -> Tensor:
        return responses[:, 0]

    assert function_name(soft_peak) == "stimopt.optimize.objectives.soft_peak"
    assert function_name(own).endswith("test_names_of_functions_and_tensors.<locals>.own")
    part = functools.partial(soft_peak, temperature=0.2)
    assert function_name(part) == "stimopt.optimize.objectives.soft_peak(temperature=0.2)"
    assert function_name(torch.nn.Identity()) == "torch.nn.modules.linear.Identity()"
    zeros = torch.zeros(2, 3)
    assert digest(zeros) == digest(zeros.clone())
    others = [zeros + 1, zeros.double(), zeros.reshape(3, 2), zeros[:1]]
    assert len({digest(zeros), digest(zeros, None), *map(digest, others)}) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"accumulate_grad_batches": 2}, "got accumulated gradients; leave it out"),
        (
            {"callbacks": [GradientAccumulationScheduler({1: 2})]},
            "got accumulated gradients; leave it out",
        ),
        ({"gradient_clip_val": 1.0}, "do not see each other, got gradient_clip_val=1.0, by"),
        ({"precision": "16-true"}, "got torch.float16; pass"),
        ({"precision": "bf16-true"}, "got torch.bfloat16; pass"),
    ],
)
def test_a_trainer_that_steps_otherwise_is_refused(
    make_trainer: Trainers, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(RuntimeError, match=said):
        make_trainer(2, **options).fit(generator(builtin_network(extent=4), ["T4c"]))


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, torch.optim.Adafactor])
def test_an_optimizer_by_which_items_see_each_other_is_refused(
    small_network: FrozenNetwork, optimizer: Any
) -> None:
    with pytest.raises(ValueError, match=f"each item by itself, got {optimizer.__name__}"):
        generator(small_network, optimizer=optimizer)


def test_an_optimizer_in_place_of_its_class_is_refused(small_network: FrozenNetwork) -> None:
    made = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="a function from parameters to an optimizer, got Adam"):
        generator(small_network, optimizer=made)  # type: ignore[arg-type]


def test_a_trainer_serves_one_fit(small_network: FrozenNetwork, make_trainer: Trainers) -> None:
    trainer, first = make_trainer(2), generator(small_network)
    trainer.fit(first)
    with pytest.raises(RuntimeError, match="a new Trainer, got one that has done 2 steps of"):
        trainer.fit(generator(small_network))
    trainer.fit_loop.epoch_loop.max_steps = 4
    trainer.fit(first)
    assert len(first.record.history["loss/total"]) == 5


def test_options_of_numpy_resume(
    small_network: FrozenNetwork, make_trainer: Trainers, tmp_path: Path
) -> None:
    def make() -> StimulusGenerator:
        numbers = {"activity_weight": np.float64(2), "patience": np.int64(50), "sign": np.int64(-1)}
        return generator(small_network, penalties={"grey": np.float32(3)}, **numbers)

    make_trainer(2, callbacks=[LastCheckpoint(tmp_path, 2)]).fit(make())
    again = make()
    make_trainer(4, callbacks=[LastCheckpoint(tmp_path, 2)]).fit(again, ckpt_path="last")
    again.result().write(tmp_path / "result.h5")
    assert len(again.record.history["loss/total"]) == 5


def test_schedules_are_distinguished(small_network: FrozenNetwork) -> None:
    def half(step: int) -> float:
        return 0.5

    def third(step: int) -> float:
        return 1 / 3

    told = [
        generator(small_network, ["T4c"], lr_scheduler=make).settings()["lr_scheduler"]
        for make in (
            lambda o: schedules.StepLR(o, 5),
            lambda o: schedules.StepLR(o, 6),
            lambda o: schedules.MultiStepLR(o, [3, 5]),
            lambda o: schedules.MultiStepLR(o, [3, 7]),
            lambda o: schedules.CosineAnnealingLR(o, 40),
            lambda o: schedules.LambdaLR(o, half),
            lambda o: schedules.LambdaLR(o, third),
            lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 2)] * 2, [5]),
            lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 3)] * 2, [5]),
            lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 3)] * 2, [6]),
        )
    ]
    assert told[0] == "StepLR(step_size=5, gamma=0.1)"
    assert len(set(told)) == len(told)


def test_a_schedule_that_waits_for_a_metric_is_refused(small_network: FrozenNetwork) -> None:
    with pytest.raises(ValueError, match="expected a schedule over steps, got ReduceLROnPlateau"):
        generator(small_network, ["T4c"], lr_scheduler=schedules.ReduceLROnPlateau)
