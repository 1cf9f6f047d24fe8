"""Stimulus above response: which frames, where, on which scales, and all of it legible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stimopt.lattice import HexLattice
from stimopt.plotting import StripOptions, plot_stim_response
from tests.plotting.cases import LATTICE, corners, example, inner_columns, strips


def test_the_last_frame_drawn_is_the_peak() -> None:
    stimulus, response = example(peak=30)
    plot = plot_stim_response(stimulus, response, LATTICE, 0.01)
    assert (plot.strip.peak_frame, plot.strip.peak_response) == (30, 1.5)
    inner, frames = inner_columns(LATTICE, 6), slice(12, 31, 2)
    for hexagons, values in zip(plot.artists, (stimulus, response - response[0]), strict=True):
        np.testing.assert_array_equal(hexagons.get_array(), values[frames, inner].ravel())


def test_frames_stand_in_order_over_their_times() -> None:
    plot = plot_stim_response(*example(peak=30), LATTICE, 0.01, options=StripOptions(max_extent=3))
    FigureCanvasAgg(plot.fig).draw()
    labels = [label.get_text() for label in plot.time_axis.get_xticklabels()]
    assert labels == [f"\N{MINUS SIGN}{t}" for t in range(180, 0, -20)] + ["0"]
    assert plot.time_axis.get_xlabel() == "time to peak (ms)"
    ticks = [(tick, 0) for tick in plot.time_axis.get_xticks()]
    under = plot.time_axis.transData.transform(ticks)[:, 0]
    above, below = (
        hexagons.axes.transData.transform(corners(hexagons).reshape(-1, 2)).reshape(10, -1, 2)
        for hexagons in plot.artists
    )
    for frames in (above, below):
        middles = (frames[..., 0].min(axis=1) + frames[..., 0].max(axis=1)) / 2
        np.testing.assert_allclose(middles, under, atol=0.01)
        assert (frames[:-1, :, 0].max(axis=1) < frames[1:, :, 0].min(axis=1)).all()
    assert above[..., 1].min() > below[..., 1].max()


@pytest.mark.parametrize("baseline", [True, False, 0.25, "array"])
def test_response_limits_are_symmetric_about_zero(baseline: Any) -> None:
    stimulus, response = example()
    subtracted = {True: response[0], False: 0.0, 0.25: 0.25}.get(baseline, np.linspace(-1, 1, 217))
    options = StripOptions(baseline=subtracted if baseline == "array" else baseline)
    plot = plot_stim_response(stimulus, response, LATTICE, 0.01, options=options)
    largest = np.abs((response - subtracted)[12:31:2][:, inner_columns(LATTICE, 6)]).max()
    assert [hexagons.get_clim() for hexagons in plot.artists] == [(0, 1), (-largest, largest)]
    units = [bar.ax.get_ylabel() for bar in plot.colorbars]
    delta = "" if baseline is False else "\N{INCREMENT} "
    assert units == ["luminance", f"{delta}response (a.u.)"]


def test_missing_cells_are_left_blank_and_do_not_count() -> None:
    stimulus, response = example()
    missing = (LATTICE.u % 2 != 0) | (LATTICE.v % 2 != 0)
    response[:, missing] = np.nan
    plot = plot_stim_response(stimulus, response, LATTICE, 0.01)
    mask = np.ma.getmaskarray(plot.artists[1].get_array()).reshape(10, -1)
    np.testing.assert_array_equal(mask, [missing[inner_columns(LATTICE, 6)]] * 10)
    assert np.isfinite(plot.strip.limit)


def test_the_peak_may_be_chosen_or_that_of_another_column() -> None:
    stimulus, response = example(peak=30)
    strip = plot_stim_response(stimulus, response, LATTICE, 0.01, peak_frame=12).strip
    assert strip.peak_frame == 12
    assert strip.peak_response == pytest.approx(1.5 - 18 / 40)
    column = int(LATTICE.index(2, -1))
    response[:, column] = np.linspace(0, 7, 40) * (np.arange(40) <= 20)
    strip = plot_stim_response(stimulus, response, LATTICE, 0.01, column=column).strip
    assert strip.peak_frame == 20
    assert strip.peak_response == response[20, column]


def test_a_silent_cell_can_be_drawn() -> None:
    stimulus, _ = example()
    plot = plot_stim_response(stimulus, np.zeros_like(stimulus), LATTICE, 0.01)
    assert plot.strip.peak_frame == 0
    assert plot.artists[1].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stimulus": np.zeros((40, 7))}, r"stimulus of shape \(frames, 217\).*\(40, 7\)"),
        ({"response": np.zeros((1, 40, 217))}, r"response of shape.*\(1, 40, 217\)"),
        ({"response": np.zeros((39, 217))}, "got 39 and 40"),
        ({"stimulus": np.full((40, 217), np.nan)}, "finite stimulus, got 8680"),
        ({"response": np.full((40, 217), np.nan)}, "only NaN"),
        ({"peak_frame": 40}, "0 to 39, got 40"),
        ({"dt": 0.0}, "dt"),
        ({"options": StripOptions(baseline=np.zeros(5))}, r"baseline.*\(217,\).*\(5,\)"),
        ({"options": StripOptions(seconds=0.001)}, "at least one frame"),
        ({"options": StripOptions(n_strips=0)}, "one strip"),
        ({"fig": Figure(figsize=(2, 1))}, "2.00 x 1.00 inches"),
    ],
)
def test_rejects_what_cannot_be_drawn(change: dict[str, Any], message: str) -> None:
    stimulus, response = example()
    arguments = {"stimulus": stimulus, "response": response, "lattice": LATTICE, "dt": 0.01}
    with pytest.raises(ValueError, match=message):
        plot_stim_response(**(arguments | change))


def test_recorded_optimum_of_t4c(shared: Path) -> None:
    with h5py.File(shared / "reference" / "flyvis-1.2.0.h5") as file:
        stimulus = file["generate/T4c/stimulus"][:]
        response = file["generate/T4c/response"][:]
    plot = plot_stim_response(stimulus, response, HexLattice(15), 0.01, title="T4c")
    assert plot.title.get_text() == "T4c: peak 3.67 at 790 ms"
    # The dark patch ahead of the edge, then the edge, in the columns just around the centre.
    around = [inner_columns(HexLattice(15), 6).index(i) for i in inner_columns(HexLattice(15), 1)]
    luminance = plot.artists[0].get_array().reshape(10, -1)[:, around].mean(axis=1)
    assert luminance[0] < 0.2 < 0.8 < luminance[-2]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: strips(15, 80, 79, title="T4c, artificial"),
        lambda: strips(0, 5, 0, title="one frame of one column"),
        lambda: strips(8, 60, 50, dt=1 / 120, options=StripOptions(max_extent=None)),
        lambda: strips(3, 60, 50, limit=12345.6, title="a long title " * 20),
        lambda: strips(3, 40, 30, fig=Figure(figsize=(5.0, 2.6)), options=StripOptions(n_strips=5)),
    ],
)
def test_all_text_is_legible(
    draw: Callable[[], Figure], illegible: Callable[[Figure], list[str]]
) -> None:
    assert illegible(draw()) == []


def test_illegible_text_would_be_noticed(illegible: Callable[[Figure], list[str]]) -> None:
    fig = Figure()
    for y, text in enumerate(("fine", "under another", "tiny", "1e\N{MINUS SIGN}1", "sticks out")):
        fig.text(0.97 if text == "sticks out" else 0.1, 0.1 * max(1, y), text)
    fig.texts[2].set_fontsize(5)
    assert illegible(fig) == [text.get_text() for text in fig.texts[1:]]
