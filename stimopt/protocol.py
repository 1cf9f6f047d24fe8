"""How stimuli are presented and responses read, in search, regularization and generation alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt import expect
from stimopt.storage.identity import make_plain

GREY = 0.5
"""Luminance of the background, in [0, 1]; every stimulus is measured against it."""
BEFORE_PEAK = 0.2
"""Seconds before the peak that figures show and over which currents are compared: a stimulus acts
on a cell through delays of some tens of milliseconds, and what came earlier has died out."""

MIN_DT = 1e-5
"""Seconds; a thousandth of the usual step. A shorter one fills the memory: a typing error."""
MAX_FRAMES = 100_000
"""In a stimulus or a phase before it: 1,000 s at 10 ms, 0.3 GB for 721 columns."""


@dataclass(frozen=True)
class Protocol:
    """How a stimulus is presented and its response read.

    Every time is in seconds; `frames` converts it to a number of frames.

    Args:
        dt: integration step and duration of a frame, in seconds.
        t_pre: seconds of grey before the stimulus, starting from V = bias.
        t_fade_in: seconds over which the first frame is faded in from grey, after `t_pre`.
        baseline: `absolute` reports the voltage itself; `grey` reports its difference from the
            voltage at the end of the pre-stimulus (grey and fade-in).
        readout_start: start of the read-out window, seconds from stimulus onset; negative counts
            from the end; None is the onset.
        readout_stop: end of the read-out window (exclusive), counted likewise; None is the end of
            the stimulus.

    Raises:
        ValueError: for a step or duration out of range.

    Example:
        >>> Protocol(readout_start=-0.1).readout(80)
        slice(70, 80, None)
    """

    dt: float = 0.01
    t_pre: float = 1.0
    t_fade_in: float = 0.0
    baseline: Literal["absolute", "grey"] = "absolute"
    readout_start: float | None = None
    readout_stop: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        expect.number("dt in seconds", self.dt, "0.01 is 10 ms a frame", at_least=MIN_DT)
        for name in ("t_pre", "t_fade_in"):
            value = getattr(self, name)
            expect.number(f"{name} in seconds", value, "0 leaves that phase out", at_least=0)
            self.frames(value)
        for name, end in (("readout_start", "stimulus onset"), ("readout_stop", "the end")):
            value, advice = getattr(self, name), f"None is {end}"
            expect.number(f"{name} in seconds", value, advice, optional=True)
        expect.one_of("baseline", self.baseline, ("absolute", "grey"))

    def frames(self, seconds: float) -> int:
        """Whole frames in a duration: round(seconds / dt), so that 0.29 s at 10 ms is 29.

        Raises:
            ValueError: for a duration that is no number, or of more than `MAX_FRAMES`.
        """
        expect.that(
            abs(seconds) <= MAX_FRAMES * self.dt,  # False for NaN too
            f"a duration of at most {MAX_FRAMES} frames ({MAX_FRAMES * self.dt:g} s)",
            f"{seconds!r} s",
            "shorten it, or lengthen dt",
        )
        return round(seconds / self.dt)

    def seconds(self, frames: int) -> float:
        """Duration of a number of frames, in seconds."""
        return frames * self.dt

    def readout(self, n_frames: int) -> slice:
        """Frames of the read-out window within a stimulus of `n_frames`.

        Raises:
            ValueError: if the window contains no frame of that stimulus.
        """
        start = 0 if self.readout_start is None else self.frames(self.readout_start)
        stop = n_frames if self.readout_stop is None else self.frames(self.readout_stop)
        # The sign of the seconds decides: -4 ms rounds to frame 0 from the end, not from onset.
        start = start + n_frames if (self.readout_start or 0) < 0 else start
        stop = stop + n_frames if (self.readout_stop or 0) < 0 else stop
        expect.that(
            0 <= start < stop <= n_frames,
            f"a read-out window within the {n_frames} frames ({self.seconds(n_frames):g} s) of the "
            "stimulus",
            f"{self.readout_start} s to {self.readout_stop} s (frames {start} to {stop})",
            "move the window",
        )
        return slice(start, stop)

    def readout_mask(self, lengths: Tensor, n_frames: int) -> Tensor:
        """Frames of each item's read-out window, `(items, frames)`, bool.

        Args:
            lengths: frames of each item that count, `(items,)`; the rest is padding.
            n_frames: frames of the longest item.

        Raises:
            ValueError: if the window contains no frame of an item.
        """
        mask = torch.zeros((len(lengths), n_frames), dtype=torch.bool, device=lengths.device)
        for length in sorted(set(lengths.tolist())):
            mask[lengths == length, self.readout(length)] = True
        return mask

    def peak_frame(self, central: NDArray[np.floating[Any]], sign: int = 1) -> int:
        """Frame within the read-out window at which a trace peaks; NaN is ignored.

        Args:
            central: response of the cell read out, `(frames,)`.
            sign: 1 for the largest response, -1 for the lowest.

        Raises:
            ValueError: if the window contains no frame, or no response that is a number.
        """
        trace = torch.as_tensor(central)[None]
        mask = self.readout_mask(torch.tensor([len(central)]), len(central)) & ~trace.isnan()
        expect.that(
            mask.any(),
            "a response within the read-out window",
            "only NaN",
            "the simulation left the finite numbers; shorten protocol.dt",
        )
        return int(peak(trace, mask, sign)[1])

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, for files; `Protocol(**fields)` restores the protocol."""
        return dataclasses.asdict(self)

    def settings(self) -> dict[str, Any]:
        """Fields by the names of their options: `protocol.dt` and so on."""
        return {f"protocol.{name}": value for name, value in self.to_dict().items()}

    @classmethod
    def preset(cls, name: str) -> Protocol:
        """A named protocol: `default`, or `flyvis_search` (2 s fade-in from the bias, no grey).

        Raises:
            ValueError: for an unknown name.
        """
        expect.one_of("a protocol preset", name, PRESETS)
        return PRESETS[name]


def peak(responses: Tensor, mask: Tensor, sign: int = 1) -> tuple[Tensor, Tensor]:
    """Largest response within the read-out window and its frame (lowest response for sign -1).

    Args:
        responses: `(items, frames, ...)`.
        mask: frames of the window, `(items, frames)`, bool.
        sign: 1 or -1.

    Returns:
        Value and frame from stimulus onset, each `(items, ...)`.
    """
    outside = ~mask.reshape(mask.shape + (1,) * (responses.ndim - 2))
    value, frame = (sign * responses).masked_fill(outside, -torch.inf).max(dim=1)
    return sign * value, frame


PRESETS = {
    "default": Protocol(),
    "flyvis_search": Protocol(t_pre=0.0, t_fade_in=2.0),
}
