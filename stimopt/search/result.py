"""From a search to its result."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from stimopt.results.result import Result, Variable
from stimopt.search.argmax import NONE
from stimopt.search.naturalistic import NaturalisticSearch

ORIGIN = (
    "store",
    "scene",
    "view",
    "window",
    "first_frame",
    "last_frame",
    "frame_rate",
    "mirroring",
    "rotation",
)
_MISSING = {"store": "", "scene": "", "frame_rate": np.nan}


def search_result(search: NaturalisticSearch) -> Result:
    """Top-k table, winning clips, their responses in every column, and provenance.

    Items are listed network by network. Only the winners are simulated again. Frames beyond a
    clip's own length are NaN.
    """
    items, network, protocol, data = search.items, search.network, search.protocol, search.data
    found = search.found
    n_items, k = len(items), found.sample.shape[-1]
    table = {
        name: getattr(found, name).reshape(n_items, k).numpy()
        for name in ("response", "peak_frame", "sample")
    }
    there = table["sample"] != NONE
    best = table["sample"][:, 0].tolist()
    clips = {sample: data.dataset[sample].luminance.numpy() for sample in sorted(set(best))}
    lengths = np.array([len(clips[sample]) for sample in best])
    n_frames, n_columns = int(lengths.max()), network.lattice.n_columns
    stimulus = np.full((n_items, n_frames, n_columns), np.nan, dtype=np.float32)
    response = np.full_like(stimulus, np.nan)
    for i, sample in enumerate(best):
        stimulus[i, : lengths[i]] = clips[sample]
    for i, values in _winning_responses(search, best, clips):
        response[i, : lengths[i]] = values
    columns = [int(network.lattice.index(item.u, item.v)) for item in items]
    per_stimulus, per_item, per_rank = ("item", "frame", "column"), ("item",), ("item", "rank")
    variables = {
        "label": Variable(per_item, np.array(search.labels)),
        "cell_type": Variable(per_item, np.array([item.cell_type for item in items])),
        "network": Variable(per_item, np.array([item.network for item in items])),
        "readout_u": Variable(per_item, np.array([item.u for item in items]), "columns"),
        "readout_v": Variable(per_item, np.array([item.v for item in items]), "columns"),
        "n_frames": Variable(per_item, lengths, "frames"),
        "time": Variable(("frame",), protocol.dt * np.arange(n_frames), "s"),
        "u": Variable(("column",), network.lattice.u, "columns"),
        "v": Variable(("column",), network.lattice.v, "columns"),
        "stimulus": Variable(per_stimulus, stimulus, "luminance, 0 to 1"),
        "response": Variable(per_stimulus, response, "voltage, a.u."),
        "central_response": Variable(
            ("item", "frame"), response[np.arange(n_items), :, columns], "voltage, a.u."
        ),
        "peak_response": Variable(
            per_rank, np.where(there, table["response"], np.nan), "voltage, a.u."
        ),
        "peak_frame": Variable(per_rank, table["peak_frame"], "frames from onset"),
        "sample": Variable(per_rank, table["sample"], "sample number, -1 where there is none"),
    }
    origins = {s: data.describe(s) for s in np.unique(table["sample"][there]).tolist()}
    for name in ORIGIN:
        rows = [
            [origins[s][name] if s != NONE else _MISSING.get(name, NONE) for s in row]
            for row in table["sample"].tolist()
        ]
        variables[name] = Variable(per_rank, np.array(rows))
    if search.every_peak is not None:
        every = search.every_peak[: len(search.samples_done)].flatten(1).numpy()
        variables["every_sample"] = Variable(("clip",), np.array(search.samples_done))
        variables["every_peak_response"] = Variable(("clip", "item"), every, "voltage, a.u.")
    return Result(
        kind="naturalistic",
        variables=variables,
        protocol=protocol,
        network_hash=network.content_hash,
        network_names=network.names,
        extent=network.lattice.extent,
        config={
            **search.settings(),
            "data": data.fingerprint,
            "first_sample": search.samples_done.start,
            "samples": len(search.samples_done),
        },
    )


@torch.inference_mode()
def _winning_responses(
    search: NaturalisticSearch, best: list[int], clips: dict[int, NDArray[np.float32]]
) -> list[tuple[int, NDArray[np.float32]]]:
    """Response of each item's type in every column to its best clip, `(frames, columns)`.

    Each pair of network and clip is simulated once, for all the types it wins for.
    """
    network = search.network
    device = search.cells.device
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (item, sample) in enumerate(zip(search.items, best, strict=True)):
        groups.setdefault((item.network, sample), []).append(i)
    found = []
    for (position, sample), members in groups.items():
        cells = [network.cells_of(search.items[i].cell_type).cpu() for i in members]
        readout = torch.cat([c[c >= 0] for c in cells])
        luminance = torch.as_tensor(clips[sample])[None].to(device)
        index = torch.tensor([position], device=device)
        values = network.respond(luminance, search.protocol, readout.to(device), index)[0]
        pieces = torch.split(values.float().cpu(), [int((c >= 0).sum()) for c in cells], dim=1)
        for i, of_columns, piece in zip(members, cells, pieces, strict=True):
            response = np.full((len(piece), len(of_columns)), np.nan, dtype=np.float32)
            response[:, (of_columns >= 0).numpy()] = piece.numpy()
            found.append((i, response))
    return found
