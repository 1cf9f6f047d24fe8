"""The frozen network: luminance in, voltages out, nothing in it to train."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stimopt.connectome import Connectome, find_connectome
from stimopt.dynamics.layout import CellLayout, Drive
from stimopt.dynamics.select import choose_step
from stimopt.dynamics.simulate import Step, simulate
from stimopt.lattice import HexLattice
from stimopt.networks.flyvis import NetworkParameters, best_checkpoint, read_trained
from stimopt.networks.model import unknown_cell_type
from stimopt.protocol import GREY, Protocol

FLYVIS_EXTENT = 15
BUILTIN_EXTENT = 8
"""217 columns: room for a 200 ms edge around the centre at a tenth of the cost of 721."""


class FrozenNetwork(nn.Module):
    """One or several parameter sets on one connectome, simulated by explicit Euler.

    Parameters are buffers: they follow the module's device and dtype and never train.

    Args:
        connectome: cell types and taps.
        parameters: one entry for each network.
        extent: rings of columns around the centre.
        backend: `auto`, `sparse`, `fused` or `graph`; how a step is computed, not what it
            gives: see `stimopt.dynamics.select`.
        segment: recompute the forward pass in segments of this many frames when a gradient is
            taken, for stimuli too long for memory; None keeps the whole.
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
        if not parameters:
            raise ValueError("expected at least one set of parameters, got none; name a network")
        if segment is not None and segment < 1:
            raise ValueError(f"expected segment >= 1 frame or None, got {segment}; 100 is usual")
        self.connectome = connectome
        self.lattice = HexLattice(extent)
        self.layout = CellLayout(connectome, self.lattice)
        self.names = tuple(p.name for p in parameters)
        self.segment = segment
        self._backend = backend
        self._steps: dict[tuple[str, str], Step] = {}
        self._hash: tuple[tuple[Any, ...], str] | None = None
        self._grey: tuple[tuple[Any, ...], Tensor] | None = None
        for field, rows in (
            ("bias", [p.bias for p in parameters]),
            ("time_const", [p.time_const for p in parameters]),
            ("tap_weight", [p.tap_weight(connectome) for p in parameters]),
        ):
            values = torch.as_tensor(np.stack(rows)).to(torch.float32)
            if not torch.isfinite(values).all():
                raise ValueError(
                    f"expected finite {field} in float32, got "
                    f"{int((~torch.isfinite(values)).sum())} NaN or infinite in "
                    f"{', '.join(self.names)}; use other parameters"
                )
            self.register_buffer(field, values)
        choose_step(self.layout, backend, torch.device("cpu"))  # refuse a wrong name now
        self.eval()

    @classmethod
    def from_flyvis(
        cls,
        folder: str | Path | Sequence[str | Path],
        connectome: str | Path | None = None,
        extent: int = FLYVIS_EXTENT,
        **options: Any,
    ) -> FrozenNetwork:
        """Trained networks from their folders, all on the same connectome.

        Args:
            folder: a folder such as `flow/0000/000`, or several.
            connectome: the connectome file; by default the one in an installed flyvis.
            extent: rings of columns; the weights are shared, so any number works.
            **options: as for the class.

        Raises:
            ValueError: if a file is missing, damaged, unsafe, or does not fit the others.
        """
        folders = [folder] if isinstance(folder, (str, Path)) else list(folder)
        for each in folders:
            best_checkpoint(Path(each))  # a folder that is not there is said first
        read = Connectome.from_json(find_connectome() if connectome is None else connectome)
        return cls(read, [read_trained(f, read) for f in folders], extent, **options)

    @classmethod
    def builtin(cls, extent: int = BUILTIN_EXTENT, **options: Any) -> FrozenNetwork:
        """The motion circuit that comes with stimopt; see `stimopt.networks.motion_circuit`."""
        from stimopt.networks.motion_circuit import motion_circuit_parameters, motion_circuit_spec

        connectome = Connectome.from_spec(motion_circuit_spec(), "the built-in motion circuit")
        bias, time_const, strength = motion_circuit_parameters()
        parameters = NetworkParameters(
            name="builtin",
            bias=np.asarray(bias, dtype=np.float64),
            time_const=np.asarray(time_const, dtype=np.float64),
            syn_strength=np.asarray(strength, dtype=np.float64),
            sign=connectome.signs,
            syn_count=connectome.taps.n_syn,
        )
        return cls(connectome, [parameters], extent, **options)

    @property
    def cell_types(self) -> tuple[str, ...]:
        """Names of the cell types."""
        return self.connectome.cell_types

    @property
    def n_cells(self) -> int:
        """Cells on the lattice."""
        return self.layout.n_cells

    @property
    def n_networks(self) -> int:
        """Parameter sets held."""
        return len(self.names)

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that decides a response: types, taps, weights, extent."""
        key = self._versions()
        if self._hash is None or self._hash[0] != key:
            digest = hashlib.sha256()
            taps = self.connectome.taps
            digest.update(repr((self.cell_types, self.connectome.strides)).encode())
            digest.update(repr((self.connectome.input_types, self.lattice.extent)).encode())
            for array in (taps.source, taps.target, taps.du, taps.dv):
                digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
            for buffer in (self.bias, self.time_const, self.tap_weight):
                digest.update(buffer.detach().cpu().float().numpy().astype("<f4").tobytes())
            self._hash = (key, digest.hexdigest())
        return self._hash[1]

    def _versions(self) -> tuple[Any, ...]:
        """Changes when a parameter is changed in place, as when connections are cut."""
        parameters = (self.bias, self.time_const, self.tap_weight)
        # One made in inference mode cannot be changed outside it, and counts no versions.
        return tuple((id(p), 0 if p.is_inference() else p._version) for p in parameters)

    def cell_index(self, cell_type: str, u: int = 0, v: int = 0) -> int:
        """The cell of a type in a column, by default the central one.

        Raises:
            ValueError: for an unknown type (listing the nearest) or a column without such a cell.
        """
        cells = self.cells_of(cell_type)
        column = int(self.lattice.index(u, v))
        if column < 0 or cells[column] < 0:
            raise ValueError(
                f"expected a column of extent {self.lattice.extent} with a {cell_type} cell, got "
                f"u={u}, v={v}; u=0, v=0 is the centre"
            )
        return int(cells[column])

    def cells_of(self, cell_type: str) -> Tensor:
        """Cell of a type in every column, -1 where it has none, `(columns,)`.

        Raises:
            ValueError: for an unknown type, listing the nearest names.
        """
        if cell_type not in self.connectome.type_index:
            raise ValueError(unknown_cell_type(cell_type, self.cell_types))
        return torch.as_tensor(self.layout.cell_index[self.connectome.type_index[cell_type]])

    def forward(
        self,
        luminance: Tensor,
        dt: float = 0.01,
        initial_state: Tensor | None = None,
        network_index: Tensor | None = None,
        readout: Tensor | None = None,
    ) -> Tensor:
        """Voltages `(items, frames, cells)`, or `(items, frames, k)` of k read-out cells.

        Output frame t already contains input frame t. Differentiable in luminance and state.

        Args:
            luminance: `(items, frames, columns)`, in [0, 1].
            dt: Euler step in seconds.
            initial_state: voltage before the first frame, `(items, cells)`; by default the one
                after 1 s of grey.
            network_index: parameter set of each item, `(items,)`; by default the first.
            readout: cells to report, `(k,)` for all items alike or `(items, k)`.

        Raises:
            ValueError: if a shape or an index does not fit the network.
        """
        if initial_state is None:
            initial_state = self.initial_state(luminance, Protocol(dt=dt), network_index)
        return self._run(luminance, dt, initial_state, network_index, readout)[0]

    def respond(
        self,
        luminance: Tensor,
        protocol: Protocol,
        readout: Tensor | None = None,
        network_index: Tensor | None = None,
    ) -> Tensor:
        """Responses under a protocol, `(items, frames, k)`: pre-stimulus, stimulus, baseline."""
        initial = self.initial_state(luminance, protocol, network_index)
        voltages, _ = self._run(luminance, protocol.dt, initial, network_index, readout)
        if protocol.baseline == "grey":
            before = initial
            if readout is not None:
                chosen = _per_item(readout, len(luminance)).to(initial.device)
                before = torch.gather(initial, 1, chosen)
            voltages = voltages - before[:, None]
        return voltages

    def threads(self) -> AbstractContextManager[None]:
        """To be held around all that a fit or search does in a step, for the sake of speed."""
        return self._step(self.bias.device).threads()

    @torch.no_grad()
    def initial_state(
        self, luminance: Tensor, protocol: Protocol, network_index: Tensor | None = None
    ) -> Tensor:
        """Voltage at stimulus onset, `(items, cells)`: bias, then grey, then the fade-in.

        No gradient runs through it: the pre-stimulus is part of the protocol, not the stimulus.
        """
        self._check_luminance(luminance)
        network_index = self._network_index(network_index, len(luminance))
        state = self._grey_state(protocol)[network_index]
        n = protocol.frames(protocol.t_fade_in)
        if n > 0:
            first = luminance[:, :1].detach().to(state.dtype)
            ramp = torch.linspace(0, 1, n, dtype=state.dtype, device=state.device)[None, :, None]
            fade = ramp * (first - GREY) + GREY
            state = self._run(fade, protocol.dt, state, network_index, _no_cells(state))[1]
        return state

    def _grey_state(self, protocol: Protocol) -> Tensor:
        """State of every network after `t_pre` of grey, `(networks, cells)`.

        Kept from call to call: a fit asks for it at every step, and it costs more than the 80
        frames of a stimulus. The version counters tell whether a buffer was written to since.
        """
        n = protocol.frames(protocol.t_pre)
        key = (n, protocol.dt, GREY, self._versions())
        if self._grey is None or self._grey[0] != key:
            # A tensor made in inference mode could not enter a later backward pass.
            with torch.inference_mode(False), torch.no_grad():
                self._grey = (key, self._simulate_grey(protocol, n))
        return self._grey[1]

    def _simulate_grey(self, protocol: Protocol, n_frames: int) -> Tensor:
        type_of_cell = torch.as_tensor(self.layout.type_of_cell, device=self.bias.device)
        state = self.bias.to(torch.promote_types(self.bias.dtype, torch.float32))[:, type_of_cell]
        if n_frames == 0:
            return state
        grey = state.new_full((self.n_networks, n_frames, self.lattice.n_columns), GREY)
        every = torch.arange(self.n_networks, device=state.device)
        return self._run(grey, protocol.dt, state, every, _no_cells(state))[1]

    def _run(
        self,
        luminance: Tensor,
        dt: float,
        initial: Tensor,
        network_index: Tensor | None,
        readout: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        self._check_luminance(luminance)
        items = len(luminance)
        if initial.shape != (items, self.n_cells):
            raise ValueError(
                f"expected an initial state ({items}, {self.n_cells}) (items, cells), got "
                f"{tuple(initial.shape)}; initial_state() makes one"
            )
        drive = Drive(
            bias=self.bias,
            time_const=self.time_const,
            tap_weight=self.tap_weight,
            network_index=self._network_index(network_index, items),
            dt=dt,
            readout=None if readout is None else self._readout(readout, items),
        )
        step = self._step(luminance.device)
        return simulate(step, drive, luminance, initial, segment=self.segment)

    def _step(self, device: torch.device) -> Step:
        key = (self._backend, device.type)
        if key not in self._steps:
            self._steps[key] = choose_step(self.layout, self._backend, device)
        return self._steps[key]

    def _check_luminance(self, luminance: Tensor) -> None:
        n = self.lattice.n_columns
        if luminance.ndim != 3 or luminance.shape[2] != n or not luminance.is_floating_point():
            raise ValueError(
                f"expected floating-point luminance (items, frames, {n}) for extent "
                f"{self.lattice.extent}, got {luminance.dtype} {tuple(luminance.shape)}; "
                "render or crop the stimulus to this lattice"
            )

    def _network_index(self, network_index: Tensor | None, items: int) -> Tensor:
        if network_index is None:
            return torch.zeros(items, dtype=torch.int64, device=self.bias.device)
        index = network_index.to(self.bias.device, torch.int64)
        if index.shape != (items,) or (
            items and not 0 <= int(index.min()) <= int(index.max()) < self.n_networks
        ):
            raise ValueError(
                f"expected network_index ({items},) within 0 to {self.n_networks - 1}, got "
                f"{network_index.tolist()}; name one of the networks held for each item"
            )
        return index

    def _readout(self, readout: Tensor, items: int) -> Tensor:
        index = _per_item(readout, items).to(self.bias.device, torch.int64)
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < self.n_cells:
            raise ValueError(
                f"expected read-out cells within 0 to {self.n_cells - 1}, got "
                f"{int(index.min())} to {int(index.max())}; cell_index() gives them"
            )
        return index

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FrozenNetwork:
        self._hash = self._grey = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _per_item(readout: Tensor, items: int) -> Tensor:
    if readout.ndim == 1:
        return readout.expand(items, -1)
    if readout.ndim != 2 or len(readout) != items:
        raise ValueError(
            f"expected readout (k,) or ({items}, k), got {tuple(readout.shape)}; one row an item"
        )
    return readout


def _no_cells(state: Tensor) -> Tensor:
    return torch.empty((0,), dtype=torch.int64, device=state.device)
