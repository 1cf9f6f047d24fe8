"""A parametrization whose luminance is filtered in time and space, as what a display shows is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from stimopt import expect
from stimopt.protocol import GREY
from stimopt.storage.identity import digest


@dataclass(frozen=True, eq=False, repr=False)
class Filtered:
    """Pixels in [0, 1], which a cell's column sees through linear filters.

    luminance = time @ parameters @ space^T + rest, cut to [0, 1].

    Args:
        time: weight of every frame in every frame seen, `(frames, frames)`; a hold or a mean.
        space: weight of every column in every column seen, `(columns, columns)`; a blur.
        rest: what columns see besides, `(columns,)`.
        still: frames at the beginning that stay grey.

    Raises:
        ValueError: for shapes that do not fit each other.

    Example:
        >>> import torch
        >>> halves = Filtered(torch.eye(3), torch.full((2, 2), 0.5), torch.zeros(2))
        >>> halves.luminance(torch.tensor([[[0.0, 1.0]] * 3]))[0, 0]
        tensor([0.5000, 0.5000])
    """

    time: Tensor
    space: Tensor
    rest: Tensor
    still: int = 0

    def __post_init__(self) -> None:
        frames, columns = len(self.time), len(self.rest)
        advice = "build them for one stimulus"
        expect.shape("time", self.time, (frames, frames), advice)
        expect.shape("space", self.space, (columns, columns), advice)
        expect.whole("still", self.still, "0 moves all frames", at_most=frames - 1)

    def __repr__(self) -> str:
        filters = digest(self.time, self.space, self.rest)
        return f"Filtered({filters}, still={self.still})"

    def parameters(self, luminance: Tensor) -> Tensor:
        """The pixels."""
        return luminance.clone()

    def luminance(self, parameters: Tensor) -> Tensor:
        """What the columns see."""
        time, space, rest = (part.to(parameters) for part in (self.time, self.space, self.rest))
        return (time @ parameters @ space.T + rest).clamp(0.0, 1.0)

    def project_(self, parameters: Tensor) -> None:
        """Clamp to [0, 1], and set the still frames to grey."""
        parameters.clamp_(0.0, 1.0)
        parameters[:, : self.still] = GREY
