"""Sums over the pixels or responses of each item, which padding does not change."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = torch.finfo(torch.float32).tiny
"""Smallest number by which it is safe to divide: of float32, in full precision."""


def total(values: Tensor) -> Tensor:
    """Sum of each item, `(items, frames, columns)` to `(items,)`: over columns, then frames.

    Frames are added in 64 bits: torch groups them by their number, so that frames of zeros after
    the end of an item would change its last digits, and where an item that oscillates ends.
    For a single number torch divides a sum over both between threads, so that it would depend on
    how many there are.
    """
    return values.sum(dim=2).sum(dim=1, dtype=torch.float64).to(values.dtype)


def square_sum(values: Tensor) -> Tensor:
    """Sum of squares of each item, `(items, frames, columns)` to `(items,)`."""
    return total(values.square())


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of each item, two of `(items, frames, columns)` to `(items,)`."""
    return total(a * b)


def length(vectors: Tensor) -> Tensor:
    """Euclidean length of each item, `(items, frames, columns)` to `(items,)`."""
    return square_sum(vectors).sqrt()
