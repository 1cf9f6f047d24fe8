"""What one fit carries: a list of (cell type, seed, network), each optimized as if alone."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stimopt.networks.model import ResponseModel, unknown_cell_type
from stimopt.protocol import Protocol

ALL = "all"


class StopReason(enum.IntEnum):
    """Why an item is no longer, or was last, being optimized."""

    RUNNING = 0
    STEPS_DONE = 1
    LOSS_NOT_FINITE = 2
    GRADIENT_NOT_FINITE = 3
    PLATEAU = 4

    @property
    def text(self) -> str:
        """For people."""
        return {
            StopReason.RUNNING: "still running",
            StopReason.STEPS_DONE: "all steps were done",
            StopReason.LOSS_NOT_FINITE: "its loss was not finite; the best iterate before is kept",
            StopReason.GRADIENT_NOT_FINITE: (
                "its gradient was not finite; the best iterate before is kept"
            ),
            StopReason.PLATEAU: "it no longer improved",
        }[self]


@dataclass(frozen=True)
class Item:
    """One stimulus being sought.

    Args:
        cell_type: whose response counts.
        seed: of the noise it starts from.
        network: which of the networks held, by position.
        u: axial coordinate of the column read out.
        v: its other coordinate.
    """

    cell_type: str
    seed: int = 0
    network: int = 0
    u: int = 0
    v: int = 0


def make_items(
    network: ResponseModel,
    cell_types: str | Sequence[str],
    seeds: int | Sequence[int] = 0,
    networks: str | Sequence[int] = ALL,
    u: int = 0,
    v: int = 0,
) -> list[Item]:
    """Every combination of network, cell type and seed, in that order.

    Args:
        network: decides which names and columns exist.
        cell_types: a name, several, several with commas between, or `all`.
        seeds: a seed or several.
        networks: positions of the networks to use, or `all`.
        u: column read out, axial coordinate.
        v: likewise.

    Raises:
        ValueError: for a name, seed, network or column that is not there, or none at all.
    """
    names = choose_cell_types(network, cell_types)
    chosen = [seeds] if isinstance(seeds, int) else list(seeds)
    which = list(range(network.n_networks)) if isinstance(networks, str) else list(networks)
    if isinstance(networks, str) and networks != ALL:
        raise ValueError(f"expected networks 'all' or positions, got {networks!r}; use a list")
    for position in which:
        if not 0 <= position < network.n_networks:
            raise ValueError(
                f"expected networks within 0 to {network.n_networks - 1}, got {position}; "
                f"held are {', '.join(network.names)}"
            )
    for seed in chosen:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"expected seeds as whole numbers >= 0, got {seed!r}; 0 is usual")
    items = [Item(name, seed, k, u, v) for k in which for name in names for seed in chosen]
    if not items:
        raise ValueError(
            "expected at least one cell type, seed and network, got an empty list; name some"
        )
    if len(set(items)) != len(items):
        raise ValueError(
            f"expected every cell type, seed and network once, got {names} x {chosen} x {which}; "
            "remove the repeated ones"
        )
    for name in names:
        network.cell_index(name, u, v)
    return items


def choose_cell_types(network: ResponseModel, cell_types: str | Sequence[str]) -> list[str]:
    """Names of cell types, checked; `all` stands for every one.

    Raises:
        ValueError: for an unknown name, listing the nearest.
    """
    if isinstance(cell_types, str):
        if cell_types == ALL:
            return list(network.cell_types)
        # One type may have a comma in no known data set, so "T4a,T4b" is two.
        cell_types = [part.strip() for part in cell_types.split(",") if part.strip()]
    for name in cell_types:
        if name not in network.cell_types:
            raise ValueError(unknown_cell_type(name, network.cell_types))
    return list(cell_types)


def label_items(items: Sequence[Item], names: Sequence[str]) -> list[str]:
    """A short distinct name for every item: cell type, then what else varies."""
    several_networks = len({item.network for item in items}) > 1
    several_seeds = len({(item.seed) for item in items}) > 1
    labels = []
    for item in items:
        label = item.cell_type
        if several_networks:
            label += f"-{names[item.network].rsplit('/', 1)[-1]}-{item.network}"
        if several_seeds:
            label += f"-seed{item.seed}"
        labels.append(label)
    return labels


def readout_cells(
    network: ResponseModel, items: Sequence[Item], contrast: Sequence[str] = ()
) -> Tensor:
    """Cells each item reads, `(items, 1 + len(contrast))`: its own, then those it is set against.

    Raises:
        ValueError: for an unknown type to contrast with, or a type set against itself.
    """
    others = choose_cell_types(network, list(contrast))
    rows = []
    for item in items:
        if item.cell_type in others:
            raise ValueError(
                f"expected {item.cell_type} against other cell types, got itself in {others}; "
                "leave it out of the contrast"
            )
        rows.append([network.cell_index(n, item.u, item.v) for n in (item.cell_type, *others)])
    return torch.tensor(rows, dtype=torch.int64)


def noise(items: Sequence[Item], n_frames: int, n_columns: int) -> Tensor:
    """Uniform noise in [0, 1], `(items, frames, columns)`, each item from its own seed.

    Drawn as flyvis draws it, so that seed 0 gives flyvis's start for seed 0.
    """
    return torch.stack(
        [
            torch.rand((n_frames, n_columns), generator=torch.Generator().manual_seed(item.seed))
            for item in items
        ]
    )


def check_fit(parametrization: str, patience: int | None) -> None:
    """Refuse what no fit can do.

    Raises:
        ValueError: for an unknown parametrization, or patience below one step.
    """
    if parametrization not in ("clamp", "sigmoid", "free"):
        raise ValueError(
            f"expected parametrization 'clamp', 'sigmoid' or 'free', got {parametrization!r}; "
            "'clamp' is usual"
        )
    if patience is not None and patience < 1:
        raise ValueError(f"expected patience >= 1 step or None, got {patience}; 100 is usual")


def check_start(start: Tensor, n_items: int, n_columns: int) -> None:
    """Refuse a first stimulus that does not fit.

    Args:
        start: `(items, frames, columns)`, finite and in [0, 1].
        n_items: expected.
        n_columns: expected.

    Raises:
        ValueError: naming what was expected and what came.
    """
    if start.ndim != 3 or start.shape[0] != n_items or start.shape[2] != n_columns:
        raise ValueError(
            f"expected a start ({n_items}, frames, {n_columns}) (items, frames, columns), got "
            f"{tuple(start.shape)}; render it on the network's lattice"
        )
    if start.shape[1] < 1:
        raise ValueError("expected a start of at least one frame, got none; lengthen t_stim")
    if not start.is_floating_point() or not torch.isfinite(start).all():
        raise ValueError(
            f"expected a start of finite floating-point pixels, got {start.dtype} with "
            f"{int((~torch.isfinite(start)).sum())} NaN or infinite; mend the stimulus"
        )
    if start.min() < 0 or start.max() > 1:
        raise ValueError(
            f"expected a start in [0, 1], got {float(start.min()):g} to {float(start.max()):g}; "
            "scale it to luminance"
        )


def readout_window(protocol: Protocol, lengths: Tensor, n_frames: int) -> Tensor:
    """Frames of each item's read-out window, `(items, frames)`, bool.

    Args:
        protocol: says where the window begins and ends.
        lengths: frames of each item that count, `(items,)`.
        n_frames: frames of the longest.

    Raises:
        ValueError: if the window holds no frame of an item, or an item no frame or too many.
    """
    window = torch.zeros((len(lengths), n_frames), dtype=torch.bool)
    for row, length in zip(window, lengths.tolist(), strict=True):
        if not 1 <= length <= n_frames:
            raise ValueError(
                f"expected 1 to {n_frames} frames that count in each item, got {length}; "
                "give the length of each clip"
            )
        row[protocol.readout(length)] = True
    return window
