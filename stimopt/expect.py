"""One-line checks of files, options and shapes, all with errors of one form.

Each check raises a ValueError "expected ..., got ...; next step", or passes without effect.
`name` says what is checked, and `advice` is the next step.

Example:
    >>> whole("seeds", -1, "0 is usual")
    Traceback (most recent call last):
    ValueError: expected seeds as a whole number >= 0, got -1; 0 is usual
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from typing import Any

import numpy as np


def that(
    condition: Any, expected: str, got: object, advice: str, error: type[Exception] = ValueError
) -> None:
    """Raise "expected {expected}, got {got}; {advice}" unless the condition holds."""
    if not condition:
        raise error(f"expected {expected}, got {got}; {advice}")


def names(given: str | Iterable[str]) -> list[str]:
    """Names from a list, or from one text with commas between them."""
    if not isinstance(given, str):
        return list(given)
    return [part.strip() for part in given.split(",") if part.strip()]


def whole(
    name: str,
    value: Any,
    advice: str,
    *,
    at_least: int = 0,
    at_most: int | None = None,
    optional: bool = False,
) -> None:
    """Check for a whole number (no bool) within bounds, or None where that is optional."""
    if optional and value is None:
        return
    ok = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    ok = ok and at_least <= value and (at_most is None or value <= at_most)
    bounds = f">= {at_least}" if at_most is None else f"within {at_least} to {at_most}"
    tail = " or None" if optional else ""
    that(ok, f"{name} as a whole number {bounds}{tail}", repr(value), advice)


def number(
    name: str,
    value: Any,
    advice: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    optional: bool = False,
) -> None:
    """Check for a finite number within bounds, or None where that is optional."""
    if optional and value is None:
        return
    ok = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    ok = ok and math.isfinite(value)
    bounds = []
    for sign, bound, holds in (
        (">", above, operator.gt),
        (">=", at_least, operator.ge),
        ("<=", at_most, operator.le),
    ):
        if bound is not None:
            ok = ok and holds(value, bound)
            bounds.append(f"{sign} {bound:g}")
    wanted = " ".join(["a finite", name, " and ".join(bounds)]).rstrip()
    that(ok, wanted + (" or None" if optional else ""), repr(value), advice)


def one_of(name: str, value: Any, options: Collection[Any], advice: str = "") -> None:
    """Check for one of a few options; without advice the error suggests the most similar one."""
    if value in options:
        return
    near = most_similar(str(value), [str(option) for option in options])
    advice = advice or ("choose one of them" if near is None else f"did you mean {near!r}?")
    listed = ", ".join(repr(option) for option in options)
    that(False, f"{name} as one of {listed}", repr(value), advice)


def shape(name: str, array: Any, wanted: Sequence[int | str], advice: str) -> None:
    """Check the shape of an array; a name in place of a size stands for any size >= 1."""
    got = tuple(array.shape)
    ok = len(got) == len(wanted) and all(
        size >= 1 if isinstance(want, str) else size == want
        for size, want in zip(got, wanted, strict=True)
    )
    that(ok, f"{name} ({', '.join(map(str, wanted))})", str(got), advice)


def finite(name: str, array: Any, advice: str) -> None:
    """Check that an array (NumPy or torch) has neither NaN nor infinity."""
    finite = array.isfinite() if hasattr(array, "isfinite") else np.isfinite(array)
    bad = int((~finite).sum())
    that(bad == 0, f"finite {name}", f"{bad} NaN or infinite", advice)


def within(name: str, array: Any, low: float, high: float, advice: str) -> None:
    """Check that the values of an array lie within [low, high]."""
    smallest, largest = float(array.min()), float(array.max())
    wanted = f"{name} in [{low:g}, {high:g}]"
    that(not math.isnan(smallest), wanted, "NaN", "replace what is no number")
    ok = low <= smallest and largest <= high
    that(ok, wanted, f"{smallest:g} to {largest:g}", advice)


def most_similar(name: str, names: Sequence[str]) -> str | None:
    """The one of `names` that is most like `name`, ignoring case; None if none is alike.

    Of names equally alike, the one with the longest common beginning: T4a, not Tm4, for T4x.
    """
    wanted = name.lower()

    def likeness(candidate: str) -> tuple[float, int]:
        ratio = difflib.SequenceMatcher(None, candidate.lower(), wanted).ratio()
        return ratio, sum(takewhile(bool, map(operator.eq, candidate.lower(), wanted)))

    found = max(names, key=likeness, default="")
    return found if likeness(found)[0] >= 0.3 else None
