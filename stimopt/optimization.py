"""What a fit steps with: an optimizer, a schedule and a loader that only counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

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
