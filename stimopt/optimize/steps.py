"""What a fit steps with: an optimizer, a schedule, and a loader that only counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from stimopt import expect
from stimopt.storage.identity import as_text

OptimizerFactory = Callable[[Any], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


def adam(parameters: Any) -> Optimizer:
    """flyvis's optimizer: Adam at 0.01."""
    return torch.optim.Adam(parameters, lr=0.01)


def nesterov(parameters: Any) -> Optimizer:
    """Nesterov's gradient method at step 1, for gradients divided by their curvature."""
    return torch.optim.SGD(parameters, lr=1.0, momentum=0.9, nesterov=True)


def descend(parameters: Any) -> Optimizer:
    """Plain gradient descent at step 1, for gradients that are the way to go."""
    return torch.optim.SGD(parameters, lr=1.0)


class Steps:
    """A loader of step numbers: the stimulus is the data.

    An epoch ends with every writing of scalars, so that Lightning's own callbacks, which act at
    the end of an epoch (EarlyStopping, ModelCheckpoint), see every value once.

    Args:
        n: steps in an epoch.
    """

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n))

    def state_dict(self) -> dict[str, int]:
        """Nothing to store: the Trainer counts the steps."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore."""


def describe_steps(
    parameters: Tensor, optimizer: OptimizerFactory, lr_scheduler: SchedulerFactory | None
) -> dict[str, str | None]:
    """Optimizer and schedule with their options, to be compared when a fit is resumed.

    Raises:
        ValueError: for an optimizer that searches a line, or a schedule that waits for a metric.
    """
    advice = "pass torch.optim.Adam, or a function that calls it, and not what it returns"
    got = type(optimizer).__name__
    expect.that(callable(optimizer), "a function from parameters to an optimizer", got, advice)
    built = optimizer([parameters])
    expect.that(
        not isinstance(built, (torch.optim.LBFGS, torch.optim.Adafactor)),
        "an optimizer that asks for one gradient in a step, of each item by itself",
        type(built).__name__,
        "use torch.optim.Adam, or a fit of the region's optimum, such as RegionGenerator",
    )
    described = {"optimizer": _call(built, built.defaults), "lr_scheduler": None}
    if lr_scheduler is not None:
        schedule = lr_scheduler(built)
        expect.that(
            not isinstance(schedule, ReduceLROnPlateau),
            "a schedule over steps",
            "ReduceLROnPlateau, which waits for a metric",
            "torch.optim.lr_scheduler.CosineAnnealingLR is one, and patience stops an item",
        )
        described["lr_scheduler"] = _call(schedule, vars(schedule))
    return described


def _call(built: object, options: Mapping[str, Any]) -> str:
    """A class and its options; those that are off differ between versions of torch."""
    listed = [
        f"{name.lstrip('_')}={_option(value)}"
        for name, value in options.items()
        if value is not None and value is not False and not isinstance(value, Optimizer)
        # A schedule's own counters are no options, and its rates are the optimizer's.
        if name in _OF_PARTS or not (name.startswith("_") or name in ("last_epoch", "base_lrs"))
    ]
    return f"{type(built).__name__}({', '.join(listed)})"


_OF_PARTS = ("_schedulers", "_milestones")
"""What torch's schedules of several parts keep of them."""


def _option(value: Any) -> str:
    if isinstance(value, LRScheduler):
        return _call(value, vars(value))
    if isinstance(value, list):
        return f"[{', '.join(map(_option, value))}]"
    return as_text(value)


def require_steps(trainer: pl.Trainer, begun: bool) -> None:
    """Reject a Trainer without max_steps or of another fit, and what it would do to gradients.

    They may neither be accumulated, nor clipped by the norm of all.

    Args:
        trainer: that is about to fit.
        begun: whether it has done steps of this fit.

    Raises:
        RuntimeError: naming what to pass to the Trainer.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    timed = any(isinstance(callback, Timer) for callback in callbacks)
    accumulated = any(isinstance(c, GradientAccumulationScheduler) for c in callbacks)
    for ok, expected, got, advice in (
        (
            trainer.max_steps != -1 or timed,
            "a number of steps",
            "a Trainer without max_steps",
            "pass Trainer(max_steps=200)",
        ),
        (
            trainer.accumulate_grad_batches == 1 and not accumulated,
            "a step at every gradient",
            "accumulated gradients",
            "leave it out, all items are one batch",
        ),
        (
            not trainer.gradient_clip_val or trainer.gradient_clip_algorithm == "value",
            "items that do not see each other",
            f"gradient_clip_val={trainer.gradient_clip_val}, by the norm of all",
            "leave it out, or pass gradient_clip_algorithm='value'",
        ),
        (
            begun or trainer.global_step == 0,
            "a new Trainer",
            f"one that has done {trainer.global_step} steps of another fit",
            "give each fit a Trainer of its own",
        ),
    ):
        expect.that(ok, expected, got, advice, RuntimeError)
