"""Which frames of a stimulus and its response are drawn, and on which colour scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.lattice import Floats, HexLattice, Ints
from stimopt.plotting import style
from stimopt.plotting.hexagons import drawn_columns
from stimopt.protocol import BEFORE_PEAK, GREY, Protocol

FRAMES, RINGS = 10, 6
"""Most frames, and rings of columns, that pictures show by default."""


@dataclass(frozen=True)
class StripOptions:
    """Which frames of a stimulus and its response are drawn, and how.

    Args:
        seconds: how far back from the peak to go.
        n_strips: the largest number of frames to draw, evenly spaced in time.
        max_extent: rings of columns drawn around the centre; None for all.
        baseline: what is subtracted from the response: True for its first frame, False for
            nothing, or the values themselves, `(columns,)` or one number.
    """

    seconds: float = BEFORE_PEAK
    n_strips: int = FRAMES
    max_extent: int | None = RINGS
    baseline: bool | ArrayLike = True


class Row(NamedTuple):
    """One of the two quantities drawn: its frames `(frames, columns)` and their colour scale."""

    name: str
    values: Floats
    low: float
    high: float
    cmap: str
    label: str

    @property
    def scale(self) -> dict[str, Any]:
        """The colour scale, as arguments of `hex_frame`."""
        return {"vmin": self.low, "vmax": self.high, "cmap": self.cmap}


@dataclass(frozen=True)
class Strip:
    """The frames of one stimulus and response that are drawn.

    Attributes:
        lattice: the columns.
        max_extent: rings of columns drawn around the centre; None for all.
        dt: duration of a frame in seconds.
        frames: frames drawn; the last is that of the peak, `(strips,)`.
        stimulus: luminance in these frames, `(strips, columns)`.
        response: response in these frames less its baseline, `(strips, columns)`.
        response_label: name and unit of the response.
        peak_response: response at the peak, with no baseline subtracted.
        limit: the response's colours reach from -limit to limit.
    """

    lattice: HexLattice
    max_extent: int | None
    dt: float
    frames: Ints
    stimulus: Floats
    response: Floats
    response_label: str
    peak_response: float
    limit: float

    @property
    def peak_frame(self) -> int:
        """Frame of the peak."""
        return int(self.frames[-1])

    @property
    def spacing(self) -> float:
        """Seconds from one frame drawn to the next."""
        return self.dt * int(self.frames[1] - self.frames[0] if len(self.frames) > 1 else 1)

    @property
    def rows(self) -> tuple[Row, Row]:
        """Stimulus, then response."""
        return drawn_rows(self.stimulus, self.response, self.limit, self.response_label)

    @property
    def peak_text(self) -> str:
        """Value and time of the peak."""
        time = style.milliseconds(1000 * self.peak_frame * self.dt)
        return f"peak {style.number(self.peak_response)} at {time} ms"


def select_strip(
    stimulus: ArrayLike,
    response: ArrayLike,
    lattice: HexLattice,
    dt: float,
    options: StripOptions | None = None,
    *,
    column: int | None = None,
    peak_frame: int | None = None,
) -> Strip:
    """Select the last frames before the peak of a response; arguments as `plot_stim_response`.

    Raises:
        ValueError: for arrays that do not fit each other or the lattice, a stimulus that is not
            finite, or a response without any number in the column that has the peak.
    """
    options = options or StripOptions()
    stimulus, response = checked_pair(stimulus, response, lattice)
    trace = response[:, lattice.center if column is None else column]
    peak = find_peak(trace, peak_frame)
    frames = strip_frames(peak, dt, options.seconds, options.n_strips, stimulus)
    shown = (response - baseline_values(response, options.baseline, lattice))[frames]
    return Strip(
        lattice=lattice,
        max_extent=options.max_extent,
        dt=dt,
        frames=frames,
        stimulus=stimulus[frames],
        response=shown,
        response_label=response_label(options.baseline),
        peak_response=float(trace[peak]),
        limit=symmetric_limit(shown, lattice, options.max_extent),
    )


def drawn_rows(stimulus: Floats, response: Floats, limit: float, label: str) -> tuple[Row, Row]:
    """Stimulus in grey from 0 to 1, and response in colours symmetric about zero."""
    return (
        Row("stimulus", stimulus, 0.0, 1.0, style.STIMULUS_CMAP, style.LUMINANCE_LABEL),
        Row("response", response, -limit, limit, style.RESPONSE_CMAP, label),
    )


def checked_pair(
    stimulus: ArrayLike, response: ArrayLike, lattice: HexLattice
) -> tuple[Floats, Floats]:
    """Stimulus and response as float64 `(frames, columns)`.

    Raises:
        ValueError: if they do not fit each other or the lattice, or the stimulus is not finite.
    """
    stimulus = np.asarray(stimulus, dtype=np.float64)
    response = np.asarray(response, dtype=np.float64)
    advice = f"pass one item and its lattice (extent {lattice.extent} here)"
    for name, array in (("stimulus", stimulus), ("response", response)):
        expect.shape(f"a {name} of shape", array, ("frames", lattice.n_columns), advice)
    expect.that(
        len(stimulus) == len(response),
        "as many frames of response as of stimulus",
        f"{len(response)} and {len(stimulus)}",
        "cut both to the same stretch",
    )
    expect.finite("stimulus", stimulus, "cut off the frames that were not shown")
    return stimulus, response


def find_peak(trace: Floats, peak_frame: int | None = None) -> int:
    """Frame of the largest response `(frames,)`; a frame passed in is checked and returned.

    Raises:
        ValueError: if no response is a number, or the frame is out of range.
    """
    if peak_frame is not None:
        expect.whole("peak_frame", peak_frame, "count from 0", at_most=len(trace) - 1)
        return int(peak_frame)
    expect.that(
        not np.isnan(trace).all(),
        "a response in the column that has the peak",
        "only NaN",
        "choose a column with a cell of this type; if it has one, the simulation has diverged",
    )
    return int(np.nanargmax(trace))


def strip_frames(
    peak_frame: int, dt: float, seconds: float, n_strips: int, stimulus: Floats | None = None
) -> Ints:
    """At most `n_strips` frames, evenly spaced over the last `seconds`, the last at the peak.

    Frames before stimulus onset are left out, so an early peak gives fewer frames at the same
    spacing. If a flash falls between the frames, so that one of the last `n_strips` has more than
    twice the contrast of all those drawn, the last `n_strips` are drawn instead.

    Args:
        peak_frame: the last one.
        dt: duration of a frame in seconds.
        seconds: how far back from the peak to go.
        n_strips: largest number of frames.
        stimulus: luminance, `(frames, columns)`; without it no flash is looked for.

    Raises:
        ValueError: if `seconds` is shorter than one frame or `n_strips` is not positive.
    """
    window = Protocol(dt=dt).frames(seconds)
    expect.that(
        window >= 1 and n_strips >= 1,
        f"at least one frame of {dt} s and one strip",
        f"{seconds} s and {n_strips} strips",
        "take a longer stretch",
    )
    spacing = -(-window // n_strips)
    first = max(-1, peak_frame - window)
    even = np.arange(peak_frame, first, -spacing, dtype=np.int64)[::-1]
    if stimulus is None:
        return even
    last = np.arange(max(0, peak_frame - n_strips + 1), peak_frame + 1)
    contrast = np.abs(stimulus - GREY).sum(axis=1)
    return last if contrast[last].max() > 2 * contrast[even].max() else even


def baseline_values(response: Floats, baseline: bool | ArrayLike, lattice: HexLattice) -> Floats:
    """Values to subtract from the response `(frames, columns)`, as `(columns,)`.

    Raises:
        ValueError: if an array has neither one value nor one per column.
    """
    if isinstance(baseline, (bool, np.bool_)):
        return response[0] if baseline else np.zeros(lattice.n_columns)
    values = np.asarray(baseline, dtype=np.float64)
    expect.that(
        values.shape in ((), (lattice.n_columns,)),
        f"a baseline of one number or of shape ({lattice.n_columns},)",
        values.shape,
        "pass one value per column, True or False",
    )
    return np.broadcast_to(values, (lattice.n_columns,))


def symmetric_limit(response: Floats, lattice: HexLattice, max_extent: int | None) -> float:
    """Largest finite magnitude in the drawn columns, or 1 if there is none above zero."""
    values = response[:, drawn_columns(lattice, max_extent)]
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    return largest if largest > 0 else 1.0


def response_label(baseline: bool | ArrayLike) -> str:
    """Name and unit of the response, with a delta where a baseline is subtracted."""
    absolute = isinstance(baseline, (bool, np.bool_)) and not baseline
    return style.RESPONSE_LABEL if absolute else f"\N{INCREMENT} {style.RESPONSE_LABEL}"
