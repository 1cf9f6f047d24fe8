"""One-line checks for the edges (files, options, shapes), with the one error formula.

Every message reads "expected ..., got ...; next step".
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np


def that(
    condition: Any, expected: str, got: object, advice: str, error: type[Exception] = ValueError
) -> None:
    """Raise "expected {expected}, got {got}; {advice}" unless the condition holds."""
    if not condition:
        raise error(f"expected {expected}, got {got}; {advice}")


def whole(
    name: str,
    value: Any,
    advice: str,
    *,
    at_least: int = 0,
    at_most: int | None = None,
    optional: bool = False,
) -> None:
    """A whole number (no bool) within bounds, or None where it is optional."""
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
    """A finite number within bounds, or None where it is optional."""
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
    """One of a few options; the nearest name is suggested."""
    if value in options:
        return
    near = nearest(str(value), [str(option) for option in options])
    advice = advice or (f"did you mean {near[0]!r}?" if near else "choose one of them")
    listed = ", ".join(repr(option) for option in options)
    that(False, f"{name} as one of {listed}", repr(value), advice)


def shape(name: str, array: Any, wanted: Sequence[int | str], advice: str) -> None:
    """An array of this shape; a name in place of a size stands for any size >= 1."""
    got = tuple(array.shape)
    ok = len(got) == len(wanted) and all(
        size >= 1 if isinstance(want, str) else size == want
        for size, want in zip(got, wanted, strict=True)
    )
    that(ok, f"{name} ({', '.join(map(str, wanted))})", str(got), advice)


def finite(name: str, array: Any, advice: str) -> None:
    """An array (NumPy or torch) without NaN or infinity."""
    finite = array.isfinite() if hasattr(array, "isfinite") else np.isfinite(array)
    bad = int((~finite).sum())
    that(bad == 0, f"finite {name}", f"{bad} NaN or infinite", advice)


def within(name: str, array: Any, low: float, high: float, advice: str) -> None:
    """An array whose values lie within [low, high]."""
    smallest, largest = float(array.min()), float(array.max())
    ok = low <= smallest and largest <= high
    that(ok, f"{name} in [{low:g}, {high:g}]", f"{smallest:g} to {largest:g}", advice)


def nearest(name: str, names: Sequence[str], n: int = 3) -> list[str]:
    """Those of `names` that are most like `name`, letter case aside."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    return [by_lower[key] for key in difflib.get_close_matches(name.lower(), by_lower, n, 0.3)]
