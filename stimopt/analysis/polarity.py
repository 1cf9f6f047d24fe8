"""Whether brightening or darkening drives a response."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.analysis.central_response import checked_stimulus
from stimopt.analysis.indices import opponent_index
from stimopt.analysis.shown import ShownStimuli, peak_gradient
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY, Protocol

DRIVE_SECONDS = 0.12
"""Window before the peak in which changes count as the exciting edge. Optima show the opposite
contrast first; at 0.2 s its onset counts as much as the edge. From 0.1 to 0.15 s the sign hardly
depends on the window."""
PATH_STEPS = 16
"""Points on the path from grey at which the gradient is averaged; more change the sums little."""


@dataclass(frozen=True)
class ChangeDrive:
    """Contributions of rises and falls of luminance to a response, in voltage.

    Attributes:
        on: contribution of rises; negative if they suppress.
        off: contribution of falls.
    """

    on: float
    off: float

    @property
    def polarity_index(self) -> float:
        """(ON - OFF) / (ON + OFF) of the contributions that excite; NaN if none does."""
        return float(opponent_index(self.on, self.off))


def change_drive(
    network: ResponseModel,
    stimulus: ArrayLike,
    cell_type: str,
    protocol: Protocol,
    frame: int,
    *,
    position: int = 0,
    seconds: float = DRIVE_SECONDS,
) -> ChangeDrive:
    """Attribute the central response in a frame to the rises and falls before it.

    With g the gradient of that response with respect to luminance, averaged on the path from grey
    to the stimulus, a change by d of a column in frame t contributes d times the sum of g from t
    on. Contributions are summed by the sign of d. Over a whole stimulus the two sums together are
    the difference from the response to grey in the same frame (integrated gradients; Sundararajan
    et al., ICML 2017). The gradient at the stimulus alone would be zero where black or white
    silences a cell on the way.

    The motion of rises and falls in the stimulus (`stimulus_motion`) is no substitute: it counts
    changes that cannot reach the cell in time, such as an optimum's return to grey at its end.

    Args:
        network: simulated; must pass a gradient.
        stimulus: luminance, `(frames, columns)`.
        cell_type: cell type whose central cell is read.
        protocol: pre-stimulus and duration of a frame.
        frame: frame of the response, such as its peak, from 0.
        position: which of the networks.
        seconds: how far back changes count.

    Raises:
        ValueError: for an unknown cell type or network, or a stimulus or frame that does not fit.
    """
    luminance = checked_stimulus(stimulus, network.lattice)
    expect.whole("frame", frame, "count from 0", at_most=len(luminance) - 1)
    shown = luminance[: frame + 1]
    share = (np.arange(PATH_STEPS) + 0.5)[:, None, None] / PATH_STEPS
    path = torch.as_tensor(GREY + share * (shown - GREY), dtype=torch.float32)
    every = partial(torch.full, (PATH_STEPS,))
    of_path = ShownStimuli(
        luminance=path,
        lengths=every(frame + 1),
        cells=every(network.cell_index(cell_type)),
        cell_types=np.full(PATH_STEPS, cell_type),
        columns=every(network.lattice.center),
        networks=every(position),
        signs=every(1),
        protocol=dataclasses.replace(protocol, baseline="absolute"),
    )
    gradient = peak_gradient(network, of_path, of_path.lengths - 1).mean(axis=0, dtype=np.float64)
    lasting = np.cumsum(gradient[::-1], axis=0)[::-1]
    start = max(0, frame + 1 - protocol.frames(seconds))
    change = np.diff(shown, axis=0, prepend=GREY)[start:]
    part = change * lasting[start:]
    return ChangeDrive(on=float(part[change > 0].sum()), off=float(part[change < 0].sum()))
