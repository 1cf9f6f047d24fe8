"""The interface of networks, and what all of them share."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from stimopt import expect
from stimopt.lattice import HexLattice
from stimopt.networks.stability import Stability
from stimopt.protocol import GREY, Protocol


class ResponseModel(nn.Module, ABC):
    """One or several networks that respond to luminance on a hexagonal lattice.

    `FrozenNetwork` is the connectome-constrained network; `ModuleNetwork` wraps any torch module. A
    subclass sets the two attributes and defines the abstract members. Its responses must be
    differentiable in the luminance, independent between items, and must not depend on future
    frames.

    Attributes:
        lattice: the columns the luminance stands for.
        names: name of each network (parameter set), `(networks,)`.
    """

    lattice: HexLattice
    names: tuple[str, ...]

    @property
    @abstractmethod
    def cell_types(self) -> tuple[str, ...]:
        """Names of the cell types."""

    @property
    @abstractmethod
    def content_hash(self) -> str:
        """A digest of everything that decides a response."""

    @abstractmethod
    def cells_of(self, cell_type: str) -> Tensor:
        """Cell of a type in every column, -1 where it has none, `(columns,)`.

        Raises:
            ValueError: for an unknown type, suggesting the nearest name.
        """

    @abstractmethod
    def respond(
        self,
        luminance: Tensor,
        protocol: Protocol,
        readout: Tensor | None = None,
        network_index: Tensor | None = None,
    ) -> Tensor:
        """Responses under a protocol: pre-stimulus, stimulus, baseline.

        Args:
            luminance: `(items, frames, columns)`, in [0, 1].
            protocol: how the stimulus is presented and its response read.
            readout: cells to report, `(k,)` for all items alike or `(items, k)`; None is all.
            network_index: the network of each item, `(items,)`; None is the first for all.

        Returns:
            `(items, frames, k)`; frame t contains the response to input frame t.
        """

    def forward(
        self, luminance: Tensor, protocol: Protocol | None = None, **options: Any
    ) -> Tensor:
        """The same as `respond`, by default under the default protocol."""
        return self.respond(luminance, protocol or Protocol(), **options)

    @property
    def n_networks(self) -> int:
        """Number of networks (parameter sets)."""
        return len(self.names)

    def cell_index(self, cell_type: str, u: int = 0, v: int = 0) -> int:
        """The cell of a type in a column, by default the central one.

        Raises:
            ValueError: for an unknown type, or a column without such a cell.
        """
        column = int(self.lattice.index(u, v))
        cell = int(self.cells_of(cell_type)[column]) if column >= 0 else -1
        expect.that(
            cell >= 0,
            f"a column of extent {self.lattice.extent} with a {cell_type} cell",
            f"u={u}, v={v}",
            "u=0, v=0 is the centre",
        )
        return cell

    def precheck(self, protocol: Protocol, positions: Sequence[int] | None = None) -> None:
        """Check that the networks can be simulated under a protocol; any can, by default.

        Args:
            protocol: to be used.
            positions: of the networks to be used; None is all.

        Raises:
            ValueError: if none of the networks can be simulated.
        """

    def stability(self, protocol: Protocol, position: int = 0) -> Stability:
        """Whether one of the networks can be simulated under a protocol; any can, by default.

        Args:
            protocol: to be used.
            position: of the network.
        """
        return Stability.STABLE

    def unreached(
        self, cell_types: Sequence[str], positions: Sequence[int] | None = None
    ) -> list[str]:
        """Those of the cell types that light cannot reach in any of the networks; none by default.

        Args:
            cell_types: to be checked.
            positions: of the networks to be used; None is all.
        """
        return []

    def busy(self) -> AbstractContextManager[None]:
        """A context to be in during each step of a fit or search, for speed; empty by default."""
        return nullcontext()


def fade_in(luminance: Tensor, protocol: Protocol) -> Tensor:
    """Frames that lead linearly from grey to the first frame, `(items, n, columns)`."""
    n_frames = protocol.frames(protocol.t_fade_in)
    first = luminance[:, :1]
    ramp = torch.linspace(0, 1, n_frames, dtype=first.dtype, device=first.device)
    return ramp[None, :, None] * (first - GREY) + GREY


def select_cells(responses: Tensor, readout: Tensor | None) -> Tensor:
    """Responses of the cells to be read out, `(items, frames, k)`, of `(items, frames, cells)`."""
    if readout is None:
        return responses
    index = readout.to(responses.device).expand(len(responses), -1)
    return torch.gather(responses, 2, index[:, None].expand(-1, responses.shape[1], -1))


def device_of(network: ResponseModel, otherwise: torch.device | str = "cpu") -> torch.device:
    """The device a network is on, or another if it has neither parameters nor buffers."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    first = next(tensors, None)
    return torch.device(otherwise) if first is None else first.device
