"""From a fitted module to the result that is kept of it."""

from __future__ import annotations

import numpy as np
import torch

from stimopt.items import StopReason
from stimopt.optimize.module import TOTAL, StimulusModule
from stimopt.results.result import Result, Variable, type_response

KINDS = {"StimulusGenerator": "artificial", "StimulusRegularizer": "regularized"}


def stimulus_result(module: StimulusModule) -> Result:
    """Best and last stimuli, responses of the type in every column, losses and provenance.

    The responses belong to the best iterate and are simulated anew here, under the module's
    protocol. Frames beyond an item's own length are NaN.
    """
    items, network, protocol = module.items, module.network, module.protocol
    best = module.best_stimulus.detach()
    lengths = module.n_frames.tolist()
    n_frames, n_columns = best.shape[1:]
    response = np.full((len(items), n_frames, n_columns), np.nan, dtype=np.float32)
    stimuli = {}
    for name, tensor in (("stimulus", best), ("last_stimulus", module.luminance().detach())):
        values = tensor.float().cpu().numpy().copy()
        for i, length in enumerate(lengths):
            values[i, length:] = np.nan
        stimuli[name] = values
    for i, item in enumerate(items):
        held = torch.as_tensor(stimuli["stimulus"][i : i + 1, : lengths[i]])
        response[i, : lengths[i]] = type_response(
            network, held, protocol, item.cell_type, item.network
        )
    columns = [int(network.lattice.index(item.u, item.v)) for item in items]
    central = response[np.arange(len(items)), :, columns]
    lattice = network.lattice
    per_stimulus = ("item", "frame", "column")
    variables = {
        "label": Variable(("item",), np.array(module.labels)),
        "cell_type": Variable(("item",), np.array([item.cell_type for item in items])),
        "seed": Variable(("item",), np.array([item.seed for item in items])),
        "network": Variable(("item",), np.array([item.network for item in items])),
        "readout_u": Variable(("item",), np.array([item.u for item in items]), "columns"),
        "readout_v": Variable(("item",), np.array([item.v for item in items]), "columns"),
        "n_frames": Variable(("item",), np.array(lengths), "frames"),
        "time": Variable(("frame",), protocol.dt * np.arange(n_frames), "s"),
        "u": Variable(("column",), lattice.u, "columns"),
        "v": Variable(("column",), lattice.v, "columns"),
        "stimulus": Variable(per_stimulus, stimuli["stimulus"], "luminance, 0 to 1"),
        "last_stimulus": Variable(per_stimulus, stimuli["last_stimulus"], "luminance, 0 to 1"),
        "response": Variable(per_stimulus, response, "voltage, a.u."),
        "central_response": Variable(("item", "frame"), central, "voltage, a.u."),
        "best_step": Variable(("item",), module.best_step.cpu().numpy(), "steps"),
        "stop_reason": Variable(
            ("item",), np.array([StopReason(r).text for r in module.stop_reason.tolist()])
        ),
    }
    for name, values in module.history.items():
        key = "losses" if name == TOTAL else name.replace("/", "_")
        variables[key] = Variable(("step", "item"), values.cpu().numpy())
    variables.update(module.extra_variables())
    return Result(
        kind=KINDS.get(type(module).__name__, type(module).__name__),
        variables=variables,
        protocol=protocol,
        network_hash=network.content_hash,
        network_names=network.names,
        extent=lattice.extent,
        config=module.settings(),
    )
