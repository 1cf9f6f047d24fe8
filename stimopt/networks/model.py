"""What a network must offer to be asked for stimuli, and how any module can be made to offer it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol as TypingProtocol
from typing import runtime_checkable

import torch
from torch import Tensor, nn

from stimopt.connectome import nearest_names
from stimopt.lattice import HexLattice
from stimopt.protocol import GREY, Protocol


@runtime_checkable
class ResponseModel(TypingProtocol):
    """What search, regularization and generation ask of a network.

    `FrozenNetwork` is one; `ModuleNetwork` makes one of any module.
    """

    lattice: HexLattice
    names: tuple[str, ...]

    @property
    def cell_types(self) -> tuple[str, ...]:
        """Names a stimulus can be sought for."""

    @property
    def n_networks(self) -> int:
        """Parameter sets held; an item names one of them."""

    @property
    def content_hash(self) -> str:
        """Changes when any response could."""

    def cell_index(self, cell_type: str, u: int = 0, v: int = 0) -> int:
        """The cell of a type in a column."""

    def cells_of(self, cell_type: str) -> Tensor:
        """Cell of a type in every column, -1 where it has none, `(columns,)`."""

    def respond(
        self,
        luminance: Tensor,
        protocol: Protocol,
        readout: Tensor | None = None,
        network_index: Tensor | None = None,
    ) -> Tensor:
        """Responses `(items, frames, k)` to luminance `(items, frames, columns)`."""

    def threads(self) -> AbstractContextManager[None]:
        """To be held around all that a fit or search does in a step, for the sake of speed."""


class ModuleNetwork(nn.Module):
    """Any module from luminance `(items, frames, columns)` to `(items, frames, cells)`.

    The module is frozen and put in eval mode.  The pre-stimulus of the protocol is shown to it as
    frames before the stimulus and its responses to them are dropped, so it may hold any state.

    Args:
        module: the network; output frame t may depend on input frames up to t only.
        cells: for each cell type its cell in the central column, or `(columns,)` of them with -1
            where there is none.
        extent: rings of columns of the lattice the module reads.
        name: for people.
        check: try the module on noise first, see `check_module`.

    Raises:
        ValueError: if the module cannot work, saying why.
    """

    def __init__(
        self,
        module: nn.Module,
        cells: Mapping[str, int | Sequence[int]],
        extent: int,
        *,
        name: str = "module",
        check: bool = True,
    ) -> None:
        super().__init__()
        self.lattice = HexLattice(extent)
        self.names = (name,)
        self.n_networks = 1
        self.module = module.eval().requires_grad_(False)
        self._cells: dict[str, Tensor] = {}
        for cell_type, cell in cells.items():
            every = torch.full((self.lattice.n_columns,), -1, dtype=torch.int64)
            if isinstance(cell, int):
                every[self.lattice.center] = cell
            elif len(cell) == len(every):
                every = torch.as_tensor(cell, dtype=torch.int64)
            else:
                raise ValueError(
                    f"expected one cell or {len(every)} cells (columns) for {cell_type}, got "
                    f"{len(cell)}; use -1 for columns without one"
                )
            self._cells[cell_type] = every
        if check:
            check_module(self.module, self.lattice.n_columns)

    @property
    def cell_types(self) -> tuple[str, ...]:
        """Names a stimulus can be sought for."""
        return tuple(self._cells)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the module's description and state, and of which of its cells are meant."""
        digest = hashlib.sha256(f"{self.module}{self.lattice.extent}".encode())
        for key, value in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().to(torch.float64).numpy().tobytes())
        for cell_type, cells in sorted(self._cells.items()):
            digest.update(cell_type.encode())
            digest.update(cells.numpy().tobytes())
        return digest.hexdigest()

    def cells_of(self, cell_type: str) -> Tensor:
        """Cell of a type in every column, -1 where it has none, `(columns,)`."""
        if cell_type not in self._cells:
            raise ValueError(unknown_cell_type(cell_type, self.cell_types))
        return self._cells[cell_type]

    def cell_index(self, cell_type: str, u: int = 0, v: int = 0) -> int:
        """The cell of a type in a column, by default the central one."""
        column = int(self.lattice.index(u, v))
        cell = int(self.cells_of(cell_type)[column]) if column >= 0 else -1
        if cell < 0:
            raise ValueError(
                f"expected a column of extent {self.lattice.extent} with a {cell_type} cell, got "
                f"u={u}, v={v}; u=0, v=0 is the centre"
            )
        return cell

    def threads(self) -> AbstractContextManager[None]:
        """Nothing is held: the module has torch's threads."""
        return nullcontext()

    def forward(self, luminance: Tensor) -> Tensor:
        """The module itself."""
        responses: Tensor = self.module(luminance)
        return responses

    def respond(
        self,
        luminance: Tensor,
        protocol: Protocol,
        readout: Tensor | None = None,
        network_index: Tensor | None = None,
    ) -> Tensor:
        """Responses under a protocol, `(items, frames, k)`; one network, so no index is used."""
        items, _, columns = luminance.shape
        n_pre, n_fade = protocol.frames(protocol.t_pre), protocol.frames(protocol.t_fade_in)
        grey = luminance.new_full((items, n_pre, columns), GREY)
        ramp = torch.linspace(0, 1, n_fade, dtype=luminance.dtype, device=luminance.device)
        fade = ramp[None, :, None] * (luminance[:, :1].detach() - GREY) + GREY
        responses: Tensor = self.module(torch.cat([grey, fade, luminance], dim=1))
        before = n_pre + n_fade
        if protocol.baseline == "grey" and before > 0:
            responses = responses - responses[:, before - 1 : before]
        responses = responses[:, before:]
        if readout is not None:
            index = readout.expand(items, -1) if readout.ndim == 1 else readout
            index = index.to(responses.device)
            responses = torch.gather(
                responses, 2, index[:, None].expand(-1, responses.shape[1], -1)
            )
        return responses


