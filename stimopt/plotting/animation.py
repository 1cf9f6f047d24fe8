"""Stimulus and response on the lattice as a film."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.animation import FFMpegWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from stimopt import expect
from stimopt.lattice import Floats, HexLattice
from stimopt.plotting import style
from stimopt.plotting.files import Pixels
from stimopt.plotting.hexagons import (
    CROSSHAIR,
    add_colorbar,
    drawn_columns,
    frame_size,
    hex_frame,
)
from stimopt.plotting.selection import (
    Row,
    baseline_values,
    checked_pair,
    drawn_rows,
    response_label,
    symmetric_limit,
)
from stimopt.plotting.traces import plot_traces
from stimopt.protocol import Protocol
from stimopt.storage.files import replacing

# Inches: frames, margins and the trace below them.
_FRAME_HEIGHT, _LEFT, _GAP, _RIGHT = 2.6, 0.45, 0.95, 0.75
_HEAD, _TRACE_HEIGHT, _BOTTOM, _BETWEEN = 0.62, 0.9, 0.46, 0.16


def animate(
    stimulus: ArrayLike,
    response: ArrayLike,
    lattice: HexLattice,
    dt: float,
    path: str | Path,
    *,
    fps: float = 10.0,
    max_extent: int | None = None,
    baseline: bool | ArrayLike = True,
    title: str = "",
    dpi: float = 100.0,
    column: int | None = None,
) -> Path:
    """Write a film of stimulus and response side by side, the central response running below.

    Every frame of the stimulus is a frame of the film. At the default 10 frames a second and dt
    10 ms the film runs ten times slower than the stimulus, which is printed. The film is written to
    a temporary file, which then replaces `path`: a failure leaves an older file intact.

    Example:
        >>> lattice = HexLattice(3)
        >>> stimulus, response = np.random.default_rng(0).random((2, 5, lattice.n_columns))
        >>> path = animate(stimulus, response, lattice, 0.01, "film.gif")

    Args:
        stimulus: luminance in [0, 1], `(frames, columns)`.
        response: one cell type's voltage, `(frames, columns)`; NaN where it has no cell.
        lattice: the columns.
        dt: duration of a frame of the stimulus in seconds.
        path: name of the file; ends in .gif, or in .mp4 where the program ffmpeg is installed.
        fps: frames of the film per second. At most 50 for GIF, whose frames last whole hundredths
            of a second and are slowed by browsers if they last one.
        max_extent: rings drawn around the centre; None for all.
        baseline: what is subtracted from the response, as in `StripOptions`.
        title: printed above.
        dpi: dots per inch.
        column: of the cell whose trace is drawn; None is the central one.

    Returns:
        The path.

    Raises:
        ValueError: for another suffix, a rate out of range, or arrays that do not fit.
        RuntimeError: for .mp4 without ffmpeg.
    """
    path = Path(path)
    _check_format(path, fps)
    stimulus, response = checked_pair(stimulus, response, lattice)
    dt = Protocol(dt=dt).dt
    shown = response - baseline_values(response, baseline, lattice)
    limit = symmetric_limit(shown, lattice, max_extent)
    rows = drawn_rows(stimulus, shown, limit, response_label(baseline))
    central = response[:, lattice.center if column is None else column]
    scene = _Scene(rows, central, lattice, dt, max_extent, title, slowed=1 / (fps * dt))
    with replacing(path) as part:
        if path.suffix.lower() == ".gif":
            _write_gif(scene, part, fps, dpi)
        else:
            _write_mp4(scene, part, fps, dpi)
    return path


def _write_gif(scene: _Scene, path: Path, fps: float, dpi: float) -> None:
    # matplotlib's own writer chooses 256 colours for every frame, so that unchanged parts flicker
    # and the colour scales break into steps. Here all frames share one palette.
    palette = _palette()
    nearest = np.full(1 << 24, -1, dtype=np.int16)  # of every colour seen so far
    images = []
    for pixels in scene.pictures(dpi):
        image = Image.fromarray(_in_palette(pixels, palette, nearest))
        image.putpalette(palette.tobytes())
        images.append(image)
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
    )


def _palette() -> Pixels:
    """Up to 256 colours `(colors, 3)`: both scales, and lines with anti-aliased borders."""
    greys = colormaps[style.STIMULUS_CMAP](np.linspace(0, 1, 97))[:, :3]
    signed = colormaps[style.RESPONSE_CMAP](np.linspace(0, 1, 129))[:, :3]
    paper, middle, zero = greys[-1], greys[48], signed[64]
    blends = [
        share * np.array(to_rgb(line)) + (1 - share) * ground
        for line, ground in (
            (CROSSHAIR, middle),
            (CROSSHAIR, zero),
            (style.SERIES[0], paper),
            (style.SERIES[1], paper),
        )
        for share in (0.25, 0.5, 0.75, 1.0)
    ]
    colors = np.concatenate([greys, signed, blends])
    return np.asarray(np.rint(255 * colors), dtype=np.uint8)


def _in_palette(pixels: Pixels, palette: Pixels, nearest: NDArray[np.int16]) -> Pixels:
    """Index of the nearest palette colour for pixels `(height, width, 3)`.

    `nearest` has the index for each 24-bit colour, or -1, and receives those of new colours.
    """
    r, g, b = (pixels[..., i].astype(np.uint32) for i in range(3))
    packed = (r << 16) | (g << 8) | b
    # A picture has a few thousand different colours, so all distances are cheap.
    new = np.unique(packed[nearest[packed] < 0])
    colors = np.stack([new >> 16, (new >> 8) & 255, new & 255], axis=-1).astype(np.int32)
    distance = ((colors[:, None, :] - palette.astype(np.int32)) ** 2).sum(axis=-1)
    nearest[new] = distance.argmin(axis=1)
    return np.asarray(nearest[packed], dtype=np.uint8)


def _write_mp4(scene: _Scene, path: Path, fps: float, dpi: float) -> None:
    # Browsers play yuv420p. For h264 the writer itself makes width and height even.
    writer = FFMpegWriter(fps=fps, codec="h264", extra_args=["-pix_fmt", "yuv420p"])  # type: ignore[arg-type]
    with writer.saving(scene.fig, str(path), dpi):
        for _ in scene.play():
            writer.grab_frame()


def _check_format(path: Path, fps: float) -> None:
    suffix = path.suffix.lower()
    advice = "the suffix chooses the format"
    known = suffix in (".gif", ".mp4")
    expect.that(known, "a file name ending in .gif or .mp4", repr(path.name), advice)
    most = 50 if suffix == ".gif" else 240
    expect.number(f"fps for {suffix}", fps, "10 is usual", above=0, at_most=most)
    expect.that(
        suffix == ".gif" or FFMpegWriter.isAvailable(),
        f"the program ffmpeg to write {path.name}",
        "none on the search path",
        f"install it, or write {path.with_suffix('.gif').name}, which needs no program",
        RuntimeError,
    )


class _Scene:
    """The figure of a film, and the artists that change from frame to frame."""

    def __init__(
        self,
        rows: tuple[Row, Row],
        central: Floats,
        lattice: HexLattice,
        dt: float,
        max_extent: int | None,
        title: str,
        slowed: float,
    ) -> None:
        self.central, self.dt, self.slowed = central, dt, slowed
        x, y = frame_size(lattice, max_extent)
        frame_width = _FRAME_HEIGHT * x / y
        self.width = _LEFT + 2 * frame_width + _GAP + _RIGHT
        self.height = _BOTTOM + _TRACE_HEIGHT + _BETWEEN + _FRAME_HEIGHT + _HEAD
        self.fig = Figure(figsize=(self.width, self.height), dpi=style.DPI)
        columns = drawn_columns(lattice, max_extent)
        self.values = [row.values[:, columns] for row in rows]
        self.hexagons = []
        base = _BOTTOM + _TRACE_HEIGHT + _BETWEEN
        for i, row in enumerate(rows):
            left = _LEFT + i * (frame_width + _GAP)
            ax = self._add_axes(left, base, frame_width, _FRAME_HEIGHT)
            options = {"max_extent": max_extent, "crosshair": True, **row.scale}
            self.hexagons.append(hex_frame(ax, lattice, row.values[0], **options))
            ax.set_title(row.name, fontsize=style.LABEL_SIZE, pad=2)
            right, middle = left + frame_width + 0.08, base + 0.25 * _FRAME_HEIGHT
            bar_axes = self._add_axes(right, middle, 0.08, _FRAME_HEIGHT / 2)
            add_colorbar(bar_axes, self.hexagons[-1], row.label)
        self._draw_trace()
        self._draw_head(title)

    def play(self) -> Iterator[int]:
        """Set the figure to each frame in turn."""
        for frame, value in enumerate(self.central):
            for hexagons, values in zip(self.hexagons, self.values, strict=True):
                hexagons.set_array(np.ma.masked_invalid(values[frame]))
            ms = 1000 * frame * self.dt
            self.cursor.set_xdata([ms, ms])
            self.dot.set_data([ms], [value])
            self.clock.set_text(self._clock_text(ms))
            yield frame

    def pictures(self, dpi: float) -> Iterator[Pixels]:
        """Pixels `(height, width, 3)` of each frame; what does not change is drawn only once."""
        changing: list[Artist] = [self.clock]
        for ax in self.fig.axes:
            changing += ax.lines if ax.axison else ax.collections
        # Where the cursor meets the frame of the trace, the frame is in front.
        changing += self.trace.spines.values()
        changing.sort(key=Artist.get_zorder)
        for artist in changing:
            artist.set_animated(True)
        canvas: Any = FigureCanvasAgg(self.fig)
        self.fig.set_dpi(dpi)
        canvas.draw()
        background = canvas.copy_from_bbox(self.fig.bbox)
        for _ in self.play():
            canvas.restore_region(background)
            for artist in changing:
                artist.draw(canvas.renderer)
            yield np.asarray(canvas.buffer_rgba())[..., :3]

    def _add_axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at a place in inches."""
        w, h = self.width, self.height
        return self.fig.add_axes((left / w, bottom / h, width / w, height / h))

    def _draw_trace(self) -> None:
        ax = self._add_axes(_LEFT + 0.1, _BOTTOM, self.width - _LEFT - 0.1 - _RIGHT, _TRACE_HEIGHT)
        self.trace = ax
        ms = 1000 * self.dt * np.arange(len(self.central))
        plot_traces(ax, ms, {"": self.central}, peaks=False, legend=False)
        ax.set_ylabel("central\nresponse (a.u.)", fontsize=style.LABEL_SIZE)
        self.cursor = ax.axvline(0, color="0.6", lw=0.8, zorder=1)
        (self.dot,) = ax.plot(
            [0], [self.central[0]], "o", color=style.SERIES[1], ms=5, mec="white", zorder=3
        )

    def _draw_head(self, title: str) -> None:
        top, left, right = 1 - 0.1 / self.height, _LEFT / self.width, 1 - 0.15 / self.width
        heading = self.fig.text(left, top, title, fontsize=style.TITLE_SIZE, va="top")
        self.clock = self.fig.text(
            right, top, "", fontsize=style.LABEL_SIZE, va="top", ha="right", family="monospace"
        )
        # The heading gets the room that the longest time leaves.
        self.clock.set_text(self._clock_text(1000 * self.dt * len(self.central)))
        clock_width = self.clock.get_window_extent().width / self.fig.dpi
        style.fit_width(heading, self.width - _LEFT - 0.3 - clock_width)

    def _clock_text(self, ms: float) -> str:
        if np.isclose(self.slowed, 1):
            return f"{style.milliseconds(ms)} ms"
        speed = f"slowed {self.slowed:.3g} times"
        if self.slowed < 1:
            speed = f"sped up {1 / self.slowed:.3g} times"
        return f"{style.milliseconds(ms)} ms, {speed}"
