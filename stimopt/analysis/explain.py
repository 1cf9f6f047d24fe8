"""Why a cell responds to its optimum: currents, sensitivity and lesions.

`explain` adds these variables to those of the result:

    source                      (source,)                cell types with a tap onto some cell, light
    peak_frame                  (item,)                  of the optimum's own cell
    source_current              (item, frame, source)    taps times rectified voltages; luminance
    leak_current                (item, frame)            minus the voltage one frame before
    bias, step                  (item,)                  a (all currents and bias) is the step of V
    initial_voltage             (item,)                  at stimulus onset
    contribution                (item, source)           to the voltage at the peak, less at onset
    unsettled                   (item,)                  the rest: what was not settled at onset
    lesioned_response           (item, source)           part of the response left without a type
    sensitivity                 (item, frame, column)    gradient of the response at the peak
    tap_source                  (item, tap)              position among the sources, -1 for none
    tap_du, tap_dv              (item, tap)              place of the source relative to the cell
    tap_contribution            (item, tap)              as `contribution`, tap by tap
    path_similarity             (item, clip)             see `path_similarity`; with clips
    clip_contribution           (item, source)           under the best clip; with clips
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stimopt import expect
from stimopt.analysis.currents import LIGHT, InputCurrents, input_currents, require_connectome
from stimopt.analysis.paths import path_similarity, rows_of_cells
from stimopt.analysis.shown import ShownStimuli, drive_of, peak_gradient
from stimopt.lattice import Floats
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.model import ResponseModel
from stimopt.results import Result, ThreeOptima, Variable
from stimopt.results.items import select_items
from stimopt.results.responses import type_responses
from stimopt.results.variables import VOLTAGE


def explain(
    result: Result | ThreeOptima,
    network: ResponseModel,
    source: str | None = None,
    *,
    clips: Result | None = None,
    lesions: bool = True,
) -> Result:
    """Split the response of each cell to its stimulus into what causes it.

    Example:
        >>> import stimopt
        >>> network = stimopt.builtin_network(extent=3)
        >>> fit = stimopt.ResponseRange(network, "T4c", t_stim=0.1)
        >>> explained = stimopt.explain(stimopt.fit(fit, steps=20), network)
        >>> strongest = explained["contribution"][0].argmax()
        >>> str(explained["source"][strongest])
        'Mi1'

    Args:
        result: of a search or fit; of the three optima the artificial one is explained.
        network: the one the result is of.
        source: a cell type: explain its cell that contributes most, one synapse further back,
            instead of the optimum's own. Optima without such an input are left out.
        clips: of a search with the same network and protocol, for the same under natural clips;
            the three optima have them.
        lesions: silence each source type in turn, too.

    Returns:
        A result of kind `explained`, with the variables at the head of this file. Voltages and
        currents share a unit, and are absolute whatever the baseline.

    Raises:
        ValueError: for a network without a connectome, of another result, or an unknown source.
    """
    if isinstance(result, ThreeOptima):
        clips, result = result.naturalistic if clips is None else clips, result.artificial
    known = require_connectome(network)
    shown = ShownStimuli.of(result, known)
    currents = input_currents(known, shown)
    peaks = shown.peaks(torch.as_tensor(currents.voltage)).frame
    if source is not None:
        rows, cells = _strongest_cells(known, currents, peaks, source)
        result = _of_cells(select_items(result, rows), known, source, cells)
        shown, peaks = ShownStimuli.of(result, known), peaks[rows]
        currents, clips = input_currents(known, shown), None
    shared = _of_result(result)
    own = _current_variables(known, currents, peaks)
    names = [str(name) for name in own["source"].values]
    if lesions:
        left = _lesioned(known, shown, names)
        own["lesioned_response"] = Variable(("item", "source"), left, "part of the response")
    gradient = peak_gradient(known, shown, peaks)
    own["sensitivity"] = Variable(("item", "frame", "column"), gradient, "voltage per luminance")
    explained = dataclasses.replace(result, kind="explained", variables={**shared, **own})
    if clips is not None:
        explained.variables.update(_under_clips(explained, known, clips, names))
    return explained


def source_names(network: FrozenNetwork, currents: InputCurrents) -> list[str]:
    """Cell types with a tap onto any of the cells, in the network's order, and light if it does."""
    present = np.unique(currents.taps.source)
    types = [network.cell_types[s] for s in present[present >= 0]]
    return [*types, *([LIGHT] if currents.light.any() else [])]


# -- currents and their shares --------------------------------------------------------------------


def _current_variables(
    network: FrozenNetwork, currents: InputCurrents, peaks: Tensor
) -> dict[str, Variable]:
    names, n_types = source_names(network, currents), len(network.cell_types)
    chosen = [network.connectome.type_index.get(name, n_types) for name in names]
    taps, by_source = currents.taps, currents.contributions(peaks.numpy())
    at_peak = currents.voltage[np.arange(len(peaks)), peaks.numpy()]
    order = np.full(n_types + 1, -1)
    order[chosen] = np.arange(len(names))
    item, per_tap = ("item",), ("item", "tap")
    return {
        "source": Variable(("source",), np.array(names)),
        "peak_frame": Variable(item, peaks.numpy(), "frames from onset"),
        "source_current": Variable(
            ("item", "frame", "source"), currents.by_source[..., chosen], VOLTAGE
        ),
        "leak_current": Variable(("item", "frame"), currents.leak, VOLTAGE),
        "bias": Variable(item, currents.bias, VOLTAGE),
        "step": Variable(item, currents.step, "dt / max(tau, dt)"),
        "initial_voltage": Variable(item, currents.initial, VOLTAGE),
        "contribution": Variable(("item", "source"), by_source[:, chosen], VOLTAGE),
        "unsettled": Variable(item, at_peak - currents.initial - by_source.sum(axis=1), VOLTAGE),
        "tap_source": Variable(per_tap, np.where(taps.source < 0, -1, order[taps.source])),
        "tap_du": Variable(per_tap, taps.du, "columns"),
        "tap_dv": Variable(per_tap, taps.dv, "columns"),
        "tap_contribution": Variable(per_tap, currents.tap_contributions(peaks.numpy()), VOLTAGE),
    }


