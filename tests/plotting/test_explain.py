"""The picture of an explanation shows the numbers passed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from stimopt.lattice import HexLattice
from stimopt.plotting.explain import Explanation, main_sources, plot_explanation

LATTICE = HexLattice(3)


def explanation() -> Explanation:
    random = np.random.default_rng(0)
    frames, sources = 30, [f"S{i}" for i in range(10)]
    return Explanation(
        stimulus=random.random((frames, LATTICE.n_columns)),
        sensitivity=random.normal(size=(frames, LATTICE.n_columns)),
        sources=sources,
        changes=random.normal(size=(frames, len(sources))),
        contributions=np.arange(10.0) - 4,
        maps=np.full((len(sources), LATTICE.n_columns), np.nan),
        peak_frame=25,
    )


def test_the_largest_sources_stand_first_and_the_rest_is_summed() -> None:
    assert main_sources([0.5, -2.0, 0.0, 1.0]) == [1, 3, 0]
    figure = plot_explanation(explanation(), LATTICE, 0.01, title="What drives T4c")
    (bars,) = (ax for ax in figure.axes if ax.get_title(loc="left") == "share in the peak")
    widths = [bar.get_width() for bar in bars.patches]
    # 5, then 4 and -4, 3 and -3, 2 and -2, and 1 of the two 1s; the others are -1 and 0.
    assert widths == [5, -4, 4, -3, 3, -2, 2, -1, 1]
    assert [label.get_text() for label in bars.get_yticklabels()][-1] == "2 others"


@pytest.mark.parametrize("sign", [1, -1])
def test_all_text_is_legible(sign: int, illegible: Callable[[Figure], list[str]]) -> None:
    item = explanation()
    item = dataclasses.replace(
        item,
        # The sum begins and ends at the border of the axes.
        changes=sign * np.linspace(1, 2, 30)[:, None] * np.arange(10),
        clip_contributions=item.contributions,
        lesioned=np.linspace(-2, 2, 10),
    )
    figure = plot_explanation(item, LATTICE, 0.01, title="What drives T4c")
    assert illegible(figure) == []
    (axes,) = (ax for ax in figure.axes if ax.get_title(loc="left").startswith("input current"))
    (text,) = axes.get_legend().get_texts()
    assert text.get_text() == "sum" and text.get_window_extent().y0 > axes.bbox.y1


def test_refuses_arrays_that_do_not_fit() -> None:
    item = explanation()
    with pytest.raises(ValueError, match="expected changes of currents"):
        plot_explanation(dataclasses.replace(item, changes=item.changes[:5]), LATTICE, 0.01)
    with pytest.raises(ValueError, match="expected a stimulus"):
        plot_explanation(item, HexLattice(4), 0.01)
