"""From frames of the model to refreshes of a display, and back, with grey around them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stimopt import expect
from stimopt.lattice import Floats
from stimopt.protocol import MAX_FRAMES

_EDGE = 1e-6
"""Of a frame: rounding of seconds that is not to make a frame of its own."""
ROUNDING = 0.9 / MAX_FRAMES
"""Part of a duration or rate that is taken for rounding, as of 1/60 s written 0.0166667: in the
longest stimulus there may be it does not add up to a frame."""


def require_pause(name: str, seconds: float | None, *, optional: bool = False) -> None:
    """Refuse seconds of grey that are negative, too many, or None where that is not optional."""
    advice, name = "0 leaves it out", f"{name} in seconds"
    expect.number(name, seconds, advice, at_least=0, at_most=600, optional=optional)


@dataclass(frozen=True)
class Plan:
    """When what is shown, in refreshes.

    Attributes:
        rate: refreshes a second.
        dt: duration of a frame of the model in seconds.
        before: refreshes of grey before the stimulus.
        shown: share of every frame in every refresh, `(refreshes, frames)`; rows sum to 1.
        after: refreshes of grey after it.
    """

    rate: float
    dt: float
    before: int
    shown: Floats
    after: int

    @property
    def total(self) -> int:
        """Refreshes in all."""
        return self.before + len(self.shown) + self.after

    @property
    def frames_before(self) -> int:
        """Whole frames of the model within the grey before."""
        return int(self.before / self.rate / self.dt + _EDGE)

    def seen(self) -> Floats:
        """Share of every refresh in every frame of the model, `(frames, refreshes)`.

        The frames begin within the grey before, and end with the last one that is whole.
        """
        start = self.before / self.rate - self.frames_before * self.dt
        n_frames = int((self.total / self.rate - start) / self.dt + _EDGE)
        return _overlap(start, n_frames, self.dt, self.total, 1 / self.rate)

    def describe(self) -> dict[str, float | int]:
        """What the files say of it."""
        return {
            "refresh_hz": self.rate,
            "model_frame_s": self.dt,
            "refreshes": self.total,
            "refreshes_of_grey_before": self.before,
            "refreshes_of_stimulus": len(self.shown),
            "refreshes_of_grey_after": self.after,
            "model_frames_never_shown": int((self.shown.sum(0) < _EDGE).sum()),
        }


@dataclass(frozen=True)
class Timing:
    """When a display shows the frames of a stimulus.

    Args:
        refresh: of the display, in Hz; None is one refresh for each frame of the model. Patterns
            of LED arenas advance at this rate, whatever the panels' own refresh is.
        resampling: `exact` takes only a refresh that is a multiple of the model's frames; `hold`
            shows at every refresh the frame of that moment, `mean` the mean over the refresh.
        grey_before: seconds; None is the grey of the result's protocol.
        grey_after: seconds.

    Raises:
        ValueError: for a number out of range.
    """

    refresh: float | None = None
    resampling: Literal["exact", "hold", "mean"] = "exact"
    grey_before: float | None = None
    grey_after: float = 0.1

    def __post_init__(self) -> None:
        advice = "None takes the model's frames"
        expect.number("refresh in Hz", self.refresh, advice, above=0, at_most=1e4, optional=True)
        expect.one_of("resampling", self.resampling, ("exact", "hold", "mean"))
        for name, optional in (("grey_before", True), ("grey_after", False)):
            require_pause(name, getattr(self, name), optional=optional)

    def plan(self, n_frames: int, dt: float, t_pre: float, multiple: float = 0.0) -> Plan:
        """Place a stimulus among refreshes.

        Args:
            n_frames: of the stimulus; 0 leaves the grey alone.
            dt: duration of one in seconds.
            t_pre: seconds of grey before it, by default.
            multiple: seconds of which the whole must be a multiple; it is filled with grey.

        Raises:
            ValueError: if the refresh does not divide the frames, or the multiple.
        """
        # 1 / 0.0166667 is 60, 1 / 0.03 is no whole number and stays as it is.
        rate = _unrounded(1 / dt) if self.refresh is None else float(self.refresh)
        per_frame = _unrounded(rate * dt)
        dt = per_frame / rate
        expect.that(
            _is_whole(per_frame) or self.resampling != "exact",
            f"a refresh that is a multiple of {1 / dt:.9g} Hz, the rate of the model's frames",
            f"{rate:.9g} Hz",
            _advice(rate, per_frame),
        )
        n_shown = math.ceil(n_frames * per_frame - _EDGE)
        if self.resampling == "mean":
            shown = _overlap(0, n_shown, 1 / rate, n_frames, dt)
        else:
            frame = np.floor(np.arange(n_shown) / per_frame + _EDGE).astype(int)
            shown = np.eye(n_frames)[np.minimum(frame, n_frames - 1)]
        before = round((t_pre if self.grey_before is None else self.grey_before) * rate)
        after = math.ceil(self.grey_after * rate - _EDGE)
        if multiple:
            expect.that(
                _is_whole(multiple * rate),
                f"a refresh with whole frames in {multiple:g} s, the step of trial lengths",
                f"{rate:g} Hz",
                "give a refresh that is a multiple of the model's frames",
            )
            after += -(before + n_shown + after) % round(multiple * rate)
        return Plan(rate, dt, before, shown, after)


def _unrounded(number: float) -> float:
    """The whole number, from 1 on, that it is but for rounding; else the number itself."""
    whole = float(max(1, round(number)))
    return whole if abs(number / whole - 1) < ROUNDING else number


def _advice(rate: float, per_frame: float) -> str:
    """What to do where a frame is not a whole number of refreshes."""
    whole = max(1, round(per_frame))
    if abs(per_frame / whole - 1) < 0.01:
        nearly = "a refresh" if whole == 1 else f"{whole} refreshes"
        return f"a frame is nearly {nearly}: fit again with protocol.dt={whole / rate!r}"
    hold = "show frames for unequal times"
    if per_frame < 1:
        hold = f"drop {100 * (1 - per_frame):.0f} % of the frames"
    return f"resampling hold would {hold}, mean would blur them"


def _is_whole(number: float) -> bool:
    """Whether it is 1, 2 and so on, but for rounding."""
    return number > 1 - _EDGE and abs(number - round(number)) < _EDGE


def _overlap(start: float, n_out: int, dt_out: float, n_in: int, dt_in: float) -> Floats:
    """Share of intervals `(in,)` from 0 on in intervals `(out,)` from start on; rows sum to 1."""
    low_out = start + dt_out * np.arange(n_out)[:, None]
    low_in = dt_in * np.arange(n_in)[None]
    high = np.minimum(low_out + dt_out, low_in + dt_in)
    shares = np.maximum(high - np.maximum(low_out, low_in), 0)
    shares[shares < _EDGE * min(dt_out, dt_in)] = 0
    normed: Floats = shares / shares.sum(axis=1, keepdims=True)
    return normed
