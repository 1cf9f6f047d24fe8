"""Stimuli and responses as text that a script of the page can carry.

Packed are, after each other: the response in the first frame (float32, `(columns,)`), luminance
(uint8, `(frames, columns)`), and the high and the low bytes of the response less that of the first
frame (int16, in units of `step`; `MISSING` where there is none). Values but the first are
differences from frame to frame, which deflate shrinks well; then follows base64.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt.plotting.hexagons import drawn_columns
from stimopt.plotting.selection import FRAMES, RINGS, strip_frames, symmetric_limit
from stimopt.protocol import BEFORE_PEAK, GREY
from stimopt.report.page.items import Panel

STEPS, MISSING = 2047, -2048
"""12 bits resolve a response to the three digits that are shown."""


def packed_panel(panel: Panel) -> dict[str, Any]:
    """A panel as plain values, with its arrays packed."""
    base = panel.response[0].astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = panel.response - base
    known = np.isfinite(difference)
    step = float(np.max(np.abs(difference), where=known, initial=0.0)) / STEPS or 1.0
    steps = np.rint(np.divide(difference, step, where=known, out=np.zeros(difference.shape)))
    codes = _differences(np.where(known, steps, MISSING).astype(np.int16)).view(np.uint16)
    arrays = (
        np.where(np.isfinite(base), base, 0).astype("<f4"),
        _differences(_luminance(panel.stimulus)),
        (codes >> 8).astype(np.uint8),
        (codes & 255).astype(np.uint8),
    )
    last = strip_frames(panel.peak_frame, panel.dt, BEFORE_PEAK, panel.peak_frame + 1)
    column = panel.column
    return {
        "name": panel.name,
        "extent": panel.lattice.extent,
        "dt": panel.dt,
        "frames": len(panel.stimulus),
        "peak": panel.peak_frame,
        "u": int(panel.lattice.u[column]),
        "v": int(panel.lattice.v[column]),
        "limit": symmetric_limit(np.where(known, difference, np.nan)[last], panel.lattice, RINGS),
        "step": step,
        "remark": panel.remark,
        "packed": _packed(*arrays),
    }


def packed_picture(panel: Panel) -> dict[str, Any]:
    """The stimulus in a few frames up to the peak, for the table."""
    frames = strip_frames(panel.peak_frame, panel.dt, BEFORE_PEAK, FRAMES, panel.stimulus)
    rings = min(RINGS, panel.lattice.extent)
    shown = panel.stimulus[frames][:, drawn_columns(panel.lattice, rings)]
    contrast = np.abs(_luminance(shown) / 255 - GREY).sum(axis=1)
    spacing = int(frames[1] - frames[0]) if len(frames) > 1 else 1
    return {
        "extent": rings,
        "frames": len(frames),
        "rest": int(contrast.argmax()),
        "spacing": 1000 * panel.dt * spacing,
        "packed": _packed(_luminance(shown)),
    }


def _luminance(stimulus: NDArray[Any]) -> NDArray[np.uint8]:
    finite = np.where(np.isfinite(stimulus), stimulus, GREY)
    return np.asarray(np.rint(255 * np.clip(finite, 0, 1)), dtype=np.uint8)


def _differences(values: NDArray[Any]) -> NDArray[Any]:
    """The first frame, then what each adds to the one before, modulo the range of the type."""
    return np.concatenate([values[:1], values[1:] - values[:-1]])


def _packed(*arrays: NDArray[Any]) -> str:
    content = b"".join(array.tobytes() for array in arrays)
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")
