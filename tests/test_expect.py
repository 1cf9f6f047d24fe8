"""One-line checks: what each accepts, and the one form of its message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from stimopt import expect


def refusal(check: Callable[..., None], *args: Any, **options: Any) -> str:
    """The message of a refusal, which names what was expected and got, and the next step."""
    with pytest.raises(ValueError, match=r"^expected .*, got .*; .*") as error:
        check(*args, **options)
    return str(error.value)


def test_the_message_has_one_form_and_the_class_that_was_asked_for() -> None:
    expect.that(True, "x", "y", "z")
    assert refusal(expect.that, [], "some", "none", "add one") == "expected some, got none; add one"
    with pytest.raises(RuntimeError, match="expected some"):
        expect.that(False, "some", "none", "add one", RuntimeError)


@pytest.mark.parametrize("value", [0, 3, np.int64(2)])
def test_whole_accepts_integers_within_bounds(value: Any) -> None:
    expect.whole("n", value, "count", at_most=3)


@pytest.mark.parametrize("value", [-1, 4, 1.0, True, "2", None, np.float64(2)])
def test_whole_refuses_anything_else(value: Any) -> None:
    message = refusal(expect.whole, "n", value, "count", at_most=3)
    assert message == f"expected n as a whole number within 0 to 3, got {value!r}; count"


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25)])
def test_number_accepts_finite_numbers_within_bounds(value: Any) -> None:
    expect.number("x", value, "choose", above=0, at_most=1)


@pytest.mark.parametrize("value", [0, 1.5, float("nan"), float("inf"), True, "1", None])
def test_number_refuses_anything_else(value: Any) -> None:
    message = refusal(expect.number, "x", value, "choose", above=0, at_most=1)
    assert message == f"expected a finite x > 0 and <= 1, got {value!r}; choose"


def test_none_passes_where_a_value_is_optional() -> None:
    expect.whole("n", None, "count", optional=True)
    expect.number("x", None, "choose", optional=True)
    assert "or None" in refusal(expect.whole, "n", -1, "count", optional=True)


def test_one_of_suggests_the_nearest_name() -> None:
    expect.one_of("mode", "fast", ("fast", "slow"))
    message = refusal(expect.one_of, "cell type", "t4C", ("T4a", "T4c", "Mi1"))
    assert message.endswith("got 't4C'; did you mean 'T4c'?") and "'T4a', 'T4c', 'Mi1'" in message
    assert refusal(expect.one_of, "mode", "?", ("fast", "slow")).endswith("choose one of them")
    assert refusal(expect.one_of, "axis", 7, (0, 1), "0 is none").endswith("got 7; 0 is none")


@pytest.mark.parametrize("library", [np, torch])
def test_shape_finite_and_within_take_arrays_and_tensors(library: Any) -> None:
    array = library.zeros((2, 3))
    expect.shape("x", array, ("items", 3), "reshape")
    expect.finite("x", array, "repair")
    expect.within("x", array, 0, 1, "clip")
    message = refusal(expect.shape, "x", array, ("items", 4), "reshape")
    assert message == "expected x (items, 4), got (2, 3); reshape"
    refusal(expect.shape, "x", array, (2, 3, 1), "reshape")
    refusal(expect.shape, "x", library.zeros((0, 3)), ("items", 3), "reshape")
    array[0, 0] = 1.5
    assert refusal(expect.within, "x", array, 0, 1, "clip").startswith(
        "expected x in [0, 1], got 0"
    )
    array[0, 0] = float("nan")
    assert refusal(expect.finite, "x", array, "repair").endswith("got 1 NaN or infinite; repair")
    refusal(expect.within, "x", array, 0, 1, "clip")


def test_finite_takes_any_precision_and_a_tensor_with_a_gradient() -> None:
    expect.finite("x", torch.ones(2, dtype=torch.bfloat16, requires_grad=True), "repair")
    expect.finite("x", [1.0, 2.0], "repair")


def test_the_most_similar_name_ignores_letter_case() -> None:
    assert expect.most_similar("t4C", ["T4a", "T4c", "Mi1"]) == "T4c"
    assert expect.most_similar("Mi", ["T4a", "Mi1"]) == "Mi1"
    assert expect.most_similar("xyz", ["T4a", "Mi1"]) is None
