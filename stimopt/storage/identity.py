"""Names for what cannot be written out: the same for the same value, in any process."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from torch import Tensor


def digest(*tensors: Tensor | None) -> str:
    """The first twelve digits of SHA-256 over the shapes, types and numbers of tensors."""
    found = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            found.update(b"none")
            continue
        array = tensor.detach().cpu().contiguous().numpy()
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:12]


def function_name(function: Any) -> str:
    """Where a function was defined and its name there, or those of a callable's class.

    Not its `repr`, which holds an address and so differs from run to run.
    """
    if isinstance(function, functools.partial):
        given = [*map(repr, function.args), *(f"{k}={v!r}" for k, v in function.keywords.items())]
        return f"{function_name(function.func)}({', '.join(given)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
