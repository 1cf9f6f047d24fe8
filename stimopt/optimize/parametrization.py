"""Parametrizations: what the optimizer moves, and the luminance that it stands for.

A parametrization is an object with three methods; pass one of your own to change what a stimulus
can be (low rank, Fourier, smooth in time or space):

    parameters(luminance)   the parameters of a starting luminance, a tensor with items first
    luminance(parameters)   luminance (items, frames, columns), differentiable
    project_(parameters)    in place, back into range after each step of the optimizer

Its `repr` must tell its options, as a dataclass's does: a resumed fit compares it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stimopt import expect


class Parametrization(Protocol):
    """What any parametrization offers."""

    def parameters(self, luminance: Tensor) -> Tensor:
        """Parameters that stand for a luminance in [0, 1]."""

    def luminance(self, parameters: Tensor) -> Tensor:
        """The luminance that parameters stand for, `(items, frames, columns)`."""

    def project_(self, parameters: Tensor) -> None:
        """Set parameters back into range, in place."""


@dataclass(frozen=True)
class Clamp:
    """The pixels themselves, set back into [0, 1] after each step, as flyvis's generation."""

    def parameters(self, luminance: Tensor) -> Tensor:
        """The pixels."""
        return luminance

    def luminance(self, parameters: Tensor) -> Tensor:
        """The pixels."""
        return parameters

    def project_(self, parameters: Tensor) -> None:
        """Clamp to [0, 1]."""
        parameters.clamp_(0.0, 1.0)


@dataclass(frozen=True)
class Free(Clamp):
    """The pixels themselves, never set back, as flyvis's regularization."""

    def project_(self, parameters: Tensor) -> None:
        """Leave the pixels as they are."""


@dataclass(frozen=True)
class Sigmoid:
    """Logits of the pixels, so that luminance stays within (0, 1).

    Args:
        margin: a starting pixel is moved this far off 0 and 1, where its logit would be infinite.
    """

    margin: float = 1e-3

    def parameters(self, luminance: Tensor) -> Tensor:
        """Logits."""
        return torch.logit(luminance.clamp(self.margin, 1 - self.margin))

    def luminance(self, parameters: Tensor) -> Tensor:
        """Sigmoid of the logits."""
        return torch.sigmoid(parameters)

    def project_(self, parameters: Tensor) -> None:
        """Leave the logits as they are."""


PARAMETRIZATIONS: dict[str, Parametrization] = {
    "clamp": Clamp(),
    "sigmoid": Sigmoid(),
    "free": Free(),
}


def find_parametrization(parametrization: str | Parametrization) -> Parametrization:
    """A parametrization by its name, or the object itself.

    Raises:
        ValueError: for an unknown name, or an object without the three methods.
    """
    if isinstance(parametrization, str):
        expect.one_of("parametrization", parametrization, PARAMETRIZATIONS)
        return PARAMETRIZATIONS[parametrization]
    missing = [
        name
        for name in ("parameters", "luminance", "project_")
        if not callable(getattr(parametrization, name, None))
    ]
    expect.that(
        not missing,
        "a parametrization with parameters, luminance and project_",
        f"{type(parametrization).__name__} without {', '.join(missing)}",
        "add the methods",
    )
    return parametrization
