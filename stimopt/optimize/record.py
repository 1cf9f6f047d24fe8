"""The record of a fit: every term of every iterate, the best iterate, and why each item stopped.

Items are recorded apart, so that each gets what it would get alone. The record knows nothing of
optimizers or losses; a fit calls `observe` once for each iterate.
"""

from __future__ import annotations

import enum
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
    LOSS_NOT_FINITE = "its loss was not finite; the best iterate before is stored"
    GRADIENT_NOT_FINITE = "its gradient was not finite; the best iterate before is stored"
    PLATEAU = "it no longer improved"
    SETTLED = "its steps had become as short as planned"
    CONSTANT = "no stimulus drives it beyond its response at grey; the stimulus is grey"
    NO_GRADIENT = "no gradient reaches its stimulus; the start is stored"

    @property
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
        self._rows.append(torch.stack([t.detach().to(torch.float32) for t in terms.values()]))
        score = score.detach().to(self.best_score.dtype)
        self.stop(~torch.isfinite(terms[TOTAL].detach()), StopReason.LOSS_NOT_FINITE)
        better = self.running & (score < self.best_score)
        self.best_score.copy_(torch.where(better, score, self.best_score))
        self.best_step.copy_(torch.where(better, step, self.best_step))
        luminance = luminance.detach()
        if self._on_cpu and bool(better.all()):
            self.best_stimulus.copy_(luminance)
        elif not self._on_cpu or bool(better.any()):
            before = self.best_stimulus
            self.best_stimulus.copy_(torch.where(better[:, None, None], luminance, before))
        if self.patience is not None:
            self.stop(step - self.best_step >= self.patience, StopReason.PLATEAU)

    def check_gradient(self, gradient: Tensor) -> None:
        """Stop items whose gradient `(items, ...)` is not finite."""
        # A sum is NaN or infinite if any part is; many times cheaper than asking every pixel.
        total = gradient.flatten(1).sum(1)
        self.stop(~torch.isfinite(total), StopReason.GRADIENT_NOT_FINITE)

    def stop(self, which: Tensor, reason: StopReason) -> None:
        """Stop those of the running items that `which` `(items,)` selects."""
        reasons = torch.where(which & self.running, reason.code, self.stop_reason)
        self.stop_reason.copy_(reasons)

    def close(self) -> None:
        """Mark the record complete: the last iterate is in it, and all items have stopped."""
        self.stop(torch.ones_like(self.running), StopReason.STEPS_DONE)
        self.closed = True

    def reopen(self, device: torch.device) -> None:
        """Continue after the last step; its iterate will be observed anew, as the next."""
        if self.closed:
            self._rows.pop()
            self.closed = False
        self.stop_reason.masked_fill_(self.stop_reason == StopReason.STEPS_DONE.code, 0)
        # A checkpoint is loaded before the module moves to its device.
        self._rows = [row.to(device) for row in self._rows]

    # -- what a fit asks --------------------------------------------------------------------------

    @property
    def running(self) -> Tensor:
        """Which items are still being optimized, `(items,)`."""
        return self.stop_reason == StopReason.RUNNING.code

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
        if self._may_have_stopped:
            gradient.masked_fill_(~self._running_like(gradient), 0.0)

    @contextmanager
    def stopped_stay(self, parameters: Tensor) -> Iterator[None]:
        """Within the block parameters may move; those of stopped items are then set back."""
        before = parameters.detach().clone()
        yield
        if self._may_have_stopped:
            after = parameters.detach()
            after.copy_(torch.where(self._running_like(after), after, before))

    @property
    def _on_cpu(self) -> bool:
        """True where reading a flag is cheaper than a pass over all pixels.

        An accelerator is not waited for: there the pass costs less than the waiting.
        """
        return self.stop_reason.device.type == "cpu"

    def _running_like(self, parameters: Tensor) -> Tensor:
        return self.running.reshape(-1, *[1] * (parameters.ndim - 1))

    @property
    def _may_have_stopped(self) -> bool:
        return not self._on_cpu or bool(self.stop_reason.any())

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
