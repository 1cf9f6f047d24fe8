"""A callback that leaves out what Lightning would call for nothing."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import Callback


class StepEnd(Callback):
    """Base of callbacks that have work at the end of a step, if any.

    Lightning calls every hook of every callback, also an empty one, but passes over what cannot be
    called: `benchmarks/lightning.md` has what that saves. A class may still define these hooks. As
    the last of several bases this one replaces only Lightning's empty hooks, no other base's.
    """

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None
