"""What a fit steps with: an optimizer, a schedule and a loader that only counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

OptimizerFactory = Callable[[Any], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


def adam(parameters: Any) -> Optimizer:
    """flyvis's optimizer: Adam at 0.01."""
    return torch.optim.Adam(parameters, lr=0.01)


class Steps:
    """An endless loader of step numbers that a resumed fit need not wind forward."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()

    def state_dict(self) -> dict[str, int]:
        """Nothing to keep: the Trainer counts the steps."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore."""


def describe_steps(
    stimulus: Tensor, optimizer: OptimizerFactory, lr_scheduler: SchedulerFactory | None
) -> dict[str, str | None]:
    """Optimizer and schedule with their options, to be compared when a fit is resumed.

    Raises:
        ValueError: for a schedule that waits for a metric.
    """
    made = optimizer([stimulus])
    described = {"optimizer": _call(made, made.defaults), "lr_scheduler": None}
    if lr_scheduler is not None:
        schedule = lr_scheduler(made)
        if isinstance(schedule, ReduceLROnPlateau):
            raise ValueError(
                "expected a schedule over steps, got ReduceLROnPlateau, which waits for a metric; "
                "torch.optim.lr_scheduler.CosineAnnealingLR is one, and patience stops an item"
            )
        described["lr_scheduler"] = _call(schedule, schedule.state_dict())
    return described


def _call(made: object, options: Mapping[str, Any]) -> str:
    """A class and its options; those that are off differ between versions of torch."""
    told = [
        f"{name}={value}"
        for name, value in options.items()
        if isinstance(value, (int, float, str, tuple, dict)) and value is not False
        # What a schedule counts.
        if not name.startswith("_") and name != "last_epoch"
    ]
    return f"{type(made).__name__}({', '.join(told)})"


def require_steps(trainer: pl.Trainer, stimulus: Tensor) -> None:
    """Refuse a run without end, or one whose steps are not those of the record.

    Raises:
        RuntimeError: saying what to pass to the Trainer.
    """
    timed = any(isinstance(c, Timer) for c in trainer.callbacks)  # type: ignore[attr-defined]
    if trainer.max_steps == -1 and not timed:
        raise RuntimeError(
            "expected a number of steps, got a Trainer without max_steps; "
            "pass Trainer(max_steps=200)"
        )
    if trainer.accumulate_grad_batches != 1:
        raise RuntimeError(
            "expected a step at every gradient, got accumulate_grad_batches="
            f"{trainer.accumulate_grad_batches}; leave it out, all items are one batch"
        )
    if stimulus.dtype not in (torch.float32, torch.float64):
        raise RuntimeError(
            f"expected a stimulus of 32 or 64 bits, got {stimulus.dtype}; pass "
            "Trainer(precision='bf16-mixed') or '16-mixed', which keep it whole"
        )
