"""Parametrizations whose luminance is filtered in time and space, as what a display shows is.

The response to filtered pixels is piecewise affine in the pixels, as that to luminance is: steps
toward the optimum of a region are taken by the pixels, and all else sees the luminance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stimopt import expect
from stimopt.lattice import DEGREES_PER_COLUMN, Floats, HexLattice, acceptance_at
from stimopt.protocol import GREY, Protocol
from stimopt.storage.identity import digest


@dataclass(frozen=True, eq=False, repr=False)
class Filtered:
    """Pixels in [0, 1], which a cell's column sees through linear filters.

    luminance = time @ parameters @ space^T + rest, cut to [0, 1].

    Args:
        time: weight of every frame in every frame seen, `(frames, frames)`; a hold or a mean.
        space: weight of every column in every column seen, `(columns, columns)`; a blur.
        rest: what columns see besides, `(columns,)` or `(frames, columns)`.
        still: frames at the beginning that stay grey.

    Raises:
        ValueError: for shapes that do not fit each other.

    Example:
        >>> import torch
        >>> halves = Filtered(torch.eye(3), torch.full((2, 2), 0.5), torch.zeros(2))
        >>> halves.luminance(torch.tensor([[[0.0, 1.0]] * 3]))[0, 0]
        tensor([0.5000, 0.5000])
    """

    time: Tensor
    space: Tensor
    rest: Tensor
    still: int = 0

    def __post_init__(self) -> None:
        frames, columns = len(self.time), self.rest.shape[-1]
        advice = "build them for one stimulus"
        expect.shape("time", self.time, (frames, frames), advice)
        expect.shape("space", self.space, (columns, columns), advice)
        expect.whole("still", self.still, "0 moves all frames", at_most=frames - 1)

    def __repr__(self) -> str:
        filters = digest(self.time, self.space, self.rest)
        return f"Filtered({filters}, still={self.still})"

    def parameters(self, luminance: Tensor) -> Tensor:
        """The pixels."""
        return luminance.clone()

    def luminance(self, parameters: Tensor) -> Tensor:
        """What the columns see."""
        return self.seen(parameters).clamp(0.0, 1.0)

    def seen(self, parameters: Tensor) -> Tensor:
        """The same before it is cut."""
        time, space, rest = (part.to(parameters) for part in (self.time, self.space, self.rest))
        return time @ parameters @ space.T + rest

    def project_(self, parameters: Tensor) -> None:
        """Clamp to [0, 1], and set the still frames to grey."""
        parameters.clamp_(0.0, 1.0)
        parameters[:, : self.still] = GREY


class Bandlimited(Filtered):
    """Filters of a `Bandwidth`; what they pass stands for the pixels that it came from."""

    def parameters(self, luminance: Tensor) -> Tensor:
        """Pixels whose luminance is nearest to this one, by least squares, cut to [0, 1]."""
        seen = (luminance - self.rest.to(luminance)).double()
        time, space = (torch.linalg.pinv(m.double(), rtol=1e-4) for m in (self.time, self.space))
        pixels = time.to(seen) @ seen @ space.to(seen).T
        # Pixels that were black or white are so again, whatever the rounding.
        whole: Tensor = (GREY + (1 + 1e-3) * (pixels - GREY)).clamp(0.0, 1.0).to(luminance)
        return whole

    def luminance(self, parameters: Tensor) -> Tensor:
        """What the columns see; rounding past 0 and 1 is cut and leaves the gradient alone."""
        seen = self.seen(parameters)
        return seen.detach().clamp(0.0, 1.0) + (seen - seen.detach())


@dataclass(frozen=True)
class Bandwidth:
    """What a display or an eye passes of the pixels; 0 leaves a filter out.

    Around the lattice, and before the first frame, all is grey.

    Args:
        t_hold: seconds for which a display holds each picture.
        t_lowpass: time constant of a low-pass of first order, in seconds, by the Euler step with
            which the network's own cells are simulated.
        acceptance: width at half height, in degrees, of the Gaussian with which a column sees its
            neighbours; a column is 5.8 degrees wide.

    Raises:
        ValueError: for a number that is negative or too large.

    Example:
        >>> import stimopt
        >>> network, coarse = stimopt.builtin_network(extent=3), Bandwidth(t_hold=0.05)
        >>> fit = stimopt.ResponseRange(network, "T4c", t_stim=0.1, bandwidth=coarse)
        >>> stimulus = stimopt.fit(fit)["stimulus"][0]
        >>> bool((stimulus[:5] == stimulus[0]).all())
        True
    """

    t_hold: float = 0.0
    t_lowpass: float = 0.0
    acceptance: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("t_hold", 10), ("t_lowpass", 10), ("acceptance", 90)):
            advice = "0 leaves that filter out"
            expect.number(name, getattr(self, name), advice, at_least=0, at_most=most)

    def filters(self, lattice: HexLattice, protocol: Protocol, n_frames: int) -> Bandlimited:
        """The filters for stimuli of one length on a lattice."""
        time = lowpass(n_frames, self.t_lowpass, protocol) @ hold(n_frames, self.t_hold, protocol)
        space = acceptance(lattice, self.acceptance)
        seen = time.sum(dim=1)[:, None] * space.sum(dim=1)
        return Bandlimited(time, space, GREY * (1 - seen))


def hold(n_frames: int, seconds: float, protocol: Protocol) -> Tensor:
    """Each picture is shown for so many frames from the onset on, `(frames, frames)`.

    The pixels of a picture are those of all its frames alike, so that each has its part in it.
    """
    frame = torch.arange(n_frames)
    picture = frame // max(protocol.frames(seconds), 1)
    together = (picture[:, None] == picture).float()
    return together / together.sum(dim=1, keepdim=True)


def lowpass(n_frames: int, seconds: float, protocol: Protocol) -> Tensor:
    """y_t = y_{t-1} + a (x_t - y_{t-1}), a = dt / max(time constant, dt): `(frames, frames)`."""
    a = protocol.dt / max(seconds, protocol.dt)
    age = torch.arange(n_frames)[:, None] - torch.arange(n_frames)
    return torch.where(age >= 0, a * (1 - a) ** age.clamp(min=0), 0.0).float()


def acceptance(lattice: HexLattice, width: float) -> Tensor:
    """Gaussian weights between columns, `(columns, columns)`; each row sums to 1 far from the edge.

    Args:
        lattice: of the columns.
        width: degrees at half height; 0 is none.
    """
    if width == 0:
        return torch.eye(lattice.n_columns)
    reach = math.ceil(2 * width / DEGREES_PER_COLUMN) + 1
    whole = _bell(HexLattice(2 * reach).positions(), np.zeros((1, 2)), width).sum()
    places = lattice.positions()
    return torch.as_tensor(_bell(places, places, width) / whole, dtype=torch.float32)


def _bell(a: Floats, b: Floats, width: float) -> Floats:
    """Gaussian of the distances between places `(n, 2)` and `(m, 2)` in columns, `(n, m)`."""
    degrees = DEGREES_PER_COLUMN * np.linalg.norm(a[:, None] - b[None], axis=2)
    return acceptance_at(degrees, width)
