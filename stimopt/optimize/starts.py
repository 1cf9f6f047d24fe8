"""Where a fit starts: noise, grey, the clip that a search found, or a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stimopt import expect
from stimopt.items import Item, Reading
from stimopt.networks.model import ResponseModel
from stimopt.protocol import GREY
from stimopt.results import Result, searched
from stimopt.results.items import rows_by_cell

NATURALISTIC = "naturalistic:"
"""Before the path of a search result, where a start is named."""


def starting_stimulus(
    network: ResponseModel, items: Sequence[Item], n_frames: int, dt: float, init: str
) -> Tensor:
    """First luminance of a generation, `(items, frames, columns)`.

    A naturalistic start is as long as the longest clip. Shorter ones are preceded by grey, as the
    pre-stimulus is, so that every clip ends with the last frame, where most objectives look.

    Args:
        network: the stimulus must fit its lattice.
        items: what is being sought.
        n_frames: of noise and grey; clips keep their length.
        dt: duration of a frame in seconds; clips must have the same.
        init: `noise`, `grey` or `naturalistic:RESULT.h5`.

    Raises:
        ValueError: for an unknown start, or a search result that does not fit.
    """
    known = isinstance(init, str) and (init in ("noise", "grey") or init.startswith(NATURALISTIC))
    expect.that(
        known,
        "init 'noise', 'grey', 'naturalistic:RESULT.h5' or a tensor",
        repr(init) if isinstance(init, str) else type(init).__name__,
        "choose one of them",
    )
    n_columns = network.lattice.n_columns
    if init == "noise":
        return noise(items, n_frames, n_columns)
    if init == "grey":
        return torch.full((len(items), n_frames, n_columns), GREY)
    clips, lengths = naturalistic_start(init.removeprefix(NATURALISTIC), network, items, dt)
    start = torch.full_like(clips, GREY)
    for i, length in enumerate(lengths.tolist()):
        start[i, clips.shape[1] - length :] = clips[i, :length]
    return start


def kind_of_start(init: str | Tensor) -> str:
    """`noise`, `grey`, `naturalistic` or `tensor`: without the path of a file, which may move."""
    return init.partition(":")[0] if isinstance(init, str) else "tensor"


def naturalistic_peak(
    init: str, network: ResponseModel, items: Sequence[Item], dt: float, n_frames: int
) -> Tensor:
    """The winning clips up to the frame of their peak, `(items, n_frames, columns)`.

    A longer clip loses its first frames; a shorter one is preceded by grey.

    Args:
        init: `naturalistic:RESULT.h5`.
        network: the clips must fit its lattice.
        items: what is being sought.
        dt: duration of a frame in seconds; clips must have the same.
        n_frames: of the stimulus.

    Raises:
        ValueError: for a search result that does not fit.
    """
    path = init.removeprefix(NATURALISTIC)
    result, rows = _winning_rows(path, network, items, dt)
    start = torch.full((len(items), n_frames, network.lattice.n_columns), GREY)
    for i, row in enumerate(rows):
        end = result.frame_of_peak(row) + 1
        shown = torch.as_tensor(result["stimulus"][row, max(0, end - n_frames) : end])
        start[i, n_frames - len(shown) :] = shown
    return start


def starting_clip(
    network: ResponseModel,
    items: Sequence[Item],
    dt: float,
    init: str | Tensor,
    n_frames: Sequence[int] | Tensor | None,
    repeats: int,
) -> tuple[Tensor, Tensor]:
    """Clips to regularize, `(items, frames, columns)`, grey after their end, and their lengths.

    Args:
        network: the clips must fit its lattice.
        items: what is being sought.
        dt: duration of a frame in seconds; clips must have the same.
        init: `naturalistic:RESULT.h5`, or a tensor `(items, frames, columns)`.
        n_frames: with a tensor, the frames of each clip that count; None is all.
        repeats: successive items that share a clip; a tensor may contain one for all of them.

    Raises:
        ValueError: for a start of another kind, or lengths that do not fit.
    """
    if isinstance(init, str):
        expect.that(
            init.startswith(NATURALISTIC) and init != NATURALISTIC,
            f"init '{NATURALISTIC}RESULT.h5' or a tensor",
            repr(init),
            "write 'naturalistic:' before the path of a search result",
        )
        expect.that(
            n_frames is None,
            "n_frames with a tensor only",
            "it with a search result",
            "leave it out, the result contains the lengths",
        )
        return naturalistic_start(init.removeprefix(NATURALISTIC), network, items, dt)
    given = isinstance(init, Tensor)
    expect.that(given, "init as text or a tensor", type(init).__name__, "use torch.as_tensor")
    start = init.detach().cpu()
    expect.shape("a start", start, ("items", "frames", "columns"), "add or drop axes")
    lengths = torch.full((len(start),), start.shape[1])
    if n_frames is not None:
        lengths = torch.as_tensor(n_frames, dtype=torch.int64).cpu()
    expect.shape("n_frames", lengths, (len(start),), "give one for each clip")
    if len(start) * repeats == len(items):
        start, lengths = (part.repeat_interleave(repeats, dim=0) for part in (start, lengths))
    return _grey_after(start, lengths), lengths


def naturalistic_start(
    path: str | Path, network: ResponseModel, items: Sequence[Item], dt: float | None = None
) -> tuple[Tensor, Tensor]:
    """The winning clip of each item, as a stimulus to start from.

    A clip of another network serves too, if it is clear which is meant: the network in the same
    position of the same networks, else the one of the same name, else the only one searched.

    Args:
        path: a result of `stimopt search`, or a file of the three optima.
        network: the one the items are of.
        items: what is being sought.
        dt: duration of a frame of the fit in seconds; None is not compared.

    Returns:
        Luminance `(items, frames, columns)`, float32, grey after a clip's end, and the frames of
        each clip, `(items,)`.

    Raises:
        ValueError: if the file is no search result, or one of another lattice or dt, or lacks an
            item.
    """
    result, rows = _winning_rows(path, network, items, dt)
    lengths = torch.as_tensor(result["n_frames"][rows], dtype=torch.int64)
    clips = torch.as_tensor(result["stimulus"][rows, : int(lengths.max())])
    return _grey_after(clips, lengths), lengths


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


def check_start(start: Tensor, n_items: int, n_columns: int) -> None:
    """Reject a first luminance that does not fit.

    Args:
        start: `(items, frames, columns)`, of 32 or 64 bits, finite and in [0, 1].
        n_items: expected.
        n_columns: expected.

    Raises:
        ValueError: naming what was expected and what came.
    """
    shape = (n_items, "frames", n_columns)
    expect.shape("a start", start, shape, "render it on the network's lattice")
    whole = start.dtype in (torch.float32, torch.float64)
    expect.that(whole, "a start of 32- or 64-bit numbers", start.dtype, "convert it by .float()")
    expect.finite("pixels of the start", start, "correct the stimulus")
    expect.within("a start", start, 0, 1, "scale it to luminance")


def _grey_after(clips: Tensor, lengths: Tensor) -> Tensor:
    after = torch.arange(clips.shape[1]) >= lengths[:, None]
    return clips.masked_fill(after[..., None], GREY)


def _winning_rows(
    path: str | Path, network: ResponseModel, items: Sequence[Item], dt: float | None
) -> tuple[Result, list[int]]:
    """A search result that fits, and the row of each item's clip."""
    result = searched(path)
    extent = network.lattice.extent
    expect.that(
        result.extent == extent,
        f"clips of extent {extent} as the network",
        f"{result.extent} in {path}",
        "search movies of that extent",
    )
    expect.that(
        dt is None or dt == result.protocol.dt,
        f"clips at dt = {dt} s",
        f"{result.protocol.dt:g} s in {path}",
        "search with that dt",
    )
    winners = _winners(result, network.lattice.n_columns, path)
    return result, [_row_of(result, winners, network, item, path) for item in items]


