"""Stability of the Euler step: the network linearized at grey, and its largest stable step.

One step is V <- V + a (-V + b + W max(V, 0) + x) with a = dt / max(tau, dt) for each cell. A small
deviation from the steady state at grey is multiplied at each step by the matrix

    M(dt) = I + A (-I + W G),   A = diag(a),   G = diag(V > 0),

and dies out if all eigenvalues of M lie inside the unit circle. An eigenvalue outside it with a
real part below 1 is an artefact of the step: in the equation that deviation decays, and so it does
at a shorter step. One with a real part above 1 grows in the equation as well; some trained networks
have such slow modes, and no step removes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt.dynamics.layout import CellLayout
from stimopt.dynamics.sparse import csr_matrix, csr_order
from stimopt.protocol import GREY

DIMENSIONS = 40
"""Of the Krylov space in which eigenvalues are sought: those that a step makes unstable lie at the
rim of the spectrum and are found first. The trained networks are classified as with 100."""

REFINED_DIMENSIONS = 80
"""The same for the search of the largest stable step, which is then good to a per cent."""

SETTLING = 1.0
"""Seconds of grey after which the linearization is made, as many as the default pre-stimulus."""


class LinearizedNetwork:
    """One step of a network around its steady state at grey, in float64.

    Args:
        layout: cells and synapses.
        bias: resting potential, `(types,)`.
        time_const: membrane time constant in seconds, `(types,)`.
        tap_weight: signed weight of every tap, `(taps,)`.
    """

    def __init__(
        self, layout: CellLayout, bias: Tensor, time_const: Tensor, tap_weight: Tensor
    ) -> None:
        type_of_cell = torch.as_tensor(layout.type_of_cell)
        self.time_const = time_const.detach().cpu().double()[type_of_cell]
        self._drive = bias.detach().cpu().double()[type_of_cell]
        self._drive[torch.as_tensor(layout.input_cells[0])] += GREY
        source, target, tap = layout.synapses
        order = csr_order(target, source, tap, layout.n_cells)
        self._weights = csr_matrix(order, tap_weight.detach().cpu().double())
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
        rim = _rim_eigenvalues(lambda x: self.step(x, dt), len(self.time_const), dimensions)
        decaying = rim[rim.real < 1]
        return float(np.abs(decaying).max()) if len(decaying) else 0.0

    def largest_stable_step(self, at_most: float = 10.0) -> float:
        """The step in seconds above which the simulation is unstable, to within a per cent.

        Args:
            at_most: returned if steps up to this are all stable: from the largest time constant
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
            drift = self._drive - state + self._weights @ torch.relu(state)
            # Trained networks come to within 0.03; where steps overshoot it is 0.5 and more.
            if drift.norm() <= 0.1 * state.norm():
                break
            dt /= 2
        return state

    def _after_grey(self, dt: float) -> Tensor:
        leak = dt / torch.clamp(self.time_const, min=dt)
        state = self._drive.clone()
        for _ in range(round(SETTLING / dt)):
            state += leak * (self._drive - state + self._weights @ torch.relu(state))
        return state


def _rim_eigenvalues(
    apply: Callable[[Tensor], Tensor], n: int, dimensions: int
) -> NDArray[np.complex128]:
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
            # The space is invariant: its eigenvalues are exact, and it cannot grow.
            return np.linalg.eigvals(hessenberg[: j + 1, : j + 1]).astype(np.complex128)
        hessenberg[j + 1, j] = rest
        basis[j + 1] = image / rest
    return np.linalg.eigvals(hessenberg[:dimensions]).astype(np.complex128)
