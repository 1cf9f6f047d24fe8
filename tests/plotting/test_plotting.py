"""Pictures: geometry, what is drawn where, nothing cut off, and files written whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import h5py
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.animation import FFMpegWriter
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from stimopt import plotting
from stimopt.lattice import HexLattice
from stimopt.plotting import tensorboard
from stimopt.plotting.style import milliseconds, number
from stimopt.plotting.three_optima import spread

LATTICE = HexLattice(8)


def column(lattice: HexLattice, u: int, v: int) -> int:
    """Index of a column found by looking through all of them."""
    return next(
        i
        for i, at in enumerate(zip(lattice.u, lattice.v, strict=True))
        if (int(at[0]), int(at[1])) == (u, v)
    )


def inner_columns(lattice: HexLattice, rings: int) -> list[int]:
    """Columns within some rings of the centre, by counting steps in picture coordinates.

    A hexagon's apothem in picture coordinates is the number of rings times 3/2 along the three
    directions of its sides' normals (x axis and +-60 degrees).
    """
    x, y = lattice.picture_coordinates()
    normals = np.deg2rad([0, 60, 120])
    reach = np.max(
        np.abs(np.outer(x, np.cos(normals)) + np.outer(y, np.sin(normals))),
        axis=1,
    )
    return [i for i in range(lattice.n_columns) if reach[i] <= 1.5 * rings + 1e-9]


def example(
    n_frames: int = 40, peak: int = 30, lattice: HexLattice = LATTICE
) -> tuple[np.ndarray, np.ndarray]:
    """Random stimulus and response whose central trace has one known largest value."""
    rng = np.random.default_rng(n_frames + peak)
    stimulus = rng.random((n_frames, lattice.n_columns))
    response = rng.normal(size=(n_frames, lattice.n_columns))
    response[:, lattice.center] = -np.abs(np.arange(n_frames) - peak) / n_frames + 1.5
    return stimulus, response


# --- one frame -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extent", "max_extent", "count"),
    [(8, 6, 127), (8, None, 217), (2, 6, 19), (0, 6, 1), (8, 0, 1)],
)
def test_hex_frame_draws_one_hexagon_per_column(
    extent: int, max_extent: int | None, count: int
) -> None:
    lattice = HexLattice(extent)
    ax = Figure().add_subplot()
    hexagons = plotting.hex_frame(
        ax,
        lattice,
        np.arange(lattice.n_columns),
        vmin=0,
        vmax=1,
        cmap="gray",
        max_extent=max_extent,
    )
    assert len(hexagons.get_paths()) == count
    assert ax.get_aspect() == 1.0
    assert not ax.axison
    rings = extent if max_extent is None else max_extent
    expected = inner_columns(lattice, rings)
    np.testing.assert_array_equal(hexagons.get_array(), expected)
    # All corners lie within the limits of the axes.
    corners = np.concatenate([path.vertices for path in hexagons.get_paths()])
    assert ax.get_xlim()[0] <= corners[:, 0].min() and corners[:, 0].max() <= ax.get_xlim()[1]
    assert ax.get_ylim()[0] <= corners[:, 1].min() and corners[:, 1].max() <= ax.get_ylim()[1]


def test_hexagons_tile_the_plane_about_the_centre() -> None:
    hexagons = plotting.hex_frame(
        Figure().add_subplot(),
        LATTICE,
        np.arange(LATTICE.n_columns),
        vmin=0,
        vmax=1,
        cmap="gray",
    )
    corners = np.array([path.vertices[:6] for path in hexagons.get_paths()])
    centers = corners.mean(axis=1)
    np.testing.assert_allclose(centers[63], [0, 0], atol=1e-12)
    # Area of a regular hexagon of circumradius 1, by the shoelace formula.
    x, y = corners[..., 0], corners[..., 1]
    area = 0.5 * np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(axis=1))
    np.testing.assert_allclose(area, 1.5 * np.sqrt(3))
    # Neighbouring hexagons share a side: the six nearest centres are two apothems away.
    distance = np.linalg.norm(centers - centers[63], axis=1)
    np.testing.assert_allclose(np.sort(distance)[1:7], np.sqrt(3))


def test_upward_on_the_lattice_is_upward_in_the_picture() -> None:
    values = np.zeros(LATTICE.n_columns)
    values[column(LATTICE, -3, 0)] = 1.0  # y = -sqrt(3) u: straight up
    fig = Figure(figsize=(3, 3), dpi=100)
    hexagons = plotting.hex_frame(
        fig.add_axes((0, 0, 1, 1)), LATTICE, values, vmin=0, vmax=1, cmap="gray"
    )
    bright = int(np.argmax(hexagons.get_array()))
    center = hexagons.get_paths()[bright].vertices[:6].mean(axis=0)
    np.testing.assert_allclose(center, [0.0, 3 * np.sqrt(3)], atol=1e-12)
    # And so it comes out of the renderer: white pixels within the lattice stand above the middle.
    pixels = plotting.figure_image(fig)
    rows, columns = np.nonzero(pixels[60:240, 110:190, 0] > 250)
    assert len(rows) > 20
    assert np.mean(rows) + 60 < 110
    assert abs(np.mean(columns) + 110 - 150) < 2


def test_hex_frame_takes_tensors_and_other_values_later() -> None:
    hexagons = plotting.hex_frame(
        Figure().add_subplot(), LATTICE, torch.ones(217), vmin=0, vmax=1, cmap="gray"
    )
    hexagons.set_array(np.zeros(127))
    assert hexagons.get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("values", "limits", "max_extent", "message"),
    [
        (np.zeros(216), (0, 1), 6, r"\(217,\).*\(216,\)"),
        (np.zeros((2, 217)), (0, 1), 6, r"\(217,\).*\(2, 217\)"),
        (np.zeros(217), (1, 1), 6, "vmin < vmax"),
        (np.zeros(217), (0, 1), -1, "max_extent >= 0"),
    ],
)
def test_hex_frame_refuses(
    values: np.ndarray, limits: tuple[float, float], max_extent: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plotting.hex_frame(
            Figure().add_subplot(),
            LATTICE,
            values,
            vmin=limits[0],
            vmax=limits[1],
            cmap="gray",
            max_extent=max_extent,
        )


# --- strips ----------------------------------------------------------------------------------


def test_strip_frames_of_the_published_plot() -> None:
    expected = [61, 63, 65, 67, 69, 71, 73, 75, 77, 79]
    np.testing.assert_array_equal(plotting.strip_frames(79, 0.01, 0.2, 10), expected)
    np.testing.assert_array_equal(plotting.strip_frames(5, 0.01, 0.2, 10), [1, 3, 5])
    np.testing.assert_array_equal(plotting.strip_frames(0, 0.01, 0.2, 10), [0])


def test_strip_frames_end_at_the_peak_for_any_step() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        peak, n_strips = int(rng.integers(0, 300)), int(rng.integers(1, 15))
        dt, seconds = rng.uniform(0.001, 0.05), rng.uniform(0.05, 0.5)
        frames = plotting.strip_frames(peak, dt, seconds, n_strips)
        assert frames[-1] == peak
        assert 1 <= len(frames) <= n_strips
        assert frames[0] >= 0
        assert len(set(np.diff(frames))) <= 1 and (np.diff(frames) > 0).all()
        # No further back than asked for, to the rounding of `seconds` to whole frames.
        assert (peak - frames[0]) * dt <= seconds + dt / 2


def test_the_last_strip_is_the_peak() -> None:
    stimulus, response = example(peak=30)
    plot = plotting.plot_stim_response(stimulus, response, LATTICE, 0.01)
    assert plot.peak_frame == 30
    assert plot.peak_response == 1.5
    assert plot.axes.shape == plot.artists.shape == (2, 10)
    np.testing.assert_allclose(plot.times, np.arange(12, 31, 2) * 0.01)
    inner = inner_columns(LATTICE, 6)
    for i, frame in enumerate(range(12, 31, 2)):
        np.testing.assert_array_equal(plot.artists[0, i].get_array(), stimulus[frame, inner])
        np.testing.assert_array_equal(
            plot.artists[1, i].get_array(), (response[frame] - response[0])[inner]
        )


def test_time_axis_stands_under_the_strips() -> None:
    plot = plotting.plot_stim_response(*example(peak=30), LATTICE, 0.01, max_extent=3)
    FigureCanvasAgg(plot.fig).draw()
    labels = [label.get_text() for label in plot.time_axis.get_xticklabels()]
    assert labels == [f"\N{MINUS SIGN}{t}" for t in range(180, 0, -20)] + ["0"]
    assert plot.time_axis.get_xlabel() == "time to peak (ms)"
    for tick, ax in zip(plot.time_axis.get_xticks(), plot.axes[1], strict=True):
        under = plot.time_axis.transData.transform((tick, 0))[0]
        np.testing.assert_allclose(under, ax.transData.transform((0, 0))[0], atol=0.01)


def test_stimulus_stands_over_response_and_time_runs_to_the_right() -> None:
    plot = plotting.plot_stim_response(*example(), LATTICE, 0.01)
    for above, below in zip(plot.axes[0], plot.axes[1], strict=True):
        assert above.get_position().y0 >= below.get_position().y1
    lefts = [ax.get_position().x0 for ax in plot.axes[0]]
    assert lefts == sorted(lefts)
    for first, second in pairwise(plot.axes[0]):
        assert first.get_position().x1 < second.get_position().x0


@pytest.mark.parametrize("baseline", [True, False, 0.25, "array"])
def test_response_limits_are_symmetric_about_zero(baseline: Any) -> None:
    stimulus, response = example()
    off = {True: response[0], False: 0.0, 0.25: 0.25}.get(baseline, np.linspace(-1, 1, 217))
    given = off if baseline == "array" else baseline
    plot = plotting.plot_stim_response(stimulus, response, LATTICE, 0.01, baseline=given)
    largest = np.abs((response - off)[12:31:2][:, inner_columns(LATTICE, 6)]).max()
    assert plot.limit == largest
    for artist in plot.artists[1]:
        assert artist.get_clim() == (-largest, largest)
    for artist in plot.artists[0]:
        assert artist.get_clim() == (0, 1)
    units = [ax.get_ylabel() for ax in plot.colorbar_axes]
    delta = "" if baseline is False else "\N{INCREMENT} "
    assert units == ["luminance", f"{delta}response (a.u.)"]


def test_missing_cells_are_left_blank() -> None:
    stimulus, response = example()
    missing = (LATTICE.u % 2 != 0) | (LATTICE.v % 2 != 0)
    response[:, missing] = np.nan
    plot = plotting.plot_stim_response(stimulus, response, LATTICE, 0.01)
    inner = inner_columns(LATTICE, 6)
    np.testing.assert_array_equal(
        np.ma.getmaskarray(plot.artists[1, -1].get_array()), missing[inner]
    )
    assert np.isfinite(plot.limit)
    # On paper: a missing column is white inside its outline, a cell at zero is not.
    fig = Figure(figsize=(2, 2), dpi=100)
    ax = fig.add_axes((0, 0, 1, 1))
    values = np.where(missing, np.nan, 0.0)
    plotting.hex_frame(ax, LATTICE, values, vmin=-1, vmax=1, cmap="coolwarm", max_extent=2)
    pixels = plotting.figure_image(fig)
    x, y = ax.transData.transform([(0, 0), (0, np.sqrt(3))]).round().astype(int).T
    assert (pixels[200 - y[1], x[1]] == 255).all()
    assert (pixels[200 - y[0], x[0]] < 230).all()


def test_the_peak_may_be_chosen() -> None:
    plot = plotting.plot_stim_response(*example(peak=30), LATTICE, 0.01, peak_frame=12)
    assert (plot.peak_frame, plot.frames[-1]) == (12, 12)
    assert plot.peak_response == pytest.approx(1.5 - 18 / 40)


def test_the_peak_may_be_that_of_another_column() -> None:
    stimulus, response = example(peak=30)
    column = int(LATTICE.index(2, -1))
    response[:, column] = np.linspace(0, 7, len(response)) * (np.arange(len(response)) <= 20)
    plot = plotting.plot_stim_response(stimulus, response, LATTICE, 0.01, column=column)
    assert plot.peak_frame == 20
    assert plot.peak_response == response[20, column]
    # The painted picture is of the same frames: what comes later is not in it.
    image = plotting.stimulus_strip_image(stimulus, response, LATTICE, 0.01, column=column)
    stimulus[21:] = 0.0
    later = plotting.stimulus_strip_image(stimulus, response, LATTICE, 0.01, column=column)
    np.testing.assert_array_equal(image, later)
    stimulus[20] = 0.0
    there = plotting.stimulus_strip_image(stimulus, response, LATTICE, 0.01, column=column)
    assert (there != image).any()
    chosen = plotting.stimulus_strip_image(stimulus, response, LATTICE, 0.01, peak_frame=20)
    np.testing.assert_array_equal(chosen[30:], there[30:])


def test_the_lowest_point_of_a_trace_may_be_marked() -> None:
    trace = np.array([0.0, 1.0, -2.0, 0.5])
    lowest, highest = (plotting.trace_image(trace, 0.01, sign=sign) for sign in (-1, 1))
    # Below the label they differ by the marker alone, at 20 ms of 30 and not at 10.
    x = np.flatnonzero((lowest != highest)[30:].any(axis=(0, 2)))
    first, last = (88 + (450 - 16 - 88) * ms / 30 for ms in (10, 20))
    near = [np.abs(x - place) <= 6 for place in (first, last)]
    assert near[0].any() and near[1].any() and (near[0] | near[1]).all()


def test_a_silent_cell_can_be_drawn() -> None:
    stimulus, _ = example()
    plot = plotting.plot_stim_response(stimulus, np.zeros_like(stimulus), LATTICE, 0.01)
    assert plot.peak_frame == 0
    assert plot.artists[1, 0].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stimulus": np.zeros((40, 7))}, r"stimulus of shape \(frames, 217\).*\(40, 7\)"),
        ({"response": np.zeros((1, 40, 217))}, r"response of shape.*\(1, 40, 217\)"),
        ({"response": np.zeros((39, 217))}, "got 39 and 40"),
        ({"stimulus": np.full((40, 217), np.nan)}, "finite stimulus, got 8680"),
        ({"response": np.full((40, 217), np.nan)}, "only NaN"),
        ({"peak_frame": 40}, "within the 40 frames, got 40"),
        ({"baseline": np.zeros(5)}, r"baseline.*\(217,\).*\(5,\)"),
        ({"dt": 0.0}, "dt > 0"),
        ({"seconds": 0.001}, "at least one frame"),
        ({"n_strips": 0}, "one strip"),
        ({"fig": Figure(figsize=(2, 1))}, "2.00 x 1.00 inches"),
    ],
)
def test_plot_stim_response_refuses(change: dict[str, Any], message: str) -> None:
    stimulus, response = example()
    given = {"stimulus": stimulus, "response": response, "lattice": LATTICE, "dt": 0.01}
    with pytest.raises(ValueError, match=message):
        plotting.plot_stim_response(**(given | change))


def test_recorded_optimum_of_t4c(shared: Path) -> None:
    with h5py.File(shared / "reference" / "flyvis-1.2.0.h5") as file:
        stimulus = file["generate/T4c/stimulus"][:]
        response = file["generate/T4c/response"][:]
    plot = plotting.plot_stim_response(stimulus, response, HexLattice(15), 0.01, title="T4c")
    assert plot.peak_frame == 79
    assert plot.peak_response == pytest.approx(3.667, abs=5e-4)
    assert [t.get_text() for t in plot.fig.texts if "peak" in t.get_text()] == [
        "T4c: peak 3.67 at 790 ms"
    ]
    # The dark patch ahead of the edge, then the edge, in the columns just around the centre.
    around = [path.contains_point((0, 0), radius=3) for path in plot.artists[0, 0].get_paths()]
    luminance = [artist.get_array()[around].mean() for artist in plot.artists[0]]
    assert luminance[0] < 0.2 < 0.8 < luminance[-2]


# --- nothing cut off, nothing too small ------------------------------------------------------


@contextmanager
def drawn_texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Text]]:
    """Every piece of text that is really drawn (ticks out of view are made but never drawn)."""
    drawn: list[Text] = []
    draw = Text.draw

    def record(self: Text, *args: Any, **kwargs: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)
        draw(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        yield drawn


def cut_off(fig: Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    with drawn_texts(monkeypatch) as texts:
        FigureCanvasAgg(fig).draw()
    assert texts
    assert min(float(text.get_fontsize()) for text in texts) >= 7
    canvas = fig.bbox
    return [
        text.get_text()
        for text in texts
        for box in [text.get_window_extent()]
        if box.x0 < 0 or box.y0 < 0 or box.x1 > canvas.width or box.y1 > canvas.height
    ]


def strips(extent: int, n_frames: int, peak: int, **kwargs: Any) -> Figure:
    lattice = HexLattice(extent)
    stimulus, response = example(n_frames, peak, lattice)
    dt = kwargs.pop("dt", 0.01)
    fig = plotting.plot_stim_response(stimulus, response, lattice, dt, **kwargs).fig
    assert isinstance(fig, Figure)
    return fig


def walk(
    peaks: tuple[int, ...], names: tuple[str, ...], scale: float = 1.0, **kwargs: Any
) -> Figure:
    results = []
    for name, peak in zip(names, peaks, strict=True):
        stimulus, response = example(peak + 5, peak)
        results.append((name, stimulus, scale * response))
    return plotting.walk_figure(results, LATTICE, 0.01, "T4c", **kwargs)


def curves(draw: Callable[[Any], object], **kwargs: Any) -> Figure:
    fig = Figure(figsize=(3.5, 3.0), layout="constrained")
    draw(fig.add_subplot(**kwargs))
    return fig


THREE = ("naturalistic", "regularized", "artificial")
FIGURES: dict[str, Callable[[], Figure]] = {
    "strips": lambda: strips(15, 80, 79, title="T4c, artificial"),
    "one strip": lambda: strips(8, 5, 0, title="T4c, at once"),
    "one column": lambda: strips(0, 40, 30),
    "whole lattice": lambda: strips(8, 40, 30, max_extent=None),
    "odd step": lambda: strips(3, 60, 50, dt=1 / 120, title="a"),
    "large values": lambda: strips(3, 60, 50, limit=12345.6),
    "long title": lambda: strips(3, 60, 50, n_strips=3, title="a long title " * 20),
    "given figure": lambda: strips(3, 40, 30, fig=Figure(figsize=(5.0, 2.6)), n_strips=5),
    "walk": lambda: walk((30, 30, 79), THREE),
    "walk, late and early": lambda: walk((79, 3), ("a stimulus with a very long name", "b")),
    "walk at once": lambda: walk((0, 0, 0), THREE),
    "walk, small": lambda: walk((30, 30, 40), THREE, scale=1e-5),
    "walk, large": lambda: walk((30, 30, 40), THREE, scale=-4321.0),
    "traces": lambda: curves(
        lambda ax: plotting.plot_traces(ax, [0, 10, 20], {"target": [0, 1, 0], "b": [0, -2, 3]})
    ),
    "losses": lambda: curves(
        lambda ax: plotting.plot_losses(ax, {"total": [3e5, -1], "grey": [3e5, 1]}, scale="symlog")
    ),
    "trade-off": lambda: curves(
        lambda ax: plotting.plot_tradeoff(ax, [0.01, 0.02, 0.1], [9, 5, 1], chosen=0.02)
    ),
    "tuning": lambda: curves(
        lambda ax: plotting.plot_tuning(ax, [0, 90, 180, 270], [1, 2, 0.3, -0.1], [0, 0, 0, 0]),
        projection="polar",
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off_or_too_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cut_off(FIGURES[name](), monkeypatch) == []


def test_cut_off_text_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fig = FIGURES["strips"]()
    fig.text(0.95, 0.5, "sticks out at the right")
    assert cut_off(fig, monkeypatch) == ["sticks out at the right"]


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
    assert [milliseconds(t) for t in (-0.0, 290.0000001, 8.33, -180)] == [
        "0",
        "290",
        "8.3",
        "\N{MINUS SIGN}180",
    ]


# --- curves ----------------------------------------------------------------------------------


def test_traces_name_their_peaks() -> None:
    ax = Figure().add_subplot()
    lines = plotting.plot_traces(
        ax, {"a": [0, 10, 20], "b": [5, 15]}, {"a": [0.0, 1.826, np.nan], "b": [-0.5, -1.0]}
    )
    np.testing.assert_array_equal(lines["b"].get_xdata(), [5, 15])
    legend = ax.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["a: peak 1.83 at 10 ms", "b: peak \N{MINUS SIGN}0.500 at 5 ms"]
    marked = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert marked == [[[10, 1.826]], [[5, -0.5]]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "central response (a.u.)")


@pytest.mark.parametrize(
    ("time", "traces", "message"),
    [
        ([0, 1], {}, "at least one trace"),
        ([0, 1], {"a": [1, 2, 3]}, r"'a'.*\(3,\) and \(2,\)"),
        ({"b": [0, 1]}, {"a": [1, 2]}, "none for 'a'"),
    ],
)
def test_traces_refuse(time: Any, traces: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plotting.plot_traces(Figure().add_subplot(), time, traces)


def test_losses_start_at_step_zero() -> None:
    ax = Figure().add_subplot()
    lines = plotting.plot_losses(ax, {"loss/total": [3.0, 2.0, 1.0], "loss/grey": [1.0, 1.0, 0.5]})
    np.testing.assert_array_equal(lines["loss/total"].get_xdata(), [0, 1, 2])
    assert lines["loss/total"].get_color() == "black"
    with pytest.raises(ValueError, match="one item"):
        plotting.plot_losses(ax, {"total": np.zeros((2, 3))})
    with pytest.raises(ValueError, match="at least one loss"):
        plotting.plot_losses(ax, {})


def test_tradeoff_is_in_percent_and_in_order() -> None:
    ax = Figure().add_subplot()
    line = plotting.plot_tradeoff(ax, [0.05, 0.01, 0.02], [1.0, np.nan, 4.0], chosen=0.02)
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 5])
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 4, 1])
    assert [text.get_text() for text in ax.texts] == ["2 %: 4.00"]
    for wrong, message in (
        (([0.1], [1, 2]), r"\(1,\) and \(2,\)"),
        (([0.0, 0.1], [1, 2]), "tolerances > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            plotting.plot_tradeoff(ax, *wrong)
    with pytest.raises(ValueError, match=r"chosen among .*0\.1.*got 0\.3"):
        plotting.plot_tradeoff(ax, [0.1], [1], chosen=0.3)


def test_tuning_is_a_closed_curve_with_up_at_the_top() -> None:
    fig = Figure(figsize=(3, 3), dpi=100)
    ax = fig.add_subplot(projection="polar")
    on, off = plotting.plot_tuning(
        ax, [90, 0, 270, 180], [2.0, 0.5, 0.1, -0.2], [0.0] * 4, preferred_deg=90
    )
    np.testing.assert_allclose(on.get_xdata(), np.deg2rad([0, 90, 180, 270, 0]))
    np.testing.assert_array_equal(on.get_ydata(), [0.5, 2.0, -0.2, 0.1, 0.5])
    assert len(off.get_xdata()) == 5
    FigureCanvasAgg(fig).draw()
    up, middle = ax.transData.transform([(np.pi / 2, 2.0), (np.pi / 2, -0.2)])
    assert up[1] > middle[1] and up[0] == pytest.approx(middle[0])
    assert ax.get_ylim()[0] < -0.2 and ax.get_ylim()[1] > 2.0


def test_tuning_refuses() -> None:
    with pytest.raises(ValueError, match="polar axes, got Axes"):
        plotting.plot_tuning(Figure().add_subplot(), [0], [1], [1])
    ax = Figure().add_subplot(projection="polar")
    with pytest.raises(ValueError, match=r"\(2,\), \(1,\) and \(2,\)"):
        plotting.plot_tuning(ax, [0, 90], [1], [1, 2])


# --- the walk --------------------------------------------------------------------------------


def test_walk_names_responses_and_lines_up_at_the_peaks() -> None:
    fig = walk((30, 5, 79), THREE)
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
        frames = [ax for ax in block.axes if not ax.axison]
        assert len(frames) == 2 * n_strips
        rightmost = max(ax.transData.transform((0, 0))[0] for ax in frames)
        assert rightmost == pytest.approx(zero, abs=0.5)
    curves = [line for line in traces.lines if len(line.get_xdata()) > 2]
    assert [line.get_xdata()[-1] for line in curves] == [0, 0, 0]
    named = {text.get_text() for text in traces.texts}
    assert named == {*THREE, "1.50"}


def test_walk_scales_alone_or_shared() -> None:
    stimulus, response = example()
    results = [("a", stimulus, response), ("b", stimulus, 3 * response)]
    for shared_scale, ratio in ((False, 3.0), (True, 1.0)):
        fig = plotting.walk_figure(results, LATTICE, 0.01, "T4c", shared_scale=shared_scale)
        clims = [
            {c.get_clim() for ax in part.axes for c in ax.collections if c.get_array() is not None}
            for part in fig.subfigs[1:3]
        ]
        largest = [max(high for _, high in each) for each in clims]
        assert largest[1] / largest[0] == pytest.approx(ratio)


def test_walk_refuses() -> None:
    with pytest.raises(ValueError, match="names of their own"):
        walk((), ())
    with pytest.raises(ValueError, match="names of their own"):
        walk((3, 3), ("a", "a"))


def test_labels_are_spread_without_overlap() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        centers = rng.uniform(0, 3, size=rng.integers(1, 6))
        placed = np.array(spread(list(centers), 0.5, 3.0))
        order = np.argsort(centers)
        assert (np.diff(placed[order]) >= 0.5 - 1e-9).all()
        assert placed.min() >= 0.25 - 1e-9 and placed.max() <= 2.75 + 1e-9
    assert spread([1.0, 2.0], 0.5, 3.0) == [1.0, 2.0]


# --- arrays, films and files -----------------------------------------------------------------


def test_images_are_pixels() -> None:
    stimulus, response = example()
    image = plotting.stimulus_strip_image(stimulus, response, LATTICE, 0.01, title="step 3")
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert image.shape[1] > 3 * image.shape[0]
    assert (image[:3] == 255).all() and image.min() < 50
    # Another stimulus gives another picture, the same gives the same.
    again = plotting.stimulus_strip_image(stimulus, response, LATTICE, 0.01, title="step 3")
    other = plotting.stimulus_strip_image(1 - stimulus, response, LATTICE, 0.01, title="step 3")
    np.testing.assert_array_equal(image, again)
    assert (image != other).any()
    trace = plotting.trace_image(response[:, LATTICE.center], 0.01)
    assert trace.shape == (260, 450, 3) and trace.dtype == np.uint8
    # Nothing is cut off: a white margin all round.
    for picture in (image, trace):
        rim = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
        assert all((line == 255).all() for line in rim)
    assert plotting.trace_image({"a": [0, 1], "b": [1, 0, 2]}, 0.01).shape == (260, 450, 3)
    for none in ({}, {"a": [np.nan]}):
        with pytest.raises(ValueError, match="traces with a finite value"):
            plotting.trace_image(none, 0.01)


def test_a_painted_trace_stands_where_its_ticks_say() -> None:
    """A step at half time: low before, high after, and a dot at the first of the highest."""
    trace = np.where(np.arange(101) < 50, 0.0, 1.0)
    pixels = plotting.trace_image({"step": trace}, 0.01).astype(int)
    blue = (np.abs(pixels - (0, 0x72, 0xB2)).sum(axis=2) < 30)[28:]
    rows, columns = np.nonzero(blue)  # below the name
    low, high = rows.max(), np.median(rows[columns > columns.max() - 20])
    assert low - high > 100
    # 0 to 1000 ms from the left axis; the step is in the middle of what is drawn.
    left, right = columns.min(), columns.max()
    assert (rows[columns < left + 0.45 * (right - left)] >= low - 2).all()
    dots = np.nonzero(blue.sum(axis=0) > 3)[0]
    assert abs(dots.mean() - (left + right) / 2) < 0.03 * (right - left)


def test_a_painted_frame_is_what_matplotlib_draws() -> None:
    rng = np.random.default_rng(0)
    lattice = HexLattice(8)
    frame = rng.random(lattice.n_columns)
    at = tensorboard._column_of_pixel(8, 6)
    painted = np.asarray(tensorboard._painted(frame, at, 0.0, 1.0, "gray")).astype(int)
    height, width = at.shape
    fig = Figure(figsize=(width / 100, height / 100), dpi=100)
    plotting.hex_frame(
        fig.add_axes((0, 0, 1, 1)), lattice, frame, vmin=0.0, vmax=1.0, cmap="gray", max_extent=6
    )
    drawn = plotting.figure_image(fig).astype(int)
    assert drawn.shape == painted.shape
    # Away from edges, which matplotlib smooths, and from the crosshair.
    inner = at >= 0
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(at, shift, axis=axis) == at
    inner[height // 2 - 1 : height // 2 + 2] = inner[:, width // 2 - 1 : width // 2 + 2] = False
    assert len(np.unique(at[inner])) > 100
    assert np.abs(painted - drawn)[inner].max() <= 2


def test_a_painted_frame_leaves_out_missing_cells() -> None:
    lattice = HexLattice(3)
    frame = np.full(lattice.n_columns, 0.25)
    gone, there = column(lattice, 1, 1), column(lattice, -1, -1)  # clear of the crosshair
    frame[gone] = np.nan
    at = tensorboard._column_of_pixel(3, None)
    assert set(np.unique(at)) == {-1, *range(lattice.n_columns)}
    painted = np.asarray(tensorboard._painted(frame, at, -1.0, 1.0, "coolwarm"))
    expected = np.round(255 * np.array(matplotlib.colormaps["coolwarm"](0.625)[:3]))
    assert set(np.unique(painted[at == gone])) == {216, 255}
    assert (np.abs(painted[at == there] - expected) <= 1).all()


def film(path: Path, n_frames: int = 6, **kwargs: Any) -> Path:
    """A film of a lattice that brightens evenly."""
    lattice = HexLattice(3)
    _, response = example(n_frames, 2, lattice)
    stimulus = np.repeat(np.linspace(0, 1, n_frames)[:, None], lattice.n_columns, axis=1)
    return plotting.animate(stimulus, response, lattice, 0.01, path, **kwargs)


def test_gif_has_every_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "new" / "film.gif", fps=20, title="T4c")
    with Image.open(path) as gif:
        assert gif.n_frames == 6
        brightness = []
        for i in range(6):
            gif.seek(i)
            assert gif.info["duration"] == 50
            pixels = np.asarray(gif.convert("RGB"))
            assert (pixels[:4] == 255).all()  # paper stays white in the common palette
            height, width = pixels.shape[:2]
            brightness.append(pixels[height // 5 : height // 2, : width // 3].mean())
    assert (np.diff(brightness) > 10).all()
    assert [p.name for p in path.parent.iterdir()] == ["film.gif"]


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="the program ffmpeg is not installed")
def test_mp4_has_every_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", fps=25)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
        assert container.streams.video[0].average_rate == 25


def test_mp4_without_ffmpeg_names_gif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"ffmpeg.*film\.gif"):
        film(tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("film.avi", 10, r"\.gif or \.mp4"),
        ("film.gif", 100, "fps <= 50"),
        ("film.gif", 0, "0 < fps"),
    ],
)
def test_animate_refuses(tmp_path: Path, name: str, fps: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        film(tmp_path / name, fps=fps)


def test_failed_film_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.gif"
    path.write_bytes(b"old")

    def full(self: Image.Image, fp: Path, **kwargs: Any) -> None:
        Path(fp).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space"):
        film(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


class Unpaintable(Artist):
    def draw(self, renderer: object) -> None:
        raise RuntimeError("cannot be drawn")


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_failed_figure_leaves_the_old_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"figure.{suffix}"
    path.write_bytes(b"old")
    fig = strips(2, 40, 30)
    fig.add_artist(Unpaintable())
    with pytest.raises(RuntimeError, match="cannot be drawn"):
        plotting.save_figure(fig, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_same_figure_same_bytes(tmp_path: Path, suffix: str, start: bytes) -> None:
    salt = matplotlib.rcParams["svg.hashsalt"]
    first, second = (
        plotting.save_figure(strips(2, 40, 30), tmp_path / name / f"a.{suffix}") for name in "xy"
    )
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(start)
    assert matplotlib.__version__.encode() not in first.read_bytes()
    assert matplotlib.rcParams["svg.hashsalt"] == salt


def test_saved_size_is_inches_times_dpi(tmp_path: Path) -> None:
    fig = Figure(figsize=(4, 2))
    with Image.open(plotting.save_figure(fig, tmp_path / "a.png", dpi=50)) as image:
        assert image.size == (200, 100)
    with pytest.raises(ValueError, match=r"\.png, \.pdf, \.svg, got 'a\.jpg'"):
        plotting.save_figure(fig, tmp_path / "a.jpg")


def test_no_global_state_is_touched(tmp_path: Path) -> None:
    script = f"""
import sys
import matplotlib
def settings():  # reading the backend would choose one
    return {{k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}}
before = settings()
import numpy as np
from stimopt import plotting
from stimopt.lattice import HexLattice
lattice = HexLattice(1)
stimulus, response = np.random.rand(2, 4, 7)
plot = plotting.plot_stim_response(stimulus, response, lattice, 0.01)
for suffix in ("png", "pdf", "svg"):
    plotting.save_figure(plot.fig, {str(tmp_path)!r} + "/a." + suffix)
plotting.animate(stimulus, response, lattice, 0.01, {str(tmp_path)!r} + "/a.gif")
plotting.stimulus_strip_image(stimulus, response, lattice, 0.01)
assert "matplotlib.pyplot" not in sys.modules, "pyplot was imported"
assert matplotlib.get_backend(auto_select=False) is None, "a backend was chosen"
after = settings()
assert after == before, {{k for k in after if after[k] != before[k]}}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
