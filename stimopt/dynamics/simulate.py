"""One differentiable call from luminance to voltages, with any implementation of the step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from stimopt.dynamics.layout import Drive


class Step(Protocol):
    """The interface of an implementation of the dynamics.

    Shapes: luminance `(items, frames, columns)`, state `(items, cells)`, voltages
    `(items, frames, k)` with k read-out cells, or all of them.
    """

    name: str

    def threads(self) -> AbstractContextManager[None]:
        """A context to be in during each step of a fit or search, for speed."""
        ...

    def forward(
        self, drive: Drive, luminance: Tensor, initial: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Voltages, the last state, and the gates for the adjoint, stored only if `keep`."""
        ...

    def adjoint(
        self, drive: Drive, saved: list[Tensor], grad_voltages: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients with respect to luminance and the initial state."""
        ...


class _Simulation(torch.autograd.Function):
    """A step over all frames, with its adjoint (see `stimopt.dynamics`) as the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, luminance: Tensor, initial: Tensor, step: Step, drive: Drive
    ) -> tuple[Tensor, Tensor]:
        keep = any(ctx.needs_input_grad)
        with _full_precision(luminance):
            voltages, final, saved = step.forward(drive, luminance, initial, keep)
        ctx.step, ctx.drive = step, drive
        ctx.save_for_backward(*saved)
        return voltages, final

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_voltages: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        saved = list(ctx.saved_tensors)
        with _full_precision(grad_voltages):
            luminance, initial = ctx.step.adjoint(
                ctx.drive, saved, grad_voltages.contiguous(), grad_final.contiguous()
            )
        return luminance, initial, None, None


def _run(luminance: Tensor, initial: Tensor, step: Step, drive: Drive) -> tuple[Tensor, Tensor]:
    voltages, final = _Simulation.apply(luminance, initial, step, drive)  # type: ignore[no-untyped-call]
    return voltages, final


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Mixed precision ends here: autocast would take the products of the step to bfloat16."""
    return torch.autocast(tensor.device.type, enabled=False)


def simulate(
    step: Step, drive: Drive, luminance: Tensor, initial: Tensor, *, segment: int | None = None
) -> tuple[Tensor, Tensor]:
    """Voltages `(items, frames, k)` and the last state `(items, cells)`, differentiable.

    The state is integrated in float32 at least, whatever the precision of the luminance:
    in bfloat16 an Euler step of a few per cent of V would be lost to rounding.

    Args:
        step: the implementation.
        drive: parameters, time step and read-out.
        luminance: `(items, frames, columns)`, in [0, 1].
        initial: voltage before the first frame, `(items, cells)`.
        segment: recompute the forward pass in segments of this many frames during the backward
            pass, storing only the state between segments; for stimuli too long for memory.
    """
    dtype = torch.promote_types(torch.promote_types(luminance.dtype, initial.dtype), torch.float32)
    luminance, initial = luminance.to(dtype), initial.to(dtype)
    frames = luminance.shape[1]
    if segment is None or frames <= segment or not torch.is_grad_enabled():
        return _run(luminance, initial, step, drive)
    pieces = []
    for piece in torch.split(luminance, segment, dim=1):
        voltages, initial = checkpoint(_run, piece, initial, step, drive, use_reentrant=False)
        pieces.append(voltages)
    return torch.cat(pieces, dim=1), initial