def check_module(module: nn.Module, n_columns: int, n_frames: int = 6) -> None:
    """Try a module on noise and refuse one that no stimulus can be sought for.

    It must return finite `(items, frames, cells)`, pass a gradient to its input, depend on no
    future frame, treat items alone, hold no parameter that trains, and be in eval mode.

    Raises:
        ValueError: naming what is missing and what to do.
    """
    if any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(
            "expected a module with frozen parameters, got some that require a gradient; "
            "call requires_grad_(False)"
        )
    if any(child.training for child in module.modules()):
        raise ValueError("expected a module in eval mode, got one in training; call eval()")
    tensor = next((p for p in module.state_dict().values() if p.is_floating_point()), None)
    like = torch.empty(0) if tensor is None else tensor
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((2, n_frames, n_columns), generator=generator).to(like)
    luminance = noise.clone().requires_grad_()
    try:
        with torch.enable_grad():
            responses = module(luminance)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"expected a module that takes luminance (items, frames, {n_columns}), got "
            f"{type(error).__name__}: {error}; adapt its input"
        ) from error
    if (
        not isinstance(responses, Tensor)
        or responses.ndim != 3
        or responses.shape[:2] != (2, n_frames)
    ):
        got = tuple(responses.shape) if isinstance(responses, Tensor) else type(responses).__name__
        raise ValueError(
            f"expected responses (2, {n_frames}, cells) from luminance (2, {n_frames}, "
            f"{n_columns}), got {got}; return (items, frames, cells)"
        )
    if not torch.isfinite(responses).all():
        raise ValueError(
            "expected finite responses to noise in [0, 1], got NaN or infinity; "
            "check the module's weights"
        )
    gradient = None
    if responses.requires_grad:
        # Drawn weights, as the gradients of opposed cells would cancel in a plain sum.
        last = responses[:, -1]
        weights = torch.rand(last.shape, generator=generator).to(last)
        (gradient,) = torch.autograd.grad((weights * last).sum(), luminance, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all() or not gradient.any():
        raise ValueError(
            "expected a finite, non-zero gradient from the responses to the luminance, got none; "
            "look for detach(), no_grad() or rounding in the module"
        )
    half = n_frames // 2
    with torch.no_grad():
        changed = noise.clone()
        changed[:, half:] = 1 - changed[:, half:]
        earlier = module(changed)[:, :half]
        alone = module(noise[:1])
    # Rounding may differ with the batch, so exact equality is asked of causality only up to it.
    scale = 1e-4 * (1 + float(responses.detach().abs().max()))
    if (earlier - responses[:, :half]).abs().max() > scale:
        raise ValueError(
            "expected responses that depend on past and present frames only, got some that changed "
            "with future frames; make the module causal in time"
        )
    if (alone - responses[:1]).abs().max() > scale:
        raise ValueError(
            "expected each item's response to depend on its own stimulus only, got one that "
            "changed with the other items; look for batch statistics in the module"
        )


def unknown_cell_type(cell_type: str, valid: Sequence[str]) -> str:
    """The message for a cell type that is not there, with the nearest names first."""
    near = nearest_names(cell_type, valid)
    return (
        f"expected one of {len(valid)} cell types, got {cell_type!r}; nearest: "
        f"{', '.join(near) if near else 'none'}; all: {', '.join(valid)}"
    )


def device_of(network: ResponseModel, otherwise: Tensor) -> torch.device:
    """Where a network is, or a tensor if it has neither parameters nor buffers."""
    if not isinstance(network, nn.Module):
        return otherwise.device
    held = itertools.chain(network.parameters(), network.buffers(), [otherwise])
    return next(tensor.device for tensor in held)
