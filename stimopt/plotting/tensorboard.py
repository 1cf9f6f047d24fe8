"""Pictures of a running fit as arrays, for TensorBoard.

What `plot_stim_response` and `plot_traces` draw takes matplotlib 0.35 s, as long as twenty steps of
a fit. Here it is painted, a column of the lattice under each pixel, in 0.02 s.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from stimopt.lattice import HexLattice
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
    RESPONSE_LABEL,
    SERIES,
    STIMULUS_CMAP,
    milliseconds,
    number,
)
from stimopt.protocol import Protocol

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FRAME_WIDTH = 72
"""Of a frame in pixels, whatever its extent: room for a time below it, and a name beside it."""
TEXT = 12
"""Size of all text in pixels."""
GAP, LEFT, RIGHT, TOP, BOTTOM = 5, 40, 70, 26, 38
"""Pixels between frames, and for the names of the rows, the scales, the title and the times."""


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
    column: int | None = None,
    peak_frame: int | None = None,
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
        column: whose response has the peak; None is the central one.
        peak_frame: the frame to end with; None finds the peak of that response.

    Raises:
        ValueError: as `plot_stim_response`.
    """
    stimulus, response = checked_pair(stimulus, response, lattice)
    central = response[:, lattice.center if column is None else column]
    peak = find_peak(central, peak_frame)
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
        canvas.paste(_upright(name, at.shape[0], LEFT - 6), (2, top))
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
    width: int = 450,
    height: int = 260,
    sign: int = 1,
) -> Pixels:
    """Central traces over time as pixels `(height, width, 3)`.

    Args:
        traces: central responses, `(frames,)`, or several by name; NaN is left out.
        dt: duration of a frame in seconds.
        width: of the picture in pixels.
        height: likewise.
        sign: with -1 the lowest point is marked, not the highest.

    Raises:
        ValueError: if there is no trace, or one has no number.
    """
    named = traces if isinstance(traces, Mapping) else {"response": traces}
    curves = {name: np.asarray(trace, dtype=np.float64) for name, trace in named.items()}
    if not curves or not all(np.isfinite(curve).any() for curve in curves.values()):
        raise ValueError(
            f"expected traces with a finite value, got {list(curves) or 'none'} without; "
            "give {name: responses over frames}"
        )
    ms = 1000 * Protocol(dt=dt).dt  # checks dt
    every = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    longest = max(map(len, curves.values()))
    x_ticks = MaxNLocator(6).tick_values(0, ms * max(longest - 1, 1))
    spread = 0.1 if np.ptp(every) == 0 else 0.0
    y_ticks = MaxNLocator(5).tick_values(every.min() - spread, every.max() + spread)
    left, right, top, bottom = 88, width - 16, 12 + 16 * len(curves), height - 40

    def at(x: ArrayLike, y: ArrayLike) -> list[tuple[float, float]]:
        across = left + (right - left) * (np.asarray(x) - x_ticks[0]) / np.ptp(x_ticks)
        down = bottom + (top - bottom) * (np.asarray(y) - y_ticks[0]) / np.ptp(y_ticks)
        return list(zip(*np.broadcast_arrays(across, down), strict=True))

    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    draw.line([(left, top), (left, bottom), (right, bottom)], fill="black")
    for tick, (x, y) in zip(x_ticks, at(x_ticks, y_ticks[0]), strict=True):
        draw.line([(x, y), (x, y + 4)], fill="black")
        draw.text((x, y + 6), milliseconds(float(tick)), "black", _font(), anchor="mt")
    for tick, (x, y) in zip(y_ticks, at(x_ticks[0], y_ticks), strict=True):
        draw.line([(x - 4, y), (x, y)], fill="black")
        draw.text(
            (x - 6, y), f"{tick:g}".replace("-", "\N{MINUS SIGN}"), "black", _font(), anchor="rm"
        )
    draw.text(((left + right) / 2, height - 4), "time (ms)", "black", _font(), anchor="mb")
    canvas.paste(_upright(f"central {RESPONSE_LABEL}", height - 20, 18), (1, 4))
    for i, (name, curve) in enumerate(curves.items()):
        color, peak = SERIES[i % len(SERIES)], int(np.nanargmax(sign * curve))
        shown = np.flatnonzero(np.isfinite(curve))
        draw.line(at(ms * shown, curve[shown]), fill=color, width=2, joint="curve")
        ((x, y),) = at([ms * peak], [curve[peak]])
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color, outline="white")
        said = f"{name}: peak {number(float(curve[peak]))} at {milliseconds(ms * peak)} ms"
        draw.text((left + 4, 4 + 16 * i), said, color, _font(), anchor="lt")
    return np.asarray(canvas)


@functools.lru_cache(maxsize=8)
def _column_of_pixel(extent: int, max_extent: int | None) -> Ints:
    """Column under each pixel of a frame, -1 beside the lattice, `(height, width)`."""
    lattice = HexLattice(extent)
    columns = drawn_columns(lattice, max_extent)
    x, y = (values[columns] for values in lattice.picture_coordinates())
    size = frame_size(lattice, max_extent)
    radius = FRAME_WIDTH / size[0]
    height = int(np.ceil(radius * size[1]))
    across = (np.arange(FRAME_WIDTH) + 0.5 - FRAME_WIDTH / 2) / radius
    at = np.full((height, FRAME_WIDTH), -1)
    for row in range(height):
        up = (height / 2 - row - 0.5) / radius
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
    # Open at the centre, so that the column it points at stays visible.
    x, y = image.width // 2, image.height // 2
    gap = np.count_nonzero(at[y] == at[y, x]) // 2
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


def _upright(text: str, height: int, width: int) -> Image.Image:
    """Lines of text that read upwards, in the middle of so many pixels."""
    image = Image.new("RGB", (height, width), "white")
    middle = (height / 2, image.height / 2)
    ImageDraw.Draw(image).text(middle, text, "black", _font(), anchor="mm", align="center")
    return image.transpose(Image.Transpose.ROTATE_90)


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which has a minus sign and a delta."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), TEXT)
