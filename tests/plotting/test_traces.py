"""Curves of responses, losses and greyness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from stimopt.plotting import plot_ladder, plot_losses, plot_traces, plot_tradeoff


def test_traces_name_their_peaks() -> None:
    ax = Figure().add_subplot()
    lines = plot_traces(
        ax, {"a": [0, 10, 20], "b": [5, 15]}, {"a": [0.0, 1.826, np.nan], "b": [-0.5, -1.0]}
    )
    np.testing.assert_array_equal(lines["b"].get_xdata(), [5, 15])
    legend = ax.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["a: peak 1.83 at 10 ms", "b: peak \N{MINUS SIGN}0.500 at 5 ms"]
    assert marks(ax) == [[10, 1.826], [5, -0.5]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "central response (a.u.)")
    # Another frame than that of the largest value may be marked.
    plot_traces(ax := Figure().add_subplot(), [0, 10, 20], {"a": [0, 1.0, -2]}, peaks={"a": 2})
    assert marks(ax) == [[20, -2.0]]


def marks(ax: Any) -> list[list[float]]:
    return [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "o"]


@pytest.mark.parametrize(
    ("time", "traces", "message"),
    [
        ([0, 1], {}, "at least one trace"),
        ([0, 1], {"a": [1, 2, 3]}, r"'a'.*\(3,\) and \(2,\)"),
        ({"b": [0, 1]}, {"a": [1, 2]}, "none for 'a'"),
    ],
)
def test_rejects_traces_that_do_not_fit(
    time: Any, traces: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plot_traces(Figure().add_subplot(), time, traces)


def test_losses_start_at_step_zero() -> None:
    ax = Figure().add_subplot()
    lines = plot_losses(ax, {"loss/total": [3.0, 2.0, 1.0], "loss/grey": [1.0, 1.0, 0.5]})
    np.testing.assert_array_equal(lines["loss/total"].get_xdata(), [0, 1, 2])
    assert lines["loss/total"].get_color() == "black"
    with pytest.raises(ValueError, match="one item"):
        plot_losses(ax, {"total": np.zeros((2, 3))})
    with pytest.raises(ValueError, match="at least one loss"):
        plot_losses(ax, {})


def test_tolerances_are_in_percent_and_in_order(illegible: Callable[[Figure], list[str]]) -> None:
    fig = plot_tradeoff([0.05, 0.01, 0.02], [1.0, np.nan, 4.0], "T4c")
    (ax,) = fig.axes
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 5])
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 4, 1])
    assert ax.get_title() == "T4c"
    assert illegible(fig) == []
    with pytest.raises(ValueError, match=r"\(1,\) and \(2,\)"):
        plot_tradeoff([0.1], [1, 2])
    with pytest.raises(ValueError, match="tolerances > 0"):
        plot_tradeoff([0.0, 0.1], [1, 2])


def test_a_ladder_leads_from_the_floor_through_grey_to_the_ceiling(
    illegible: Callable[[Figure], list[str]],
) -> None:
    levels, responses = [-1.0, -0.5, 0.0, 0.5, 1.0], [-2.0, -0.5, 1.0, 3.0, 5.0]
    fig = plot_ladder(levels, responses, [0.9, 0.4, 0.0, 0.1, np.nan], "T4c")
    (ax,) = fig.axes
    up, down = ax.lines
    np.testing.assert_allclose(up.get_xydata(), [[0, 1], [10, 3], [np.nan, 5]])
    np.testing.assert_allclose(down.get_xydata(), [[90, -2], [40, -0.5], [0, 1]])
    places = {text.get_text(): text.xy for text in ax.texts if hasattr(text, "xy")}
    # At the last rung that was reached.
    assert places["toward the ceiling"] == pytest.approx((10, 3))
    assert places["toward the floor"] == pytest.approx((90, -2))
    assert illegible(fig) == []
    with pytest.raises(ValueError, match=r"\(2,\), \(1,\) and \(2,\)"):
        plot_ladder([0, 1], [1], [0, 1])


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plot_traces(ax, [0, 10, 20], {"target": [0, 0.1, 0], "b": [0, -0.2, 0.3]}),
        lambda ax: plot_traces(ax, [0, 10, 20], {"a": [100.001, 100.002, 100.003]}),
        lambda ax: plot_losses(ax, {"total": [3e5, -1], "grey": [3e5, 1]}, scale="symlog"),
        lambda ax: plot_losses(ax, {"total": [3e7, -1], "grey": [3e7, 1]}),
    ],
)
def test_all_text_is_legible(
    draw: Callable[[Any], Any], illegible: Callable[[Figure], list[str]]
) -> None:
    fig = Figure(figsize=(3.5, 3.0), layout="constrained")
    draw(fig.add_subplot())
    assert illegible(fig) == []
