"""Any causal torch module as a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stimopt import expect
from stimopt.lattice import HexLattice
from stimopt.networks.model import ResponseModel, fade_in, select_cells
from stimopt.networks.validate import as_module, check_module
from stimopt.protocol import GREY, Protocol


class ModuleNetwork(ResponseModel):
    """Any module from luminance `(items, frames, columns)` to `(items, frames, cells)`.

    The module is frozen and put in eval mode. The pre-stimulus of the protocol is shown to it as
    frames before the stimulus, and its responses to them are dropped, so it may have any state.

    Example:
        >>> center = torch.nn.Linear(7, 1)
        >>> network = ModuleNetwork(center, {"cell": 0}, extent=1)
        >>> network.respond(torch.rand(2, 10, 7), Protocol()).shape
        torch.Size([2, 10, 1])

    Args:
        module: the network; output frame t may depend on input frames up to t only. Files tell
            it from others by its `repr`, parameters and buffers: name anything else by
            `extra_repr`.
        cells: for each cell type the index of its cell on the last axis of the output: of the
            cell in the central column, or `(columns,)` of them with -1 where there is none.
        extent: rings of columns of the lattice that the module reads.
        name: shown in results and errors.
        check: try the module on noise first, see `check_module`.

    Raises:
        ValueError: if the module cannot be used, with the reason.
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
        self.module = module.eval().requires_grad_(False)
        self._cells = {kind: self._in_columns(kind, cell) for kind, cell in cells.items()}
        if check:
            n_cells = check_module(self.module, self.lattice.n_columns)
            for kind, in_columns in self._cells.items():
                inside = (in_columns >= -1) & (in_columns < n_cells)
                expected = f"cells of {kind} within the module's 0 to {n_cells - 1}, or -1"
                got = in_columns[~inside].tolist()
                expect.that(inside.all(), expected, got, "index the last axis of its output")

    def _in_columns(self, cell_type: str, cell: int | Sequence[int]) -> Tensor:
        """Cell of a type in every column, -1 where it has none, `(columns,)`."""
        columns, cells = self.lattice.n_columns, torch.as_tensor(cell)
        expect.that(
            cells.shape in ((), (columns,)) and not cells.is_floating_point(),
            f"one cell or {columns} cells (columns) for {cell_type}",
            f"{cells.numel()} of {cells.dtype}",
            "use -1 for columns without one",
        )
        in_columns = torch.full((columns,), -1, dtype=torch.int64)
        in_columns[self.lattice.center if cells.ndim == 0 else slice(None)] = cells
        return in_columns

    @property
    def cell_types(self) -> tuple[str, ...]:
        """Names of the cell types, as passed."""
        return tuple(self._cells)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the module's `repr`, parameters and buffers, and of the cells read out."""
        digest = hashlib.sha256(f"{self.module}{self.lattice.extent}".encode())
        tensors = {
            **dict(self.module.named_parameters(remove_duplicate=False)),
            **dict(self.module.named_buffers(remove_duplicate=False)),
        }
        for key, value in sorted(tensors.items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().to(torch.float64).numpy().tobytes())
        for cell_type, cells in sorted(self._cells.items()):
            digest.update(cell_type.encode())
            digest.update(cells.numpy().tobytes())
        return digest.hexdigest()

    def cells_of(self, cell_type: str) -> Tensor:
        """See `ResponseModel.cells_of`."""
        expect.one_of("cell type", cell_type, self.cell_types)
        return self._cells[cell_type]

    def respond(
        self,
        luminance: Tensor,
        protocol: Protocol,
        readout: Tensor | None = None,
        network_index: Tensor | None = None,
    ) -> Tensor:
        """See `ResponseModel.respond`; there is one network, so the index is not used."""
        luminance = as_module(luminance, self.module)
        items, _, columns = luminance.shape
        grey = luminance.new_full((items, protocol.frames(protocol.t_pre), columns), GREY)
        before = torch.cat([grey, fade_in(luminance, protocol)], dim=1)
        onset, relative = before.shape[1], protocol.baseline == "grey"
        advice = "set protocol.t_pre, or baseline absolute"
        expect.that(onset or not relative, "a pre-stimulus for baseline 'grey'", "none", advice)
        responses = self.module(torch.cat([before, luminance], dim=1))
        # At least 32 bits, as those of a FrozenNetwork: NumPy does not take 16.
        responses = select_cells(responses, readout)
        responses = responses.to(torch.promote_types(responses.dtype, torch.float32))
        if relative:
            responses = responses - responses[:, onset - 1 : onset]
        return responses[:, onset:]
