"""The clips a search found, as starts for a fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from stimopt.items import Item
from stimopt.networks.model import ResponseModel, unknown_cell_type
from stimopt.protocol import GREY
from stimopt.results.result import Result, groups, read

KIND = "naturalistic"
NATURALISTIC = "naturalistic:"
"""What a start is called that a search found: this, then the path of its result."""


def naturalistic_start(
    path: str | Path, network: ResponseModel, items: Sequence[Item], dt: float | None = None
) -> tuple[Tensor, Tensor]:
    """The winning clip of each item, as a stimulus to start from.

    A clip found for another network may be started from too, if it is clear which is meant: the
    network in the same position of the same networks, else the one of the same name, else the
    only one in the result.

    Args:
        path: a result of `stimopt search`, or one that holds it as its group `naturalistic`.
        network: the one the items are of.
        items: what is being sought.
        dt: duration of a frame of the fit in seconds, to be checked; None leaves that out.

    Returns:
        Stimuli `(items, frames, columns)`, float32, filled up with grey after a clip's end, and
        the frames of each clip, `(items,)`.

    Raises:
        ValueError: if the file holds no search result, or one of another lattice or dt, or without
            one of the items.
    """
    result = _read_search(path)
    if result.extent != network.lattice.extent:
        raise ValueError(
            f"expected clips of extent {network.lattice.extent} as the network, got "
            f"{result.extent} in {path}; search movies of that extent"
        )
    if dt is not None and dt != result.protocol.dt:
        raise ValueError(
            f"expected clips at dt = {dt:g} s, got {result.protocol.dt:g} s in {path}; search "
            "with that dt"
        )
    _require_table(result, network.lattice.n_columns, path)
    rows = [_row_of(result, network, item, path) for item in items]
    lengths = torch.as_tensor(result["n_frames"][rows], dtype=torch.int64)
    stimuli = torch.as_tensor(result["stimulus"][rows, : int(lengths.max())])
    after = torch.arange(stimuli.shape[1]) >= lengths[:, None]
    return stimuli.masked_fill(after[..., None], GREY), lengths


def _read_search(path: str | Path) -> Result:
    try:
        found = groups(path)
    except (OSError, ValueError, RuntimeError, LookupError):
        found = []  # `read` says what is wrong with the file
    result = read(path, KIND if KIND in found else "")
    if result.kind != KIND:
        raise ValueError(
            f"expected the result of a search in {path}, got the result of another run "
            f"({result.kind}); give the result.h5 of stimopt search"
        )
    return result


def _require_table(result: Result, n_columns: int, path: str | Path) -> None:
    """Refuse a file whose arrays do not belong together, as no search writes them."""
    try:
        stimulus, lengths = result["stimulus"], result["n_frames"]
        columns = [result[name] for name in ("cell_type", "network", "readout_u", "readout_v")]
    except KeyError as error:
        raise ValueError(
            f"expected the result of a search in {path}, got one without an array "
            f"({error.args[0]}); search again"
        ) from error
    n = len(lengths) if lengths.ndim == 1 else -1
    numbers = [lengths, *columns[1:]]
    if (
        stimulus.ndim != 3
        or (len(stimulus), stimulus.shape[2]) != (n, n_columns)
        or stimulus.dtype.kind != "f"
        or any(column.shape != (n,) for column in columns)
        or any(column.dtype.kind not in "iu" for column in numbers)
    ):
        raise ValueError(
            f"expected one stimulus (frames, {n_columns}) for each cell type in {path}, got "
            f"{stimulus.dtype} {stimulus.shape} for {len(columns[0]) if columns[0].ndim else 0}; "
            "search again"
        )
    if not ((lengths >= 1) & (lengths <= stimulus.shape[1])).all():
        raise ValueError(
            f"expected clips of 1 to {stimulus.shape[1]} frames in {path}, got n_frames from "
            f"{lengths.min()} to {lengths.max()}; search again"
        )
    positions = columns[1]
    if not ((positions >= 0) & (positions < len(result.network_names))).all():
        raise ValueError(
            f"expected networks within 0 to {len(result.network_names) - 1} in {path}, got "
            f"{positions.min()} to {positions.max()}; search again"
        )


def _row_of(result: Result, network: ResponseModel, item: Item, path: str | Path) -> int:
    position = _position(result, network, item, path)
    names = [str(name) for name in result["cell_type"]]
    if item.cell_type not in names:
        raise ValueError(
            f"{unknown_cell_type(item.cell_type, sorted(set(names)))}; these were searched for in "
            f"{path}"
        )
    for row, name in enumerate(names):
        column = (int(result["readout_u"][row]), int(result["readout_v"][row]))
        if (name, int(result["network"][row]), *column) == (
            item.cell_type,
            position,
            item.u,
            item.v,
        ):
            return row
    raise ValueError(
        f"expected {item.cell_type} of network {position} in column u={item.u}, v={item.v} in "
        f"{path}, got other networks or columns; search for it"
    )


def _position(result: Result, network: ResponseModel, item: Item, path: str | Path) -> int:
    """Which network of the result stands for that of an item."""
    searched = sorted({int(position) for position in result["network"]})
    name = network.names[item.network]
    if result.network_hash == network.content_hash and item.network in searched:
        return item.network
    same_name = [p for p in searched if result.network_names[p] == name]
    if len(same_name) == 1:
        return same_name[0]
    if len(searched) == 1:
        return searched[0]
    raise ValueError(
        f"expected clips for network {name} in {path}, got ones for "
        f"{', '.join(result.network_names[p] for p in searched)}; search with that network"
    )
