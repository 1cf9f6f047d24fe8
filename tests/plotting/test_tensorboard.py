"""Pictures of a running fit: those of a new figure, in the width of a card of TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stimopt.lattice import HexLattice
from stimopt.plotting import FitPictures
from tests.plotting.cases import LATTICE, example


def test_a_figure_drawn_again_equals_a_new_one() -> None:
    pictures = FitPictures(LATTICE, 0.01)
    stimulus, response = example(peak=30)
    sparse = np.where(LATTICE.u % 2, np.nan, response)
    for change in (
        {},
        {"response": 3 * response, "title": "T4c at step 50"},
        {"title": "a long title " * 9},
        {"peak_frame": 12},
        {"peak_frame": 3},  # leaves one frame
        {"response": sparse},
        {"response": response, "column": 5},
    ):
        arguments: dict[str, Any] = {"stimulus": stimulus, "response": response, **change}
        new = FitPictures(LATTICE, 0.01).strip(**arguments)
        np.testing.assert_array_equal(pictures.strip(**arguments), new)
        assert new.shape[1:] == (350, 3) and new.dtype == np.uint8
    # Another stimulus gives another picture.
    assert (pictures.strip(1 - stimulus, response, column=5) != new).any()


def test_a_trace_drawn_again_equals_a_new_one() -> None:
    pictures, shape = FitPictures(LATTICE, 0.01), np.sin(np.arange(80.0) / 9)
    for scale, names in ((1, "a"), (-1e-5, "a"), (4e6, "a"), (3, "ab"), (0, "c")):
        traces = {name: scale * shape[: 80 - 30 * i] for i, name in enumerate(names)}
        peaks = dict.fromkeys(names, 20)
        new = FitPictures(LATTICE, 0.01).trace(traces, peaks=peaks)
        np.testing.assert_array_equal(pictures.trace(traces, peaks=peaks), new)


def test_the_trace_marks_the_frame_of_the_peak() -> None:
    pictures = FitPictures(LATTICE, 0.01)
    trace = {"T4c": np.array([0.0, 1.0, -2.0, 0.5])}
    highest, lowest = (pictures.trace(trace, peaks={"T4c": frame}) for frame in (1, 2))
    assert highest.shape == (233, 350, 3)
    # Below the label they differ by the mark alone: at 10 ms and at 20 ms of 30.
    x = np.flatnonzero((lowest != highest)[30:].any(axis=(0, 2)))
    left, right = x[x < x.mean()], x[x > x.mean()]
    assert np.ptp(left) < 12 and np.ptp(right) < 12
    np.testing.assert_array_equal(pictures.trace(trace, peaks={"T4c": 1}), highest)


@pytest.mark.parametrize("scale", [1.0, -1e-5, 4e6])
def test_all_text_is_legible(scale: float, illegible: Callable[[Any], list[str]]) -> None:
    lattice = HexLattice(3)
    stimulus, response = example(80, 79, lattice)
    pictures, label = FitPictures(lattice, 0.01), "CT1(Lo1)-000-0-seed13"
    central = scale * response[:, lattice.center]
    for draw in (
        lambda: pictures.strip(stimulus, scale * response, title=label, peak_frame=60),
        lambda: pictures.trace({label: central}, peaks={label: 60}),
        lambda: pictures.trace({label: central, "other": central}, peaks={label: 60, "other": 3}),
    ):
        assert illegible(draw) == []
        picture = draw()
        for rim in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert (rim == 255).all()


def test_a_minus_sign_survives_the_scaling_of_the_browser() -> None:
    pictures = FitPictures(LATTICE, 0.01)
    # T4a of one trained network: its lowest tick read 5 for -5.
    picture = pictures.trace({"T4a": np.linspace(-5.1, 0.7, 80)}, peaks={"T4a": 79})
    ax = pictures._traces
    low, high = ax.get_ylim()
    labels = [text for text in ax.get_yticklabels() if low <= text.get_position()[1] < min(0, high)]
    assert labels[0].get_text() == "\N{MINUS SIGN}4"
    for label in labels:
        box = label.get_window_extent()
        rows = slice(round(picture.shape[0] - box.y1), round(picture.shape[0] - box.y0))
        sign = picture[rows, round(box.x0) : round(box.x0 + box.width / 3)].mean(axis=-1)
        # Scaling leaves out whole lines of pixels, at most one of two neighbours.
        assert (sign.min(axis=1) < 128).sum() >= 2