def _under_clips(
    explained: Result, network: FrozenNetwork, clips: Result, names: Sequence[str]
) -> dict[str, Variable]:
    """How like the paths are, and the contributions under the first clip of each cell."""
    similarity = path_similarity(explained, network, clips)
    first = [rows[0] if rows else -1 for rows in rows_of_cells(explained, clips)]
    items = np.array([i for i, row in enumerate(first) if row >= 0], dtype=np.int64)
    shares = np.full((len(first), len(names)), np.nan)
    if len(items):
        natural = ShownStimuli.of(clips, network).select(torch.tensor([first[i] for i in items]))
        currents = input_currents(network, natural)
        peaks = natural.peaks(torch.as_tensor(currents.voltage)).frame
        n_types = len(network.cell_types)
        chosen = [network.connectome.type_index.get(name, n_types) for name in names]
        shares[items] = currents.contributions(peaks.numpy())[:, chosen]
    return {
        "path_similarity": Variable(("item", "clip"), similarity, "cosine"),
        "clip_contribution": Variable(("item", "source"), shares, VOLTAGE),
    }


# -- one synapse further back ---------------------------------------------------------------------


def _strongest_cells(
    network: FrozenNetwork, currents: InputCurrents, peaks: Tensor, source: str
) -> tuple[list[int], list[int]]:
    """Items that have such an input, and the cell of each that contributes most."""
    expect.one_of("a source", source, network.cell_types)
    known = [name for name in source_names(network, currents) if name != LIGHT]
    if source not in known:
        expect.one_of("a source of these cells", source, known)
    taps = currents.taps
    # Where no voltage changes, the heaviest tap.
    strength = np.abs(currents.tap_contributions(peaks.numpy())) + 1e-9 * np.abs(taps.weight)
    chosen = taps.source == network.connectome.type_index[source]
    rows = np.flatnonzero(chosen.any(axis=1)).tolist()
    best = np.where(chosen, strength, -1.0).argmax(axis=1)
    return rows, [int(taps.cell[i, best[i]]) for i in rows]


def _of_cells(
    result: Result, network: FrozenNetwork, cell_type: str, cells: Sequence[int]
) -> Result:
    """The result with other cells read out."""
    lattice, columns = network.lattice, network.layout.column_of_cell[list(cells)]
    types, lengths = np.full(len(cells), cell_type), result["n_frames"]
    response = type_responses(
        network, result.protocol, result["stimulus"], lengths, types, result["network"]
    )
    changed = {
        "label": np.array([f"{cell_type} to {label}" for label in result["label"]]),
        "cell_type": types,
        "readout_u": lattice.u[columns],
        "readout_v": lattice.v[columns],
        "response": response,
        "central_response": response[np.arange(len(cells)), :, columns],
    }
    variables = {
        name: variable._replace(values=changed.get(name, variable.values))
        for name, variable in _of_result(result).items()
    }
    return dataclasses.replace(result, variables=variables)


def _of_result(result: Result) -> dict[str, Variable]:
    """The variables that every result has, and the sign."""
    names = (
        *("label", "cell_type", "seed", "network", "readout_u", "readout_v", "n_frames", "stable"),
        *("time", "u", "v", "stimulus", "response", "central_response", "sign"),
    )
    return {name: result.variables[name] for name in names if name in result.variables}


# -- sensitivity and lesions ----------------------------------------------------------------------


def _lesioned(network: FrozenNetwork, shown: ShownStimuli, names: Sequence[str]) -> Floats:
    """Part of each response above grey that is left without a source type, `(items, sources)`.

    NaN for types without a synapse onto the cell.
    """
    connected = {(s, t) for s, t in network.connectome.pairs}
    types = [network.cell_types[t] for t in network.layout.type_of_cell[shown.cells.numpy()]]
    left = np.full((len(types), len(names)), np.nan)
    silenced = [name for name in names if name != LIGHT]
    if not silenced:
        return left
    lesioned, n = network.lesion(silenced), network.n_networks
    items, sources = np.nonzero([[(s, t) in connected for s in silenced] for t in types])
    rows = torch.as_tensor(items)
    cut = n + shown.networks[rows] * len(silenced) + torch.as_tensor(sources)
    # Items of one parameter set are simulated together.
    order = torch.argsort(cut, stable=True)
    rows, cut = rows[order], cut[order]
    whole = drive_of(network, shown)[rows]
    without = drive_of(lesioned, dataclasses.replace(shown.select(rows), networks=cut))
    left[rows.numpy(), sources[order.numpy()]] = (without / whole).numpy()
    return left
