"""Whether the Euler step suits a network: stable, and finer than its cells' time constants.

One step is V <- V + a (-V + b + W max(V, 0) + x) with a = dt / max(tau, dt) for each cell. A small
deviation from the steady state at grey is carried on by the matrix

    M(dt) = I + A (-I + W G),   A = diag(a),   G = diag(V > 0),

and dies out if all eigenvalues of M lie inside the unit circle. An eigenvalue outside it with a
real part below 1 is of the step's making: the equation itself lets that deviation decay, and a
shorter step does too. One with a real part above 1 grows in the equation as well; some trained
networks have such slow modes, and no step is to blame for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY, Protocol

DIMENSIONS = 40
"""Of the Krylov space in which eigenvalues are sought: those that a step makes unstable lie at the
rim of the spectrum and are found first. Five trained networks at 50 to 200 ms are told stable or
not as with 100; on 721 columns 40 products take 0.5 s."""

REFINED_DIMENSIONS = 80
"""The same where the limit itself is sought, which is then good to a per cent."""

SETTLING = 1.0
"""Seconds of grey after which the linearization is made, as many as the default pre-stimulus."""

ALIKE = 1 + 1e-5
"""A time constant of 10 ms held in float32 is not shorter than a step of 10 ms."""


def check_step(
    network: ResponseModel, protocol: Protocol, networks: Iterable[int] | None = None
) -> None:
    """Refuse a step at which the simulation is unstable, and warn of one that is coarse.

    Only `FrozenNetwork` is checked: other modules do not integrate by this step.

    Args:
        network: to be simulated.
        protocol: has the step.
        networks: positions of the networks that will be used; None is all.

    Raises:
        ValueError: naming the largest stable step.
    """
    if not isinstance(network, FrozenNetwork):
        return
    positions = sorted(set(range(network.n_networks) if networks is None else networks))
    for position in positions:
        linear = LinearizedNetwork(network, position, GREY)
        if linear.growth(protocol.dt) > 1:
            raise ValueError(
                f"expected dt of at most {_rounded_down(linear.largest_stable_step()):g} s, the "
                f"largest stable step of {network.names[position]}, got {protocol.dt:g} s; "
                "set protocol.dt to 0.01"
            )
    for position in positions:
        _warn_if_coarse(network, position, protocol.dt)


def faster_types(network: FrozenNetwork, position: int, dt: float) -> list[str]:
    """Cell types whose time constant is shorter than a step: they follow their input at once."""
    time_const = network.time_const[position].tolist()
    return [
        name for name, tau in zip(network.cell_types, time_const, strict=True) if dt > tau * ALIKE
    ]


class LinearizedNetwork:
    """One step of a network around its steady state at grey, in float64.

    Args:
        network: the networks.
        position: which of them.
        grey: luminance of the steady state.
    """

    def __init__(self, network: FrozenNetwork, position: int = 0, grey: float = GREY) -> None:
        layout = network.layout
        type_of_cell = torch.as_tensor(layout.type_of_cell)
        self.time_const = network.time_const[position].detach().cpu().double()[type_of_cell]
        self._bias = network.bias[position].detach().cpu().double()[type_of_cell]
        self._bias[torch.as_tensor(layout.input_cells[0])] += grey
        weights = network.tap_weight[position].detach().cpu().double().numpy()
        self._weights = _matrix(*layout.synapses, weights, layout.n_cells)
        self._active = (self._settled() > 0).double()

    def step(self, deviation: Tensor, dt: float) -> Tensor:
        """M(dt) applied to a deviation from the steady state, `(cells,)`."""
        leak = dt / torch.clamp(self.time_const, min=dt)
        return deviation + leak * (self._weights @ (self._active * deviation) - deviation)

    def growth(self, dt: float, dimensions: int = DIMENSIONS) -> float:
        """Largest factor by which a step multiplies a deviation that the equation lets decay.

        The largest modulus of the eigenvalues of M(dt) with a real part below 1; the step is
        stable if it is at most 1.

        Args:
            dt: the step in seconds.
            dimensions: of the Krylov space.
        """
        found = _rim_eigenvalues(lambda x: self.step(x, dt), len(self.time_const), dimensions)
        found = found[found.real < 1]
        return float(np.abs(found).max()) if len(found) else 0.0

    def largest_stable_step(self, at_most: float = 10.0) -> float:
        """The step in seconds above which the simulation is unstable, to within a per cent.

        Args:
            at_most: given back if steps up to this are all stable: from the largest time constant
                on, a longer step is the same step.
        """
        # Half the shortest time constant as the first guess: most networks are stable there.
        stable, unstable = float(self.time_const.min()) / 2, 0.0
        for _ in range(20):
            if self.growth(stable, REFINED_DIMENSIONS) <= 1:
                break
            unstable, stable = stable, stable / 2
        while not unstable:
            if stable >= min(at_most, 2 * float(self.time_const.max())):
                return at_most
            if self.growth(2 * stable, REFINED_DIMENSIONS) > 1:
                unstable = 2 * stable
            else:
                stable *= 2
        while unstable > 1.01 * stable:
            middle = (stable * unstable) ** 0.5
            if self.growth(middle, REFINED_DIMENSIONS) > 1:
                unstable = middle
            else:
                stable = middle
        return stable

    def _settled(self) -> Tensor:
        """Voltage after a second of grey from the bias."""
        dt = max(float(self.time_const.min()) / 2, SETTLING / 1000)
        for _ in range(5):
            state = self._after_grey(dt)
            drift = self._bias - state + self._weights @ torch.relu(state)
            # Trained networks come to within 0.03; where steps overshoot it is 0.5 and more.
            if drift.norm() <= 0.1 * state.norm():
                break
            dt /= 2
        return state

    def _after_grey(self, dt: float) -> Tensor:
        leak = dt / torch.clamp(self.time_const, min=dt)
        state = self._bias.clone()
        for _ in range(round(SETTLING / dt)):
            state += leak * (self._bias - state + self._weights @ torch.relu(state))
        return state


def _warn_if_coarse(network: FrozenNetwork, position: int, dt: float) -> None:
    types = faster_types(network, position, dt)
    if types:
        shortest = float(network.time_const[position].min())
        named = ", ".join(types[:4]) + (", ..." if len(types) > 4 else "")
        warnings.warn(
            f"dt = {1000 * dt:g} ms is longer than the time constant of {len(types)} of "
            f"{len(network.cell_types)} cell types of {network.names[position]} ({named}; the "
            f"shortest is {1000 * shortest:.3g} ms): these follow their input at once, and "
            "responses differ from those at shorter steps by more than in proportion to dt; "
            "0.01 s suits the published networks",
            stacklevel=3,
        )


def _rim_eigenvalues(apply: Any, n: int, dimensions: int) -> NDArray[np.complex128]:
    """Eigenvalues at the rim of the spectrum of a linear map, by Arnoldi's method.

    Orthogonalized twice (Giraud et al., Numer. Math. 2005), so that the basis stays orthogonal to
    rounding. Started from noise, which has a part of every eigenvector.
    """
    dimensions = min(dimensions, n)
    basis = torch.zeros((dimensions + 1, n), dtype=torch.float64)
    start = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis[0] = start / start.norm()
    hessenberg = np.zeros((dimensions + 1, dimensions))
    for j in range(dimensions):
        image = apply(basis[j])
        before = float(image.norm())
        for _ in range(2):
            part = basis[: j + 1] @ image
            image = image - part @ basis[: j + 1]
            hessenberg[: j + 1, j] += part.numpy()
        rest = float(image.norm())
        if rest <= 1e-12 * before:
            # The space is invariant: its eigenvalues are exact, and there is nowhere to go on.
            return np.linalg.eigvals(hessenberg[: j + 1, : j + 1]).astype(np.complex128)
        hessenberg[j + 1, j] = rest
        basis[j + 1] = image / rest
    return np.linalg.eigvals(hessenberg[:dimensions]).astype(np.complex128)


def _matrix(
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    tap: NDArray[np.int64],
    tap_weight: NDArray[np.float64],
    n: int,
) -> Tensor:
    """W as a compressed sparse row matrix, `(cells, cells)`."""
    order = np.argsort(target, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=n))])
    with warnings.catch_warnings():
        # torch calls this layout a beta at every first use; eigenvalues are tested against LAPACK.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.as_tensor(starts.astype(np.int32)),
            torch.as_tensor(source[order].astype(np.int32)),
            torch.as_tensor(tap_weight[tap[order]]),
            size=(n, n),
            check_invariants=False,
        )


def _rounded_down(seconds: float) -> float:
    """To two significant digits, so that the step named is itself stable."""
    unit = 10.0 ** (np.floor(np.log10(seconds)) - 1)
    return float(np.floor(seconds / unit) * unit)
