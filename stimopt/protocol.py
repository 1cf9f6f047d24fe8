"""The protocol under which a network is asked: one for search, regularization, generation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

GREY = 0.5
"""Luminance of the background, in [0, 1]; every stimulus is measured against it."""

MIN_DT = 1e-5
"""Seconds; a thousandth of the usual step. A shorter one is a slip of the pen that would fill the
memory with frames."""
MAX_FRAMES = 100_000
"""In a stimulus or a phase before it: 1,000 s at 10 ms, 0.3 GB for 721 columns."""


@dataclass(frozen=True)
class Protocol:
    """How a stimulus is presented and its response read.

    Every time is in seconds; `frames` is the only place where seconds become frames.

    Args:
        dt: integration step and duration of a frame, in seconds.
        t_pre: seconds of grey before the stimulus, starting from V = bias.
        t_fade_in: seconds over which the first frame is faded in from grey, after `t_pre`.
        grey: luminance of the pre-stimulus, in [0, 1].
        baseline: `absolute` reports the voltage itself; `grey` reports its difference from the
            voltage at the end of the pre-stimulus (grey and fade-in).
        readout_start: start of the read-out window, seconds from stimulus onset; negative counts
            from the end; None is the onset.
        readout_stop: end of the read-out window (exclusive), likewise; None is the end.

    Raises:
        ValueError: for a step, duration or luminance out of range, or an empty window.
    """

    dt: float = 0.01
    t_pre: float = 1.0
    t_fade_in: float = 0.0
    grey: float = GREY
    baseline: Literal["absolute", "grey"] = "absolute"
    readout_start: float | None = None
    readout_stop: float | None = None

    def __post_init__(self) -> None:
        if not (_is_number(self.dt) and self.dt > 0):
            raise ValueError(f"expected dt > 0 seconds, got {self.dt!r}; 0.01 is 10 ms a frame")
        if self.dt < MIN_DT:
            raise ValueError(
                f"expected dt >= {MIN_DT:g} seconds, got {self.dt!r}; 0.01 is 10 ms a frame"
            )
        for name in ("t_pre", "t_fade_in"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0):
                raise ValueError(
                    f"expected {name} >= 0 seconds, got {value!r}; 0 leaves that phase out"
                )
        if not (_is_number(self.grey) and 0 <= self.grey <= 1):
            raise ValueError(f"expected grey in [0, 1], got {self.grey!r}; {GREY} is mid-grey")
        if self.baseline not in ("absolute", "grey"):
            raise ValueError(
                f"expected baseline 'absolute' or 'grey', got {self.baseline!r}; choose one of them"
            )
        for name in ("t_pre", "t_fade_in"):
            self.frames(getattr(self, name))
        for name in ("readout_start", "readout_stop"):
            value = getattr(self, name)
            if value is not None and not _is_number(value):
                raise ValueError(
                    f"expected {name} in seconds or None, got {value!r}; give a number"
                )

    def frames(self, seconds: float) -> int:
        """Whole frames in a duration: round(seconds / dt), so that 0.29 s at 10 ms is 29.

        Raises:
            ValueError: for a duration that is no number, or of more than `MAX_FRAMES`.
        """
        if not abs(seconds) <= MAX_FRAMES * self.dt:  # NaN is refused as well
            raise ValueError(
                f"expected a duration of at most {MAX_FRAMES} frames ({MAX_FRAMES * self.dt:g} s), "
                f"got {seconds!r} s; shorten it, or lengthen dt"
            )
        return round(seconds / self.dt)

    def seconds(self, frames: int) -> float:
        """Duration of a number of frames, in seconds."""
        return frames * self.dt

    def readout(self, n_frames: int) -> slice:
        """Frames of the read-out window within a stimulus of `n_frames`.

        Raises:
            ValueError: if the window holds no frame of that stimulus.
        """
        start = 0 if self.readout_start is None else self.frames(self.readout_start)
        stop = n_frames if self.readout_stop is None else self.frames(self.readout_stop)
        # By the seconds given: -4 ms is no frame from the end, not the first of all.
        start = start + n_frames if (self.readout_start or 0) < 0 else start
        stop = stop + n_frames if (self.readout_stop or 0) < 0 else stop
        if not 0 <= start < stop <= n_frames:
            raise ValueError(
                f"expected a read-out window within the {n_frames} frames "
                f"({self.seconds(n_frames):g} s) of the stimulus, got {self.readout_start} s to "
                f"{self.readout_stop} s (frames {start} to {stop}); move the window"
            )
        return slice(start, stop)

    def peak_frame(self, central: NDArray[np.floating[Any]], sign: int = 1) -> int:
        """Frame within the read-out window at which a response is largest; lowest for sign -1.

        Args:
            central: response of the cell read out, `(frames,)`.
            sign: 1 or -1.

        Raises:
            ValueError: if the window holds no frame, or no number.
        """
        window = self.readout(len(central))
        sought = sign * central[window]
        if np.isnan(sought).all():
            raise ValueError(
                "expected a response within the read-out window, got only NaN; the simulation left "
                "the finite numbers"
            )
        return int(window.start) + int(np.nanargmax(sought))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for files; `Protocol(**d)` gives the protocol back."""
        return dataclasses.asdict(self)

    def settings(self) -> dict[str, Any]:
        """The same named as among other settings and options: `protocol.dt` and so on."""
        return {f"protocol.{name}": value for name, value in self.to_dict().items()}

    @classmethod
    def preset(cls, name: str) -> Protocol:
        """A named protocol: `default`, or `flyvis_search` (2 s fade-in from the bias, no grey).

        Raises:
            ValueError: for an unknown name.
        """
        if name not in PRESETS:
            raise ValueError(
                f"expected a protocol preset of {sorted(PRESETS)}, got {name!r}; choose one of them"
            )
        return PRESETS[name]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


PRESETS = {
    "default": Protocol(),
    "flyvis_search": Protocol(t_pre=0.0, t_fade_in=2.0),
}
