"""Functions by a short name, by a dotted path, or as they are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from stimopt import expect
from stimopt.storage.identity import function_name

F = TypeVar("F", bound=Callable[..., Any])


def look_up(kind: str, wanted: str | F, known: Mapping[str, F]) -> F:
    """A function by its name in `known`, by a dotted path such as `my_lab.onset`, or itself.

    Args:
        kind: what the function is, for the message.
        wanted: name, dotted path or function.
        known: the functions that have a short name.

    Raises:
        ValueError: for a name that is neither known nor the path of a function.
    """
    if not isinstance(wanted, str):
        expect.that(callable(wanted), f"{kind} as a name or a function", repr(wanted), "pass one")
        return wanted
    module, _, attribute = wanted.rpartition(".")
    if wanted in known or not module:
        expect.one_of(kind, wanted, known)
        return known[wanted]
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"expected {kind} as one of {', '.join(known)} or the dotted path of a function, got "
            f"{wanted!r} ({error}); put the folder of {module.partition('.')[0]} on PYTHONPATH"
        ) from error
    expect.that(callable(function), f"a function at {wanted}", repr(function), "name a function")
    return function  # type: ignore[no-any-return]


def name_of(function: F, known: Mapping[str, F]) -> str:
    """The short name of a function if it has one, else where it was defined."""
    for name, candidate in known.items():
        if candidate is function:
            return name
    return function_name(function)
