"""Cartesian frames to luminance on the lattice: grey value, views, box mean at the columns.

A frame's middle part is covered by several overlapping *views*, side by side; each is seen by a
whole eye, whose columns average the pixels of a box around their centres.  The defaults are
flyvis's, and so is the order of summation: its stimuli are reproduced bit for bit.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.lattice import FLYVIS_EXTENT, MAX_EXTENT, HexLattice, Ints


@dataclass(frozen=True)
class RenderSettings:
    """How frames become luminance.

    Args:
        extent: rings of columns around the central one; 15 gives 721 columns.
        kernel_size: side of the box over which a column averages, and distance between
            neighbouring columns, in pixels.
        views: eyes side by side across the width; neighbours overlap as needed.
        width_fraction: middle part of the frame's width that the views cover, in (0, 1].
        drop_first: frames left out at the start of a scene; flyvis drops one, because its optic
            flow begins with the second.

    Raises:
        ValueError: for a setting out of range.
    """

    extent: int = FLYVIS_EXTENT
    kernel_size: int = 13
    views: int = 3
    width_fraction: float = 0.7
    drop_first: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("extent", 0, MAX_EXTENT),
            ("kernel_size", 1, 1000),
            ("views", 1, 1000),
            ("drop_first", 0, 10**9),
        ):
            advice = f"the default is {RenderSettings.__dataclass_fields__[name].default}"
            expect.whole(name, getattr(self, name), advice, at_least=low, at_most=high)
        advice = "0.7 is the middle 70 %"
        expect.number("width_fraction", self.width_fraction, advice, above=0, at_most=1)

    @property
    def lattice(self) -> HexLattice:
        """The columns on which luminance is rendered."""
        return HexLattice(self.extent)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for files; `RenderSettings(**d)` gives the settings back."""
        return dataclasses.asdict(self)


def luminance(frames: NDArray[Any], settings: RenderSettings | None = None) -> NDArray[np.float32]:
    """Render frames on the lattice.

    Args:
        frames: grey `(frames, height, width)` or colour `(frames, height, width, 3)`; uint8, or
            floating point in [0, 1].
        settings: how to render; None takes the defaults.

    Returns:
        Luminance in [0, 1], `(views, frames, columns)`.

    Raises:
        TypeError: for another dtype.
        ValueError: for another shape, values out of range, or frames too small for the views.
    """
    settings = settings or RenderSettings()
    expect.that(
        frames.ndim in (3, 4),
        "frames of shape (frames, height, width) or (frames, height, width, 3)",
        frames.shape,
        "add or drop axes",
    )
    box = _boxes(settings, int(frames.shape[1]), int(frames.shape[2]))
    out = np.empty((settings.views, len(frames), settings.lattice.n_columns), dtype=np.float32)
    for i, frame in enumerate(frames):
        out[:, i] = box.mean(grey(frame))
    return out


def grey(frame: NDArray[Any]) -> NDArray[Any]:
    """Grey value of one frame by the weights of ITU-R Rec. 601.

    Args:
        frame: `(height, width)` or `(height, width, 3)`; uint8, or floating point in [0, 1].

    Returns:
        `(height, width)`: uint8 (rounded as Pillow does), or float64.

    Raises:
        TypeError: for another dtype.
        ValueError: for another shape, or values that are not finite or outside [0, 1].
    """
    expect.that(
        frame.ndim == 2 or (frame.ndim == 3 and frame.shape[-1] == 3),
        "a frame of shape (height, width) or (height, width, 3)",
        frame.shape,
        "add or drop axes",
    )
    if frame.dtype == np.uint8:
        if frame.ndim == 2:
            return frame
        # The weights 0.299, 0.587, 0.114 in units of 2**-16, rounded: Pillow's whole-number form.
        r, g, b = (frame[..., i].astype(np.uint32) for i in range(3))
        return ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16).astype(np.uint8)
    expect.that(
        np.issubdtype(frame.dtype, np.floating),
        "frames of dtype uint8 or floating point in [0, 1]",
        frame.dtype,
        "convert them first, for example by dividing by their largest possible value",
        TypeError,
    )
    frame = frame.astype(np.float64, copy=False)
    expect.within("a frame", frame, 0, 1, "scale the frames, or give uint8")
    return frame if frame.ndim == 2 else frame @ np.array([0.299, 0.587, 0.114])


