"""The connectome-constrained network of the fly's visual system, with nothing in it to train."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stimopt import expect
from stimopt.connectome import Connectome, NetworkParameters
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.select import choose_step
from stimopt.dynamics.simulate import Step, simulate
from stimopt.lattice import FLYVIS_EXTENT, HexLattice
from stimopt.networks.lesions import find_lesions
from stimopt.networks.model import ResponseModel, fade_in, select_cells
from stimopt.networks.precheck import (
    choose_stable,
    reached_types,
    refuse_step,
    warn_if_coarse,
    warn_of_unstable,
)
from stimopt.networks.stability import LinearizedNetwork, Stability, probe
from stimopt.protocol import GREY, Protocol
from stimopt.storage.identity import digest


class FrozenNetwork(ResponseModel):
    """The connectome-constrained network of the fly's visual system, with fixed parameters.

    Explicit Euler steps the voltages V of all cells; a response is a voltage:

        V_i <- V_i + dt / max(tau_i, dt) * (-V_i + b_i + sum_j w_ij max(V_j, 0) + x_i)

    tau is a time constant, b a bias, w_ij the weight of the synapses from cell j to cell i, and x
    the luminance at photoreceptors, else zero. See `stimopt.dynamics` for units and the adjoint.

    `builtin_network` and `flyvis_network` return such networks. One or several (parameter sets)
    share a connectome. Parameters are buffers: they follow the module's device and dtype and never
    train. Changes in place are noticed, unless they bypass torch by `.data` or NumPy.

    Args:
        connectome: cell types and taps.
        parameters: one entry for each network.
        extent: rings of columns around the centre.
        backend: `auto`, `sparse` or `fused`: how a step is computed, with the same results; see
            `stimopt.dynamics.select`.
        segment: recompute the forward pass in segments of this many frames when a gradient is
            computed, for stimuli too long for memory; None stores the whole pass.

    Raises:
        ValueError: without parameters, if some are not finite in float32, or for a bad option.
    """

    bias: Tensor
    time_const: Tensor
    tap_weight: Tensor

    def __init__(
        self,
        connectome: Connectome,
        parameters: Sequence[NetworkParameters],
        extent: int = FLYVIS_EXTENT,
        *,
        backend: str = "auto",
        segment: int | None = None,
    ) -> None:
        super().__init__()
        expect.that(parameters, "at least one set of parameters", "none", "name a network")
        expect.whole("segment", segment, "100 frames are usual", at_least=1, optional=True)
        self.connectome = connectome
        self.lattice = HexLattice(extent)
        self.layout = CellLayout(connectome, self.lattice)
        self.names = tuple(p.name for p in parameters)
        self.segment = segment
        self._backend = backend
        self._steps: dict[str, Step] = {}
        self._stability: dict[tuple[float, str], Stability] = {}
        self._hash: tuple[tuple[Any, ...], str] | None = None
        self._grey: tuple[tuple[Any, ...], Tensor] | None = None
        for field, rows in (
            ("bias", [p.bias for p in parameters]),
            ("time_const", [p.time_const for p in parameters]),
            ("tap_weight", [p.tap_weight(connectome) for p in parameters]),
        ):
            values = torch.as_tensor(np.stack(rows)).to(torch.float32)
            expect.finite(
                f"{field} of {', '.join(self.names)} in float32", values, "use other parameters"
            )
            self.register_buffer(field, values)
        self._step(torch.device("cpu"))  # Rejects an unknown backend here, not at first use.
        self.eval()

    @property
    def cell_types(self) -> tuple[str, ...]:
        """Names of the cell types."""
        return self.connectome.cell_types

    @property
    def n_cells(self) -> int:
        """Cells on the lattice."""
        return self.layout.n_cells

    def cells_of(self, cell_type: str) -> Tensor:
        """See `ResponseModel.cells_of`."""
        expect.one_of("cell type", cell_type, self.cell_types)
        return torch.as_tensor(self.layout.cell_index[self.connectome.type_index[cell_type]])

    def respond(
        self,
        luminance: Tensor,
        protocol: Protocol,
        readout: Tensor | None = None,
        network_index: Tensor | None = None,
        *,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        """Voltages under a protocol, `(items, frames, k)`; see `ResponseModel.respond`.

        Args:
            luminance: `(items, frames, columns)`, in [0, 1].
            protocol: how the stimulus is presented and its response read.
            readout: cells to report, `(k,)` for all items alike or `(items, k)`; None is all.
            network_index: the network of each item, `(items,)`; None is the first for all.
            initial_state: voltage at stimulus onset, `(items, cells)`, in place of the one after
                the protocol's pre-stimulus.

        Raises:
            ValueError: if a shape or an index does not fit the network.
        """
        if initial_state is None:
            initial_state = self.initial_state(luminance, protocol, network_index)
        voltages, _ = self._simulate(luminance, protocol, initial_state, network_index, readout)
        if protocol.baseline == "grey":
            voltages = voltages - select_cells(initial_state[:, None], readout)
        return voltages

    def initial_state(
        self, luminance: Tensor, protocol: Protocol, network_index: Tensor | None = None
    ) -> Tensor:
        """Voltage at stimulus onset, `(items, cells)`: from the bias through grey and fade-in.

        The fade-in leads to the first frame, so the gradient of that frame runs through it.
        """
        state = self._grey_state(protocol)[self._network_index(network_index, len(luminance))]
        if protocol.frames(protocol.t_fade_in) == 0:
            return state
        fade = fade_in(luminance.to(state.dtype), protocol)
        return self._simulate(fade, protocol, state, network_index, self._no_cells())[1]

    def _grey_state(self, protocol: Protocol) -> Tensor:
        """Voltages of every network after `t_pre` of grey, `(networks, cells)`.

        It is stored between calls, because a fit needs it at every step and it takes more frames
        than most stimuli.
        """
        n_frames = protocol.frames(protocol.t_pre)
        key = (n_frames, protocol.dt, self._versions())
        if self._grey is None or self._grey[0] != key:
            # A tensor created in inference mode could not enter a later backward pass.
            with torch.inference_mode(False), torch.no_grad():
                self._grey = (key, self._after_grey(protocol, n_frames))
        return self._grey[1]

    def _after_grey(self, protocol: Protocol, n_frames: int) -> Tensor:
        type_of_cell = torch.as_tensor(self.layout.type_of_cell, device=self.bias.device)
        state = self.bias.to(torch.promote_types(self.bias.dtype, torch.float32))[:, type_of_cell]
        if n_frames == 0:
            return state
        grey = state.new_full((self.n_networks, n_frames, self.lattice.n_columns), GREY)
        every_network = torch.arange(self.n_networks, device=state.device)
        return self._simulate(grey, protocol, state, every_network, self._no_cells())[1]

    def _simulate(
        self,
        luminance: Tensor,
        protocol: Protocol,
        initial_state: Tensor,
        network_index: Tensor | None,
        readout: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Voltages `(items, frames, k)` and the last state `(items, cells)`."""
        items, columns = len(luminance), self.lattice.n_columns
        fits = luminance.ndim == 3 and luminance.shape[2] == columns
        expected = f"floating-point luminance (items, frames, {columns}) for this network's lattice"
        got = f"{luminance.dtype} {tuple(luminance.shape)}"
        advice = "render or crop the stimulus to its extent"
        expect.that(fits and luminance.is_floating_point(), expected, got, advice)
        cells = (items, self.n_cells)
        expect.shape("an initial state", initial_state, cells, "initial_state() returns one")
        drive = Drive(
            bias=self.bias,
            time_const=self.time_const,
            tap_weight=self.tap_weight,
            network_index=self._network_index(network_index, items),
            dt=protocol.dt,
            readout=None if readout is None else self._readout(readout, items),
        )
        step = self._step(luminance.device)
        return simulate(step, drive, luminance, initial_state, segment=self.segment)

    def _network_index(self, network_index: Tensor | None, items: int) -> Tensor:
        if network_index is None:
            return torch.zeros(items, dtype=torch.int64, device=self.bias.device)
        index = network_index.to(self.bias.device, torch.int64)
        fits = index.shape == (items,) and _all_within(index, self.n_networks)
        expected = f"network_index ({items},) within 0 to {self.n_networks - 1}"
        expect.that(fits, expected, network_index.tolist(), "pass the position of each network")
        return index

    def _readout(self, readout: Tensor, items: int) -> Tensor:
        index = readout.to(self.bias.device, torch.int64)
        fits = index.ndim == 1 or (index.ndim == 2 and len(index) == items)
        expected = f"read-out cells (k,) or ({items}, k) within 0 to {self.n_cells - 1}"
        got = f"{tuple(index.shape)}, beginning {index.flatten()[:3].tolist()}"
        fits = fits and _all_within(index, self.n_cells)
        expect.that(fits, expected, got, "cell_index() returns one")
        return index.expand(items, -1)

    def _no_cells(self) -> Tensor:
        return torch.empty((0,), dtype=torch.int64, device=self.bias.device)

    def _step(self, device: torch.device) -> Step:
        if device.type not in self._steps:
            self._steps[device.type] = choose_step(self.layout, self._backend, device)
        return self._steps[device.type]

    def precheck(self, protocol: Protocol, positions: Sequence[int] | None = None) -> None:
        """Reject a step at which no network is stable; warn of unstable ones and a coarse step.

        See `ResponseModel.precheck` and `stimopt.networks.precheck`.
        """
        used = sorted(set(range(self.n_networks) if positions is None else positions))
        found = {k: self.stability(protocol, k) for k in used}
        if all(found.get(k) is Stability.STEP for k in range(self.n_networks)):
            refuse_step(self.linearized(used[0]), protocol.dt, self.names[used[0]])
        warn_of_unstable([(self.names[k], stability) for k, stability in found.items()])
        # Lesioned copies of a network share its time constants: one warning serves all.
        first_with = dict[tuple[float, ...], str]()
        for k in used:
            first_with.setdefault(tuple(self.time_const[k].tolist()), self.names[k])
        for time_const, name in first_with.items():
            by_type = dict(zip(self.cell_types, time_const, strict=True))
            warn_if_coarse(by_type, protocol.dt, name)

    def stability(self, protocol: Protocol, position: int = 0) -> Stability:
        """Whether one of the networks can be simulated under a protocol.

        Its step is checked on the network linearized at grey, then grey and edges are shown to it;
        see `stimopt.networks.stability`. Computed once for each set of parameters and step.
        """
        parameters = (self.bias, self.time_const, self.tap_weight)
        key = (protocol.dt, digest(*(values[position].float() for values in parameters)))
        if key not in self._stability:
            # On one thread: those of torch wait by spinning, which costs more than they save here.
            with self.busy(), torch.inference_mode(False), torch.no_grad():
                self._stability[key] = self._stability_of(position, Protocol(dt=protocol.dt))
        return self._stability[key]

    def _stability_of(self, position: int, protocol: Protocol) -> Stability:
        if self.linearized(position).growth(protocol.dt) > 1:
            return Stability.STEP
        near = self.layout.cell_index[:, self.lattice.ring <= 2]
        cells = torch.as_tensor(near).to(self.bias.device)
        cells = cells[cells >= 0]

        def advance(luminance: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            network = torch.full((len(state),), position)
            return self._simulate(luminance, protocol, state, network, cells)

        rest = self._grey_state(protocol)[position : position + 1]
        return probe(advance, rest, self.lattice, protocol.dt)

    def linearized(self, position: int = 0) -> LinearizedNetwork:
        """One of the networks around its steady state at grey."""
        parameters = (self.bias, self.time_const, self.tap_weight)
        return LinearizedNetwork(self.layout, *(values[position] for values in parameters))

    def unreached(
        self, cell_types: Sequence[str], positions: Sequence[int] | None = None
    ) -> list[str]:
        """Those of the cell types that no path of non-zero taps leads to in any of the networks.

        See `ResponseModel.unreached`. Only paths between types are followed, not single cells.
        """
        reached: set[str] = set()
        for position in range(self.n_networks) if positions is None else positions:
            used = (self.tap_weight[position] != 0).cpu().numpy()
            reached |= reached_types(self.connectome, used)
        return [name for name in cell_types if name not in reached]

    # -- other parameter sets on the same lattice --------------------------------------------------

    def lesion(self, lesions: str | Sequence[str]) -> FrozenNetwork:
        """This network with lesioned copies of each parameter set after its own.

        Example:
            >>> from stimopt.networks.opening import builtin_network
            >>> builtin_network(2).lesion("Mi9>T4c, Mi9>T4c+Mi4>T4c, Tm3").names[1:3]
            ('builtin without Mi9>T4c', 'builtin without Mi9>T4c+Mi4>T4c')

        Args:
            lesions: one or several, see `stimopt.networks.lesions`; `all>T4c` cuts the presynaptic
                pathways of T4c one by one.

        Returns:
            The parameter sets of this network, then those with the lesions, network by network.

        Raises:
            ValueError: for an unknown cell type or pathway, or a lesion listed twice.
        """
        cuts = find_lesions(lesions, self.connectome)
        whole = list(range(self.n_networks))
        added = [position for position in whole for _ in cuts]
        names = [f"{self.names[k]} without {cut.name}" for k in whole for cut in cuts]
        other = self._with_sets([*whole, *added], [*self.names, *names])
        taps = torch.as_tensor(np.stack([cut.taps for cut in cuts])).to(other.tap_weight.device)
        other.tap_weight[len(whole) :].masked_fill_(taps.repeat(len(whole), 1), 0.0)
        return other

    def only_stable(
        self, protocol: Protocol, unstable: Literal["leave_out", "refuse"] = "leave_out"
    ) -> FrozenNetwork:
        """This network without the parameter sets that cannot be simulated under a protocol.

        Args:
            protocol: to be used.
            unstable: whether these are left out, with a warning, or refused.

        Raises:
            ValueError: if they are refused, or none is left.
        """
        found = [(name, self.stability(protocol, k)) for k, name in enumerate(self.names)]
        return self.select(choose_stable(found, protocol.dt, unstable))

    def select(self, positions: Sequence[int]) -> FrozenNetwork:
        """This network with only some of its parameter sets, by position."""
        return self._with_sets(positions, [self.names[position] for position in positions])

    def at_extent(self, extent: int) -> FrozenNetwork:
        """These networks on a lattice of another number of rings of columns."""
        other = self.select(list(range(self.n_networks)))
        other.lattice = HexLattice(extent)
        other.layout = CellLayout(self.connectome, other.lattice)
        other._steps, other._stability = {}, {}
        return other

    def _with_sets(self, positions: Sequence[int], names: Sequence[str]) -> FrozenNetwork:
        """Copies of parameter sets under other names; what depends on the lattice is shared."""
        other = copy.copy(self)
        # A shallow copy has the buffers of the original; these must not change with them.
        other._buffers = {name: values[positions] for name, values in self.named_buffers()}
        other.names = tuple(names)
        other._hash = other._grey = None
        return other

    def busy(self) -> AbstractContextManager[None]:
        """The threads of the compiled step; see `stimopt.dynamics.threads`."""
        return self._step(self.bias.device).threads()

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that decides a response: types, taps, weights, extent."""
        key = self._versions()
        if self._hash is None or self._hash[0] != key:
            sha256 = hashlib.sha256()
            taps = self.connectome.taps
            sha256.update(repr((self.cell_types, self.connectome.strides)).encode())
            sha256.update(repr((self.connectome.input_types, self.lattice.extent)).encode())
            for array in (taps.source, taps.target, taps.du, taps.dv):
                sha256.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
            for buffer in (self.bias, self.time_const, self.tap_weight):
                sha256.update(buffer.detach().cpu().float().numpy().astype("<f4").tobytes())
            self._hash = (key, sha256.hexdigest())
        return self._hash[1]

    def _versions(self) -> tuple[Any, ...]:
        """Changes when a parameter is changed in place, as when connections are cut."""
        parameters = (self.bias, self.time_const, self.tap_weight)
        # A tensor created in inference mode cannot be changed outside it, and counts no versions.
        return tuple((id(p), 0 if p.is_inference() else p._version) for p in parameters)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FrozenNetwork:
        self._hash = self._grey = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _all_within(index: Tensor, n: int) -> bool:
    return index.numel() == 0 or 0 <= int(index.min()) <= int(index.max()) < n
