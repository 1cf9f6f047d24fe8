"""Direction tuning on polar axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stimopt.plotting import plot_tuning


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