def minimum_size(settings: RenderSettings) -> tuple[int, int]:
    """Smallest height and width of a frame in pixels that hold every box of every view."""
    rows, _ = centres(settings)
    below, above = settings.kernel_size // 2, (settings.kernel_size - 1) // 2
    half = int(-rows.min()) + below
    height = max(2 * half, half + int(rows.max()) + above + 1)
    width = math.floor(view_width(settings) / settings.width_fraction)
    # The crop is rounded towards zero: step up to the first width whose crop is wide enough.
    while int(settings.width_fraction * width) < view_width(settings):
        width += 1
    return height, width


def view_width(settings: RenderSettings) -> int:
    """Least width of a view in pixels: the outermost centres and a kernel's width on each side."""
    return 2 * settings.extent * settings.kernel_size + 1 + 2 * settings.kernel_size


def view_columns(width: int, settings: RenderSettings) -> list[tuple[int, int]]:
    """First and last (exclusive) pixel column of every view in a frame of that width.

    A single view takes the whole middle part; several are equally wide and evenly spaced.
    """
    inner = int(settings.width_fraction * width)
    left, views = (width - inner) // 2, settings.views
    if views == 1:
        return [(left, left + inner)]
    wide = max(view_width(settings), inner // views)
    step = wide - math.ceil((wide * views - inner) / (views - 1))
    return [(left + i * step, left + i * step + wide) for i in range(views)]


def centres(settings: RenderSettings) -> tuple[Ints, Ints]:
    """Pixel row and column of every lattice column, from the middle of a view; rows go down.

    Rows of odd v fall between two pixels for an odd kernel and are cut towards zero.
    """
    lattice, size = settings.lattice, settings.kernel_size
    rows = np.trunc(size * (lattice.u + lattice.v / 2)).astype(np.int64)
    return rows, size * lattice.v


@dataclass(frozen=True)
class _Boxes:
    """Where the boxes lie in a frame: the part they cover, and their first pixels in it."""

    rows: slice
    columns: slice
    first: Ints
    size: int

    def mean(self, frame: NDArray[Any]) -> NDArray[np.float32]:
        """Box means of a grey frame, `(views, columns)` in [0, 1]."""
        part = frame[self.rows, self.columns].astype(np.float32)
        if frame.dtype == np.uint8:
            part /= np.float32(255)
        width, pixels = part.shape[1], part.ravel()
        # Summed in single precision, pixel by pixel and row by row, as flyvis's convolution does:
        # so its stimuli are reproduced to the last bit. Exact sums (a table of sums, or double
        # precision) differ from them in the last digits, and are no faster for boxes of this size.
        total = np.zeros(self.first.shape, dtype=np.float32)
        for i in range(self.size):
            for j in range(self.size):
                total += pixels[i * width + j :].take(self.first)
        mean: NDArray[np.float32] = total / np.float32(self.size**2)
        return mean


@lru_cache(maxsize=16)
def _boxes(settings: RenderSettings, height: int, width: int) -> _Boxes:
    _require_size(settings, height, width)
    size = settings.kernel_size
    rows, columns = centres(settings)
    # Kernels of even size reach one pixel further up and to the left than down and to the right.
    tops = rows + height // 2 - size // 2
    lefts = np.stack(
        [
            start + (stop - start) // 2 + columns - size // 2
            for start, stop in view_columns(width, settings)
        ]
    )
    top, left = int(tops.min()), int(lefts.min())
    bottom, right = int(tops.max()) + size, int(lefts.max()) + size
    first = (tops - top) * (right - left) + lefts - left
    return _Boxes(slice(top, bottom), slice(left, right), first, size)


def _require_size(settings: RenderSettings, height: int, width: int) -> None:
    if _fits(settings, height, width):
        return
    fitting = [
        size
        for size in range(1, settings.kernel_size)
        if _fits(dataclasses.replace(settings, kernel_size=size), height, width)
    ]
    advice = "render with a smaller extent or a larger width_fraction"
    if fitting:
        advice = f"render with kernel_size {fitting[-1]} or less"
    needed = minimum_size(settings)
    raise ValueError(
        f"expected frames of at least {needed[1]} x {needed[0]} pixels (width x height) for "
        f"extent {settings.extent}, kernel_size {settings.kernel_size} and width_fraction "
        f"{settings.width_fraction:g}, got {width} x {height}; {advice}, or enlarge the frames"
    )


def _fits(settings: RenderSettings, height: int, width: int) -> bool:
    needed = minimum_size(settings)
    return height >= needed[0] and width >= needed[1]
