"""Numbers as they are written in figures."""

from __future__ import annotations

import pytest

from stimopt.plotting.style import milliseconds, number, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.3, "1.30"),
        (-0.5, "\N{MINUS SIGN}0.500"),
        (0.0, "0"),
        (123.4, "123"),
        (999.7, "1000"),
        (12345.6, "12346"),
        (-1.234e-5, "\N{MINUS SIGN}1.2e\N{MINUS SIGN}5"),
        (3e7, "3.0e7"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_milliseconds_have_tenths_only_where_needed() -> None:
    texts = [milliseconds(t) for t in (-0.0, 290.0000001, 8.33, -180)]
    assert texts == ["0", "290", "8.3", "\N{MINUS SIGN}180"]


def test_percent_are_whole_with_a_true_minus_sign() -> None:
    assert [percent(part) for part in (0.254, 1.0, -0.05)] == ["25 %", "100 %", "\N{MINUS SIGN}5 %"]