Winners = Mapping[Reading, Sequence[int]]
"""Rows of a search result, by the cell whose winners they are."""


def _winners(result: Result, n_columns: int, path: str | Path) -> Winners:
    """Whose winners the clips are, where clips, lengths and names belong together."""
    names = ("cell_type", "network", "readout_u", "readout_v")
    missing = [n for n in ("stimulus", "n_frames", *names) if n not in result.variables]
    where = f"the result of a search in {path}"
    expect.that(not missing, where, f"one without {', '.join(missing)}", "search again")
    stimulus, n_frames = result["stimulus"], result["n_frames"]
    kinds = [stimulus.dtype.kind, n_frames.dtype.kind, *(result[n].dtype.kind for n in names[1:])]
    shapes = [result[n].shape for n in ("n_frames", *names)]
    expect.that(
        stimulus.ndim == 3
        and stimulus.shape[2] == n_columns
        and set(shapes) == {stimulus.shape[:1]}
        and kinds[0] == "f"
        and set(kinds[1:]) <= {"i", "u"}
        and set(result["network"].tolist()) <= set(range(len(result.network_names))),
        f"{where}: one clip of {n_columns} columns, its length and network for each cell type",
        f"arrays that do not belong together ({stimulus.dtype} {stimulus.shape})",
        "search again",
    )
    expect.within("n_frames", n_frames, 1, stimulus.shape[1], f"search again, {path} is damaged")
    return rows_by_cell(result)


def _row_of(
    result: Result, winners: Winners, network: ResponseModel, item: Item, path: str | Path
) -> int:
    """Row of the result whose clip an item starts from."""
    position = _network_of(result, network, item, path)
    cell_types = sorted({winner.cell_type for winner in winners})
    expect.one_of(f"a cell type that was searched for in {path}", item.cell_type, cell_types)
    wanted = Reading(item.cell_type, item.u, item.v, position)
    expect.that(
        wanted in winners,
        f"{item.cell_type} of network {position} in column u={item.u}, v={item.v} in {path}",
        "other networks or columns",
        "search for it",
    )
    return winners[wanted][0]


def _network_of(result: Result, network: ResponseModel, item: Item, path: str | Path) -> int:
    """Which network of the result stands for that of an item."""
    positions = sorted({int(position) for position in result["network"]})
    name = network.names[item.network]
    if result.network_hash == network.content_hash and item.network in positions:
        return item.network
    same_name = [p for p in positions if result.network_names[p] == name]
    for candidates in (same_name, positions):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(
        f"expected clips for network {name} in {path}, got ones for "
        f"{', '.join(result.network_names[p] for p in positions)}; search with that network"
    )
