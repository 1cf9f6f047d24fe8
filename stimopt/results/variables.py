"""The variables that every fit and every search reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stimopt.items import Item
from stimopt.networks.model import ResponseModel
from stimopt.networks.stability import Stability
from stimopt.protocol import Protocol
from stimopt.results.responses import type_responses
from stimopt.results.result import Variable

LUMINANCE, VOLTAGE = "luminance, 0 to 1", "voltage, a.u."


def item_variables(
    network: ResponseModel,
    protocol: Protocol,
    items: Sequence[Item],
    labels: Sequence[str],
    stimulus: NDArray[Any],
    lengths: Sequence[int] | NDArray[Any],
) -> dict[str, Variable]:
    """Items, their stimuli and the responses to them, simulated under the protocol.

    Args:
        network: the network of the items.
        protocol: pre-stimulus, step and baseline.
        items: what was sought.
        labels: name of each item.
        stimulus: luminance in [0, 1], `(items, frames, columns)`.
        lengths: frames of each item, `(items,)`; later frames become NaN.
    """
    lattice, per_stimulus = network.lattice, ("item", "frame", "column")
    lengths = np.asarray(lengths, dtype=np.int64)
    n_frames = stimulus.shape[1]
    after = np.arange(n_frames) >= lengths[:, None]
    stimulus = np.where(after[..., None], np.float32(np.nan), np.asarray(stimulus, np.float32))
    networks = np.array([item.network for item in items])
    cell_types = [item.cell_type for item in items]
    response = type_responses(network, protocol, stimulus, lengths, cell_types, networks)
    columns = [int(lattice.index(item.u, item.v)) for item in items]
    central = response[np.arange(len(items)), :, columns]
    readings = [{reading.network for reading in item.readings} for item in items]
    trusted = {
        position: network.stability(protocol, position) is Stability.STABLE
        for position in set().union(*readings)
    }
    finite = (np.isfinite(central) | after).all(axis=1)
    stable = finite & np.array([all(trusted[k] for k in used) for used in readings])
    return {
        "label": Variable(("item",), np.array(labels)),
        "cell_type": Variable(("item",), np.array(cell_types)),
        "seed": Variable(("item",), np.array([item.seed for item in items])),
        "network": Variable(("item",), networks),
        "readout_u": Variable(("item",), np.array([item.u for item in items]), "columns"),
        "readout_v": Variable(("item",), np.array([item.v for item in items]), "columns"),
        "n_frames": Variable(("item",), lengths, "frames"),
        "time": Variable(("frame",), protocol.dt * np.arange(n_frames), "s"),
        "u": Variable(("column",), lattice.u, "columns"),
        "v": Variable(("column",), lattice.v, "columns"),
        "stimulus": Variable(per_stimulus, stimulus, LUMINANCE),
        "response": Variable(per_stimulus, response, VOLTAGE),
        "central_response": Variable(("item", "frame"), central, VOLTAGE),
        "stable": Variable(("item",), stable),
    }


def reading_variables(items: Sequence[Item], responses: NDArray[Any]) -> dict[str, Variable]:
    """The cells that items read, and their responses.

    Args:
        items: with the same number of readings each.
        responses: `(items, readings, frames)`.
    """
    readings = [item.readings for item in items]
    dims = ("item", "reading")
    columns = {
        name: Variable(dims, np.array([[getattr(r, name) for r in row] for row in readings]))
        for name in ("cell_type", "network", "u", "v")
    }
    return {
        **{f"reading_{name}": variable for name, variable in columns.items()},
        "reading_response": Variable((*dims, "frame"), responses, VOLTAGE),
    }


def array_of(tensor: Tensor) -> NDArray[Any]:
    """The values of a tensor on any device, with its shape and type."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
