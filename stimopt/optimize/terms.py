"""Terms of a loss: their names, also the tags in TensorBoard, their sum, and their reach."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stimopt import expect

Terms = dict[str, Tensor]
"""Terms of the loss and what is logged beside them, by name, each `(items,)`."""

TOTAL = "loss/total"
ACTIVITY = "loss/activity"
GREY_LOSS = "loss/grey"
PEAK = "response/peak"
VIOLATION = "constraint/violation"
DEVIATION = "constraint/deviation"
MULTIPLIER = "constraint/multiplier"
STIFFNESS = "constraint/stiffness"


def with_total(terms: Mapping[str, Tensor]) -> Terms:
    """The terms with their sum `loss/total` before them.

    Raises:
        ValueError: for a term that is not one number for each item.
    """
    n_items = next(iter(terms.values())).shape[:1]
    for name, term in terms.items():
        expect.shape(name, term, n_items, "return one number for each item")
    return {TOTAL: torch.stack(list(terms.values())).sum(dim=0), **terms}


def reached_by_gradient(activity: Tensor, stimulus: Tensor) -> Tensor:
    """Which items' responses depend on their stimuli, `(items,)`, bool.

    Args:
        activity: of each item, `(items,)`.
        stimulus: what it should depend on, items first.
    """
    gradient = None
    if activity.requires_grad:
        (gradient,) = torch.autograd.grad(activity.sum(), stimulus, allow_unused=True)
    if gradient is None:
        return torch.zeros_like(activity, dtype=torch.bool)
    # NaN counts as reached: the item will stop with that as its reason.
    return (gradient != 0).flatten(1).any(1)
