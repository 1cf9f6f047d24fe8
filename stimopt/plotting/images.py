"""Pictures of a running fit as arrays, for TensorBoard.

The strips of `plot_stim_response` take matplotlib 0.3 s, as long as twenty steps of a fit: here
they are painted, a column of the lattice under each pixel, in 12 ms.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from stimopt.lattice import HexLattice
from stimopt.plotting.files import figure_image
from stimopt.plotting.hexagons import CROSSHAIR, drawn_columns, frame_size
from stimopt.plotting.selection import (
    baseline_values,
    checked_pair,
    find_peak,
    response_label,
    strip_frames,
    symmetric_limit,
)
from stimopt.plotting.style import (
    LUMINANCE_LABEL,
    RESPONSE_CMAP,
    STIMULUS_CMAP,
    milliseconds,
    number,
)
from stimopt.plotting.traces import plot_traces
from stimopt.protocol import Protocol

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RADIUS = 3.5
"""Circumradius of a column in pixels."""
TEXT = 12
"""Size of all text in pixels."""
GAP, LEFT, RIGHT, TOP, BOTTOM = 5, 40, 70, 26, 38
"""Pixels between frames, and for the names of the rows, the scales, the title and the times."""
_DPI = 100
"""Of the traces: enough for a page in a browser, and half the time of a figure for print."""


def stimulus_strip_image(
    stimulus: ArrayLike,
    response: ArrayLike,
    lattice: HexLattice,
    dt: float,
    *,
    title: str = "",
    seconds: float = 0.2,
    n_strips: int = 10,
    max_extent: int | None = 6,
) -> Pixels:
    """Stimulus above response in the last stretch before the peak, `(height, width, 3)`.

    Args:
        stimulus: luminance in [0, 1], `(frames, columns)`.
        response: one cell type's voltage, `(frames, columns)`; NaN where it has no cell.
        lattice: the columns.
        dt: duration of a frame in seconds.
        title: printed before the peak's value and time.
        seconds: how far back from the peak to go.
        n_strips: the most frames to draw.
        max_extent: rings drawn around the centre; None for all.

    Raises:
        ValueError: as `plot_stim_response`.
    """
    stimulus, response = checked_pair(stimulus, response, lattice)
    central = response[:, lattice.center]
    peak = find_peak(central)
    frames = strip_frames(peak, dt, seconds, n_strips)
    shown = (response - baseline_values(response, True, lattice))[frames]
    limit = symmetric_limit(shown, lattice, max_extent)
    rows = (
        (stimulus[frames], 0.0, 1.0, STIMULUS_CMAP, f"stimulus\n{LUMINANCE_LABEL}"),
        (shown, -limit, limit, RESPONSE_CMAP, response_label(True).replace(" (", "\n(")),
    )
    at = _column_of_pixel(lattice.extent, max_extent)
    height, width = at.shape[0] + GAP, at.shape[1] + GAP
    # As wide as for all strips, so that the picture stays in place from step to step.
    right = LEFT + n_strips * width
    canvas = Image.new("RGB", (right + RIGHT, TOP + 2 * height + BOTTOM), "white")
    draw = ImageDraw.Draw(canvas)
    for row, (values, low, high, cmap, name) in enumerate(rows):
        top = TOP + row * height
        canvas.paste(_upright(name, at.shape[0]), (2, top))
        for i, frame in enumerate(values):
            left = right - (len(frames) - i) * width
            canvas.paste(_painted(frame, at, low, high, cmap), (left, top))
        _scale(canvas, right + GAP, top, at.shape[0], low, high, cmap)
    for i, frame in enumerate(frames):
        x = right - (len(frames) - i - 0.5) * width - GAP / 2
        time = milliseconds(1000.0 * dt * (frame - peak))
        draw.text((x, TOP + 2 * height + 2), time, "black", _font(), anchor="mt")
    below = ((LEFT + right) / 2, canvas.height - 3)
    draw.text(below, "time to peak (ms)", "black", _font(), anchor="mb")
    said = f"peak {number(float(central[peak]))} at {milliseconds(1000 * peak * dt)} ms"
    draw.text((LEFT, 6), f"{title}: {said}" if title else said, "black", _font(), anchor="lt")
    return np.asarray(canvas)


def trace_image(
    traces: ArrayLike | Mapping[str, ArrayLike],
    dt: float,
    *,
    width: float = 4.5,
    height: float = 2.6,
) -> Pixels:
    """Central traces over time as pixels `(height, width, 3)`.

    Args:
        traces: central responses, `(frames,)`, or several by name.
        dt: duration of a frame in seconds.
        width: of the picture in inches at 100 dots per inch.
        height: likewise.

    Raises:
        ValueError: as `plot_traces`.
    """
    named = traces if isinstance(traces, Mapping) else {"response": traces}
    # Checks dt; times are frames times dt from onset.
    ms = 1000 * Protocol(dt=dt).dt
    fig = Figure(figsize=(width, height), dpi=_DPI)
    # Fixed margins: to work them out takes as long as the picture.
    left, bottom, right, top = 0.62 / width, 0.48 / height, 1 - 0.12 / width, 1 - 0.32 / height
    times = {name: ms * np.arange(len(np.asarray(trace))) for name, trace in named.items()}
    plot_traces(fig.add_axes((left, bottom, right - left, top - bottom)), times, named)
    return figure_image(fig, dpi=_DPI)


@functools.lru_cache(maxsize=8)
def _column_of_pixel(extent: int, max_extent: int | None) -> Ints:
    """Column under each pixel of a frame, -1 beside the lattice, `(height, width)`."""
    lattice = HexLattice(extent)
    columns = drawn_columns(lattice, max_extent)
    x, y = (values[columns] for values in lattice.picture_coordinates())
    width, height = (int(np.ceil(RADIUS * size)) for size in frame_size(lattice, max_extent))
    across = (np.arange(width) + 0.5 - width / 2) / RADIUS
    at = np.full((height, width), -1)
    for row in range(height):
        up = (height / 2 - row - 0.5) / RADIUS
        dx, dy = np.abs(across[:, None] - x), np.abs(up - y)[None, :]
        # Within a hexagon of circumradius 1, flat side up.
        inside = (dy <= np.sqrt(0.75)) & (np.sqrt(3.0) * dx + dy <= np.sqrt(3.0))
        at[row] = np.where(inside.any(axis=1), columns[inside.argmax(axis=1)], -1)
    return at


def _painted(frame: Floats, at: Ints, low: float, high: float, cmap: str) -> Image.Image:
    """One frame; white beside the lattice, and outlined in grey where there is no cell."""
    values = np.where(at >= 0, frame[at], np.nan)
    colors = matplotlib.colormaps[cmap]((values - low) / (high - low), bytes=True)[..., :3]
    colors[at < 0] = 255
    missing = (at >= 0) & ~np.isfinite(values)
    edge = missing & ((np.roll(at, 1, axis=0) != at) | (np.roll(at, 1, axis=1) != at))
    colors[missing] = 255
    colors[edge] = 216
    image = Image.fromarray(colors)
    draw = ImageDraw.Draw(image)
    x, y, gap = image.width // 2, image.height // 2, round(RADIUS)
    for line in ((0, y, x - gap, y), (x + gap, y, image.width, y)):
        draw.line(line, fill=CROSSHAIR)
    for line in ((x, 0, x, y - gap), (x, y + gap, x, image.height)):
        draw.line(line, fill=CROSSHAIR)
    return image


def _scale(
    canvas: Image.Image, left: int, top: int, height: int, low: float, high: float, cmap: str
) -> None:
    """A bar of colours with both ends and the middle."""
    ramp = matplotlib.colormaps[cmap](np.linspace(1, 0, height - TEXT), bytes=True)[:, None, :3]
    bar = Image.fromarray(np.repeat(ramp, 8, axis=1))
    canvas.paste(bar, (left, top + TEXT // 2))
    draw = ImageDraw.Draw(canvas)
    for part, value in ((0.0, high), (0.5, (low + high) / 2), (1.0, low)):
        place = (left + 12, top + TEXT / 2 + part * bar.height)
        text = f"{value:g}" if low == 0 else number(value)
        draw.text(place, text, "black", _font(), anchor="lm")


def _upright(text: str, height: int) -> Image.Image:
    """Lines of text that read upwards, in the middle of so many pixels."""
    image = Image.new("RGB", (height, LEFT - 6), "white")
    middle = (height / 2, image.height / 2)
    ImageDraw.Draw(image).text(middle, text, "black", _font(), anchor="mm", align="center")
    return image.transpose(Image.Transpose.ROTATE_90)


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which has a minus sign and a delta."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), TEXT)
