"""Several stimuli of one cell type on one page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stimopt.plotting import StripOptions, plot_optima
from stimopt.plotting.three_optima import spread
from tests.plotting.cases import LATTICE, example

THREE = ("naturalistic", "regularized", "artificial")


def optima(
    peaks: tuple[int, ...], names: tuple[str, ...] = THREE, scale: float = 1.0, n_strips: int = 10
) -> Figure:
    results = []
    for name, peak in zip(names, peaks, strict=True):
        stimulus, response = example(peak + 5, peak)
        results.append((name, stimulus, scale * response))
    options = StripOptions(n_strips=n_strips, max_extent=2)
    return plot_optima(results, LATTICE, 0.01, "T4c", options=options)


def test_strips_end_where_the_traces_do() -> None:
    fig = optima((30, 5, 79))
    blocks = fig.subfigs[1:4]
    assert [block.texts[-1].get_text() for block in blocks] == [
        "naturalistic: peak 1.50 at 300 ms",
        "regularized: peak 1.50 at 50 ms",
        "artificial: peak 1.50 at 790 ms",
    ]
    FigureCanvasAgg(fig).draw()
    # The last frame of each block stands over 0 ms of the traces.
    (traces,) = fig.subfigs[4].axes
    zero = traces.transData.transform((0, 0))[0]
    for block, n_strips in zip(blocks, (10, 3, 10), strict=True):
        for ax in [ax for ax in block.axes if not ax.axison]:
            hexagons = ax.collections[0]
            places = ax.transData.transform(hexagons.get_offsets()).reshape(n_strips, -1, 2)
            assert places[-1, :, 0].mean() == pytest.approx(zero, abs=0.5)
    curves = [line for line in traces.lines if len(line.get_xdata()) > 2]
    assert [line.get_xdata()[-1] for line in curves] == [0, 0, 0]
    assert {text.get_text() for text in traces.texts} == {*THREE, "1.50"}


def test_colour_scales_are_separate_or_shared() -> None:
    stimulus, response = example()
    results = [("a", stimulus, response), ("b", stimulus, 3 * response)]
    for shared_scale, ratio in ((False, 3.0), (True, 1.0)):
        fig = plot_optima(results, LATTICE, 0.01, "T4c", shared_scale=shared_scale)
        limits = [
            max(
                c.get_clim()[1]
                for ax in part.axes
                for c in ax.collections
                if c.get_array() is not None
            )
            for part in fig.subfigs[1:3]
        ]
        assert limits[1] / limits[0] == pytest.approx(ratio)


@pytest.mark.parametrize("peaks_and_names", [((), ()), ((3, 3), ("a", "a"))])
def test_rejects_none_and_equal_names(
    peaks_and_names: tuple[tuple[int, ...], tuple[str, ...]],
) -> None:
    with pytest.raises(ValueError, match="results with different names"):
        optima(*peaks_and_names)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: optima((30, 30, 79)),
        lambda: optima((79, 3), ("a stimulus with a very long name", "b")),
        *(
            lambda scale=scale: optima((30, 30, 40), scale=scale, n_strips=2)
            for scale in (1e-5, 0.03, 0.3, -4321.0, 4e6)
        ),
    ],
)
def test_all_text_is_legible(
    draw: Callable[[], Figure], illegible: Callable[[Figure], list[str]]
) -> None:
    assert illegible(draw()) == []


def test_the_label_names_the_unit_of_very_small_responses() -> None:
    (traces,) = optima((30, 30, 40), scale=1e-5, n_strips=3).subfigs[4].axes
    assert traces.get_ylabel() == "central response (1e\N{MINUS SIGN}5 a.u.)"


@given(st.lists(st.floats(0, 3), min_size=1, max_size=5))
def test_labels_are_spread_without_overlap(centers: list[float]) -> None:
    placed = np.array(spread(centers, 0.5, 3.0))
    order = np.argsort(centers, kind="stable")
    assert (np.diff(placed[order]) >= 0.5 - 1e-9).all()
    assert placed.min() >= 0.25 - 1e-9 and placed.max() <= 2.75 + 1e-9
    assert spread([1.0, 2.0], 0.5, 3.0) == [1.0, 2.0]  # those with room stay
