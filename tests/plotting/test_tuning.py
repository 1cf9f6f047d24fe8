"""Direction tuning on polar axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stimopt.plotting import plot_tuning
from stimopt.plotting.tuning import Tuning, plot_tunings


def test_tuning_is_a_closed_curve_with_up_at_the_top() -> None:
    fig = Figure(figsize=(3, 3), dpi=100)
    ax = fig.add_subplot(projection="polar")
    on, off = plot_tuning(ax, [90, 0, 270, 180], [2.0, 0.5, 0.1, -0.2], [0.0] * 4, preferred_deg=90)
    np.testing.assert_allclose(on.get_xdata(), np.deg2rad([0, 90, 180, 270, 0]))
    np.testing.assert_array_equal(on.get_ydata(), [0.5, 2.0, -0.2, 0.1, 0.5])
    assert len(off.get_xdata()) == 5
    FigureCanvasAgg(fig).draw()
    up, middle = ax.transData.transform([(np.pi / 2, 2.0), (np.pi / 2, -0.2)])
    assert up[1] > middle[1] and up[0] == pytest.approx(middle[0])
    assert ax.get_ylim()[0] < -0.2 and ax.get_ylim()[1] > 2.0


def test_several_types_have_a_panel_each_and_one_legend() -> None:
    tunings = {
        "T4c": Tuning([1, 3, 1, 0], [0.5, 0, 0, 0], 90.0),
        "T5a": Tuning([0] * 4, [1, 0, 2, 0], float("nan")),
    }
    fig = plot_tunings([0, 90, 180, 270], tunings, "network 000", columns=1)
    assert [ax.get_title() for ax in fig.axes] == ["T4c", "T5a"]
    assert [len(ax.texts) for ax in fig.axes] == [1, 0]  # an arrow where a direction is preferred
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ON edge", "OFF edge"]
    np.testing.assert_array_equal(fig.axes[1].lines[1].get_ydata(), [1, 0, 2, 0, 1])
    with pytest.raises(ValueError, match="at least one cell type"):
        plot_tunings([0], {}, "")


def test_all_panels_are_legible(illegible: Callable[[Figure], list[str]]) -> None:
    tunings = {f"T4{each}": Tuning([1, 2, 0.3, -0.1], [0] * 4, 90.0) for each in "abcd"}
    assert illegible(plot_tunings([0, 90, 180, 270], tunings, "network 000")) == []


def test_all_text_is_legible(illegible: Callable[[Figure], list[str]]) -> None:
    fig = Figure(figsize=(3.5, 3.0), layout="constrained")
    ax = fig.add_subplot(projection="polar")
    plot_tuning(ax, [0, 90, 180, 270], [1, 2, 0.3, -0.1], [0, 0, 0, 0])
    assert illegible(fig) == []


def test_rejects_other_axes_and_arrays_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="polar axes, got Axes"):
        plot_tuning(Figure().add_subplot(), [0], [1], [1])
    with pytest.raises(ValueError, match=r"\(2,\), \(1,\) and \(2,\)"):
        plot_tuning(Figure().add_subplot(projection="polar"), [0, 90], [1], [1, 2])
