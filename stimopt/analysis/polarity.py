"""What drives a cell at its peak: brightening or darkening."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stimopt.analysis.asking import checked_stimulus, device_of
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY, Protocol

Floats = NDArray[np.float64]

DRIVE_SECONDS = 0.12
"""How long before the peak a change still is the front that excites, not what prepared for it.
Optima show the opposite contrast first; at 0.2 s its onset counts as much as the front's. From 0.1
to 0.15 s the sign is the same for all T4 and T5 of the circuit and four trained networks, but for
one that is at 0 with 0.1 s."""
PATH_STEPS = 16
"""Points on the way from grey: the sums meet the responses of T4 and T5 to their optima within 3 %
of what rises and falls bring about; 64 points move them by less than 1 %."""


@dataclass(frozen=True)
class ChangeDrive:
    """How much of a response rises and falls of luminance bring about, in voltage.

    Attributes:
        on: brought about by rises; negative if they suppress.
        off: by falls.
    """

    on: float
    off: float

    @property
    def polarity_index(self) -> float:
        """(ON - OFF) / (ON + OFF) of what excites; NaN where neither does."""
        on, off = max(self.on, 0.0), max(self.off, 0.0)
        return (on - off) / (on + off) if on + off > 0 else float("nan")


def change_drive(
    network: ResponseModel,
    stimulus: ArrayLike,
    cell_type: str,
    protocol: Protocol,
    frame: int,
    *,
    network_position: int = 0,
    seconds: float = DRIVE_SECONDS,
) -> ChangeDrive:
    """Attribute the central response in a frame to the rises and falls before it.

    With g the gradient of that response with respect to luminance, averaged on the way from grey to
    the stimulus, a change by d of a column in frame t contributes d times the sum of g from t on.
    Contributions are added up by the sign of d. Over a whole stimulus the two sums together are the
    difference from the response to grey in the same frame (integrated gradients; Sundararajan et
    al., ICML 2017). The gradient at the stimulus alone would be zero where black or white shuts a
    cell on the way.

    The motion of rises and falls in the stimulus was tried first. It counts changes that cannot
    reach the cell in time, such as an optimum's return to grey in its last frames.

    Args:
        network: asked; must pass a gradient.
        stimulus: luminance, `(frames, columns)`.
        cell_type: whose central cell.
        protocol: pre-stimulus and frame.
        frame: the frame of the response, such as its peak, from 0.
        network_position: which of the networks held.
        seconds: how far back changes count.

    Raises:
        ValueError: for a name, network, stimulus or frame that does not fit.
        RuntimeError: if no gradient arrives.
    """
    luminance = checked_stimulus(stimulus, network.lattice)
    if not 0 <= frame < len(luminance):
        raise ValueError(
            f"expected a frame within the {len(luminance)} of the stimulus, got {frame}; "
            "0 is the first"
        )
    shown = luminance[: frame + 1]
    gradient = _mean_gradient(network, shown, cell_type, protocol, network_position)
    lasting = np.cumsum(gradient[::-1], axis=0)[::-1]
    change = np.diff(shown, axis=0, prepend=GREY)
    start = max(0, frame + 1 - protocol.frames(seconds))
    part = (change * lasting)[start:]
    rising, falling = change[start:] > 0, change[start:] < 0
    return ChangeDrive(on=float(part[rising].sum()), off=float(part[falling].sum()))


def _mean_gradient(
    network: ResponseModel, shown: Floats, cell_type: str, protocol: Protocol, position: int
) -> Floats:
    """Of the response in the last frame, on the way from grey, `(frames, columns)`."""
    protocol = dataclasses.replace(protocol, baseline="absolute")
    device = device_of(network)
    share = (np.arange(PATH_STEPS) + 0.5)[:, None, None] / PATH_STEPS
    path = GREY + share * (shown - GREY)
    luminance = torch.as_tensor(path, dtype=torch.float32, device=device)
    cell = torch.tensor([network.cell_index(cell_type)], device=device)
    with torch.enable_grad():
        luminance.requires_grad_()
        index = torch.full((PATH_STEPS,), position, device=device)
        response = network.respond(luminance, protocol, cell, index)[:, -1, 0]
        if not response.requires_grad:
            raise RuntimeError(
                "expected a gradient from the response to the stimulus, got none; check that the "
                "network passes one"
            )
        (gradient,) = torch.autograd.grad(response.sum(), luminance)
    mean: Floats = gradient.double().mean(dim=0).cpu().numpy()
    return mean
