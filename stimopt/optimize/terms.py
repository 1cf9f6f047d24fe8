"""Names of the terms of a loss, which are also the tags in TensorBoard."""

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
