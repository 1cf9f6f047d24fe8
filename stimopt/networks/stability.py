"""Whether a network can be simulated: its largest stable step, and a probe for voltages that grow.

One step is V <- V + a (-V + b + W max(V, 0) + x) with a = dt / max(tau, dt) for each cell. A small
deviation from the steady state at grey is multiplied at each step by the matrix

    M(dt) = I + A (-I + W G),   A = diag(a),   G = diag(V > 0),

and dies out if all eigenvalues of M lie inside the unit circle. An eigenvalue outside it with a
real part below 1 is an artefact of the step: in the equation that deviation decays, and so it does
at a shorter step. One with a real part above 1 grows in the equation as well; some trained networks
have such slow modes, and no step removes them.

Whether they matter, and what is not linear, is asked of the simulation itself: it is shown grey,
then edges that cross the lattice, then grey again, and its voltages must come to rest.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stimopt.dynamics.layout import CellLayout, leak_of
from stimopt.dynamics.sparse import csr_matrix, csr_order
from stimopt.lattice import HexLattice
from stimopt.protocol import GREY, MIN_DT

DIMENSIONS = 40
"""Of the Krylov space in which eigenvalues are sought: those that a step makes unstable lie at the
rim of the spectrum and are found first. The trained networks are classified as with 100."""

REFINED_DIMENSIONS = 80
"""The same for the search of the largest stable step, which is then good to a per cent."""

LONGEST_STEP = 10.0
"""Seconds. From the largest time constant on, a longer step is the same step."""

SETTLING = 1.0
"""Seconds of grey after which the linearization is made, as many as the default pre-stimulus."""

FASTER = 1.1
"""Voltages grow if they change so many times faster in the second half of a second of grey than in
the first. Voltages that come to rest, however slowly, change less and less."""

AT_REST = 0.01
"""Change in a second, relative to the largest voltage and 1, that counts as rest."""

Advance = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From luminance `(items, frames, columns)` and state `(items, cells)` to the voltages of some
cells `(items, frames, k)` and the last state."""


class Stability(enum.Enum):
    """Whether a network can be simulated at a step; the value is the text for people."""

    STABLE = "stable"
    STEP = "the step is longer than its largest stable one"
    NOT_FINITE = "its voltages leave the finite numbers"
    GROWS = "its voltages grow over a second of grey"
    GROWS_AFTER = "its voltages keep growing after a stimulus has ended"


def probe(advance: Advance, rest: Tensor, lattice: HexLattice, dt: float) -> Stability:
    """Show a network grey, then edges, then grey again, and see whether it comes to rest.

    Args:
        advance: simulates the network.
        rest: voltage after a second of grey, `(1, cells)`.
        lattice: of the network.
        dt: the step in seconds.

    Returns:
        Any but `STEP`.
    """
    half = max(round(0.5 / dt), 2)
    grey = rest.new_full((1, 2 * half, lattice.n_columns), GREY)
    grows = _grows(advance(grey, rest)[0], dt)
    if grows is not Stability.STABLE:
        return grows
    moving = torch.as_tensor(crossing_edges(lattice, 2 * half)).to(rest)
    grey = grey.expand(len(moving), -1, -1)
    _, state = advance(moving, rest.expand(len(moving), -1))
    # What the stimulus itself evoked is over half a second later.
    _, state = advance(grey[:, :half], state)
    grows = _grows(advance(grey, state)[0], dt)
    return Stability.GROWS_AFTER if grows is Stability.GROWS else grows


def crossing_edges(lattice: HexLattice, n_frames: int) -> NDArray[np.float32]:
    """ON and OFF edges of full contrast that cross the lattice to four sides.

    Returns:
        Luminance 0 or 1, `(8, frames, columns)`.
    """
    front = (lattice.extent + 1) * np.linspace(-1, 1, n_frames)
    x, y = lattice.positions().T
    passed = np.stack([along <= front[:, None] for along in (x, -x, y, -y)])
    return np.concatenate([passed, ~passed]).astype(np.float32)


def _grows(voltages: Tensor, dt: float) -> Stability:
    """Of voltages during grey, `(items, frames, cells)`, by the speed of the fastest cell."""
    if not voltages.isfinite().all():
        return Stability.NOT_FINITE
    speed = voltages.diff(dim=1).abs().amax(2) / dt
    first, second = (part.amax(1) for part in speed.tensor_split(2, dim=1))
    moves = second > AT_REST * (1 + voltages.abs().amax((1, 2)))
    return Stability.GROWS if bool((moves & (second > FASTER * first)).any()) else Stability.STABLE


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
        leak = leak_of(self.time_const, dt)
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
        return float(np.abs(rim[rim.real < 1]).max(initial=0.0))

    def largest_stable_step(self) -> float:
        """The step in seconds above which the simulation is unstable, to within a per cent.

        `LONGEST_STEP` if that is stable.
        """
        stable, unstable = LONGEST_STEP, 0.0
        while not self._is_stable(stable):
            stable, unstable = stable / 2, stable
        while unstable > 1.01 * stable:
            middle = (stable * unstable) ** 0.5
            if self._is_stable(middle):
                stable = middle
            else:
                unstable = middle
        return stable

    def _is_stable(self, dt: float) -> bool:
        # The shortest steps are stable but for rounding.
        return dt < MIN_DT or self.growth(dt, REFINED_DIMENSIONS) <= 1

    def _settled(self) -> Tensor:
        """Voltage after a second of grey from the bias."""
        dt = max(float(self.time_const.min()) / 2, SETTLING / 1000)
        for _ in range(5):
            leak, state = leak_of(self.time_const, dt), self._drive
            for _ in range(round(SETTLING / dt)):
                state = state + leak * self._drift(state)
            # Trained networks come to within 0.03; where steps overshoot it is 0.5 and more.
            if self._drift(state).norm() <= 0.1 * state.norm():
                break
            dt /= 2
        return state

    def _drift(self, state: Tensor) -> Tensor:
        return self._drive - state + self._weights @ torch.relu(state)


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
            dimensions = j + 1
            break
        hessenberg[j + 1, j] = rest
        basis[j + 1] = image / rest
    return np.linalg.eigvals(hessenberg[:dimensions, :dimensions]).astype(np.complex128)
