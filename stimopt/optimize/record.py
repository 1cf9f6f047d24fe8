"""The record of a fit: every term of every iterate, the best iterate, and why each item stopped.

Items are recorded apart, so that each gets what it would get alone. The record knows nothing of
optimizers or losses; a fit calls `observe` once for each iterate.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stimopt import expect
from stimopt.optimize.terms import TOTAL, Terms


class StopReason(enum.Enum):
    """Why an item is no longer optimized; the value is the text for people."""

    RUNNING = "still running"
    STEPS_DONE = "all steps were done"
    ENDED = "the Trainer ended before all steps were done"
    LOSS_NOT_FINITE = "its loss was not finite; the best iterate before is stored"
    GRADIENT_NOT_FINITE = "its gradient was not finite; the best iterate before is stored"
    PLATEAU = "it no longer improved"
    SETTLED = "its steps had become as short as planned"
    CONSTANT = "no stimulus drives it beyond its response at grey; the stimulus is grey"
    NO_GRADIENT = "no gradient reaches its stimulus; the start is stored"
    CONSTANT_TARGET = "its target is constant, of whose range no part is allowed; the start is kept"

    @property
    def of_trainer(self) -> bool:
        """Whether the Trainer stopped the item, which goes on where the fit is resumed."""
        return self in (StopReason.STEPS_DONE, StopReason.ENDED)

    @functools.cached_property
    def code(self) -> int:
        """Number by which a tensor stores it; 0 is running."""
        return list(StopReason).index(self)


class Record(nn.Module):
    """History, best iterate and stop reason of each item.

    Args:
        luminance: of the first iterate, `(items, frames, columns)`.
        patience: stop an item whose score has not improved for so many steps; None is never.

    Attributes:
        best_stimulus: luminance of the best iterate, `(items, frames, columns)`.
        best_score: its score, `(items,)`; infinite before the first.
        best_step: number of the best iterate, `(items,)`.
        stop_reason: code of a `StopReason`, `(items,)`.
    """

    best_stimulus: Tensor
    best_score: Tensor
    best_step: Tensor
    stop_reason: Tensor

    def __init__(self, luminance: Tensor, patience: int | None = None) -> None:
        super().__init__()
        expect.whole("patience in steps", patience, "100 is usual", at_least=1, optional=True)
        n, device = len(luminance), luminance.device
        self.patience = patience
        self.register_buffer("best_stimulus", luminance.detach().clone())
        self.register_buffer("best_score", torch.full((n,), torch.inf, device=device))
        self.register_buffer("best_step", torch.zeros(n, dtype=torch.int64, device=device))
        self.register_buffer("stop_reason", torch.zeros(n, dtype=torch.int64, device=device))
        self.closed = False
        """Whether the last row belongs to the iterate after the last step."""
        self._rows: list[Tensor] = []
        self._names: tuple[str, ...] = ()

    # -- what a fit reports -----------------------------------------------------------------------

    @torch.no_grad()
    def observe(self, terms: Terms, score: Tensor, luminance: Tensor) -> None:
        """Append an iterate's terms; store the iterate where it is the best so far.

        Args:
            terms: by name, each `(items,)`, among them `loss/total`.
            score: smallest for the best iterate, `(items,)`.
            luminance: of the iterate, `(items, frames, columns)`.
        """
        step = len(self._rows)
        self._names = tuple(terms)
        self._rows.append(torch.stack(list(terms.values())).float())
        self.stop_unless_finite(terms[TOTAL], StopReason.LOSS_NOT_FINITE)
        score = score.to(self.best_score.dtype)
        better = self.running & (score < self.best_score)
        if _maybe_any(better):
            _replace(self.best_score, better, score)
            _replace(self.best_stimulus, better, luminance)
            self.best_step.masked_fill_(better, step)
        if self.patience is not None:
            self.stop(step - self.best_step >= self.patience, StopReason.PLATEAU)

    def check_gradient(self, gradient: Tensor) -> None:
        """Stop items whose gradient `(items, ...)` is not finite."""
        self.stop_unless_finite(gradient.flatten(1).sum(1), StopReason.GRADIENT_NOT_FINITE)

    def stop_unless_finite(self, values: Tensor, reason: StopReason) -> None:
        """Stop items whose value `(items,)` is not finite."""
        # A sum is NaN or infinite if any part is; many times cheaper than asking every part.
        if _on_accelerator(values) or not math.isfinite(values.sum()):
            self.stop(~torch.isfinite(values), reason)

    def stop(self, which: Tensor, reason: StopReason) -> None:
        """Stop those of the running items that `which` `(items,)` selects."""
        self.stop_reason.masked_fill_(which & self.running, reason.code)

    def close(self, all_steps: bool = True) -> None:
        """Mark the record complete: the last iterate is in it, and all items have stopped."""
        reason = StopReason.STEPS_DONE if all_steps else StopReason.ENDED
        self.stop(torch.ones_like(self.running), reason)
        self.closed = True

    def reopen(self, device: torch.device) -> None:
        """Continue after the last step; its iterate will be observed anew, as the next."""
        if self.closed:
            self._rows.pop()
            self.closed = False
        for reason in StopReason:
            if reason.of_trainer:
                self.stop_reason.masked_fill_(self.stop_reason == reason.code, 0)
        # A checkpoint is loaded before the module moves to its device.
        self._rows = [row.to(device) for row in self._rows]

    # -- what a fit asks --------------------------------------------------------------------------

    @property
    def running(self) -> Tensor:
        """Which items are still being optimized, `(items,)`."""
        return self.stop_reason == StopReason.RUNNING.code

    @property
    def maybe_running(self) -> bool:
        """Whether any item runs, or may run where reading that would wait."""
        return _maybe_any(self.running)

    @property
    def stop_reasons(self) -> list[str]:
        """Why each item stopped, as text."""
        texts = [reason.value for reason in StopReason]
        return [texts[code] for code in self.stop_reason.tolist()]

    @property
    def history(self) -> dict[str, Tensor]:
        """Every term by iterate, `(steps + 1, items)` after a fit: row i belongs to iterate i."""
        if not self._rows:
            return {}
        stacked = torch.stack(self._rows)
        return {name: stacked[:, i] for i, name in enumerate(self._names)}

    def sum_of_running(self, loss: Tensor) -> Tensor:
        """Sum of a loss `(items,)` over running items."""
        return torch.where(self.running, loss, 0.0).sum()

    def zero_stopped_(self, gradient: Tensor) -> None:
        """Zero the gradient of stopped items, so that it adds to no optimizer's momentum."""
        if _maybe_any(self.stop_reason):
            gradient.masked_fill_(_rows_of(gradient, ~self.running), 0.0)

    @contextmanager
    def stopped_stay(self, parameters: Tensor) -> Iterator[None]:
        """Within the block parameters may move; those of stopped items are then set back."""
        before = parameters.detach().clone()
        yield
        if _maybe_any(self.stop_reason):
            _replace(parameters.detach(), ~self.running, before)

    # -- checkpoints ------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """The history without the row of `close`, which a resumed fit observes anew."""
        rows = self._rows[: len(self._rows) - int(self.closed)]
        return {
            "names": list(self._names),
            "history": torch.stack(rows) if rows else torch.empty(0),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the history."""
        self._names = tuple(state["names"])
        self._rows = list(state["history"].unbind(0))
        self.closed = False


def _on_accelerator(tensor: Tensor) -> bool:
    """Whether reading a value waits for the device, longer than some needless work takes."""
    return tensor.device.type != "cpu"


def _maybe_any(flags: Tensor) -> bool:
    """Whether any flag is set, or may be set where reading it would wait."""
    return _on_accelerator(flags) or bool(flags.any())


def _replace(kept: Tensor, which: Tensor, by: Tensor) -> None:
    """Replace, in place, the items of a tensor that `which` `(items,)` selects."""
    torch.where(_rows_of(kept, which), by, kept, out=kept)


def _rows_of(tensor: Tensor, which: Tensor) -> Tensor:
    """Flags `(items,)` in a shape that goes with a tensor of items."""
    return which.reshape(-1, *[1] * (tensor.ndim - 1))
