"""How far an optimum made for one network drives the same cell type in others.

Voltages of networks share no unit. A response is therefore normalized by the network's own range:
0 is the response to grey, 1 the ceiling (the largest that any stimulus gives), see `ResponseRange`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.analysis.indices import finite_mean
from stimopt.analysis.shown import ShownStimuli, traces_of
from stimopt.lattice import Floats
from stimopt.networks.model import ResponseModel
from stimopt.results.result import Result


class ResponseScale(NamedTuple):
    """Where the response of each cell type starts and how far it reaches, in each network.

    Args:
        grey: response to grey, `(networks, types)`.
        span: from there to the ceiling, or to the floor, where it is negative, likewise.
    """

    grey: Floats
    span: Floats

    @classmethod
    def of(
        cls, ranges: Result, cell_types: Sequence[str], networks: Sequence[int], sign: int = 1
    ) -> ResponseScale:
        """Read the scale from a result that has it.

        Args:
            ranges: of `ResponseRange` or `EfficientGenerator`; or of `LimitedRange`, whose extremes
                are those at its contrast.
            cell_types: names.
            networks: positions along the network axis.
            sign: 1 for the ceiling, -1 for the floor.

        Raises:
            ValueError: if a cell is missing, or light does not move its response.
        """
        extreme = "ceiling" if "ceiling" in ranges.variables else "objective"
        known = {extreme, "grey_objective"} <= ranges.variables.keys()
        expected = "a result of ResponseRange or EfficientGenerator"
        expect.that(known, expected, f"one of kind {ranges.kind}", "seek the ceilings first")
        which = f"the {'ceiling' if sign > 0 else 'floor'} of every cell"
        rows = _rows(ranges, which, cell_types, networks, sign=sign)
        grey = ranges["grey_objective"][rows].astype(np.float64)
        span = ranges[extreme][rows] - grey
        still = np.argwhere(sign * span <= 0).tolist()
        flat = [f"{cell_types[t]} of {ranges.network_names[networks[k]]}" for k, t in still]
        got = f"constant ones of {', '.join(flat[:5])}"
        advice = "leave the cell type or the network out"
        expect.that(not flat, "responses that light can move away from that to grey", got, advice)
        return cls(grey, span)


@dataclass(frozen=True)
class TransferMatrix:
    """Normalized peak responses to every optimum in every network.

    Attributes:
        cell_types: names along the type axis.
        network_names: names along both network axes.
        values: `(network made for, network shown to, types)`; 0 is grey, 1 the ceiling, NaN where a
            response is not finite. Means are over what is.
    """

    cell_types: tuple[str, ...]
    network_names: tuple[str, ...]
    values: Floats

    @property
    def travels(self) -> Floats:
        """How far an optimum drives the other networks, on average, `(made for, types)`."""
        own = np.eye(len(self.network_names), dtype=bool)
        return finite_mean(np.where(own[:, :, None], np.nan, self.values), axis=1)

    @property
    def generality(self) -> Floats:
        """The same averaged over the networks that optima are made for, `(types,)`."""
        return finite_mean(self.travels, axis=0)

    @property
    def best_traveller(self) -> NDArray[np.int64]:
        """Position of the network whose optimum drives the others most, `(types,)`."""
        return np.asarray(np.nan_to_num(self.travels, nan=-np.inf).argmax(axis=0))

    @property
    def likeness(self) -> Floats:
        """How far two networks are driven by each other's optima, `(networks, networks)`.

        Both directions and all types are averaged; the diagonal is for a network's own optima.
        """
        mean = finite_mean(self.values)
        return np.asarray((mean + mean.T) / 2)

    def of_type(self, cell_type: str) -> Floats:
        """The matrix of one type, `(made for, shown to)`.

        Raises:
            ValueError: for an unknown name.
        """
        expect.one_of("cell type", cell_type, self.cell_types)
        return np.asarray(self.values[:, :, self.cell_types.index(cell_type)])


def transfer(
    network: ResponseModel, optima: Result, ranges: Result | None = None
) -> TransferMatrix:
    """Show every optimum to every network.

    Example:
        >>> import stimopt
        >>> from stimopt.analysis import transfer
        >>> network = stimopt.builtin_network(extent=3).lesion("Mi9")
        >>> ranges = stimopt.fit(stimopt.ResponseRange(network, "T4c", t_stim=0.1), steps=20)
        >>> matrix = transfer(network, ranges)  # the stimuli that reach the ceiling
        >>> matrix.values.shape, bool(matrix.values[0, 0, 0] > 0.99)
        ((2, 2, 1), True)

    Args:
        network: that holds all the networks.
        optima: of each cell type for each network; of several for one cell the first counts.
        ranges: as for `normalized_responses`.

    Raises:
        ValueError: as there, and for a missing optimum, a ladder, or a single network.
    """
    positions = range(network.n_networks)
    expect.that(len(positions) > 1, "several networks", "one", "load those to compare")
    optima.require_network(network)
    require_one_level(optima)
    names = list(dict.fromkeys(map(str, optima["cell_type"])))
    rows = _rows(optima, "an optimum of every type for every network", names, positions)
    values = normalized_responses(network, optima, ranges)[rows]
    return TransferMatrix(tuple(names), network.names, np.moveaxis(values, 2, 1))


def require_one_level(optima: Result) -> None:
    """Reject a ladder: its first stimulus of a cell is not its optimum, but its lowest rung."""
    levels = set(optima["fraction"].tolist()) if "fraction" in optima.variables else set()
    got, advice = f"a ladder of {len(levels)}", "seek one, such as by --method efficient"
    expect.that(len(levels) <= 1, "optima of one level", got, advice)


def _rows(
    result: Result, what: str, cell_types: Sequence[str], networks: Sequence[int], **more: int
) -> NDArray[np.int64]:
    """First row of every cell, and with more columns of these values, `(networks, types)`."""
    columns = [result[name].tolist() for name in ("cell_type", "network", *more)]
    wanted: list[Any] = [(t, k, *more.values()) for k in networks for t in cell_types]
    keys = list(zip(*columns, strict=True))
    names = dict(enumerate(result.network_names))
    missing = [
        f"{key[0]} of {names.get(key[1], f'network {key[1]}')}" for key in wanted if key not in keys
    ]
    advice = "seek it for all of these networks, with one set of options"
    expect.that(not missing, what, f"none of {', '.join(missing[:5])}", advice)
    return np.array([keys.index(key) for key in wanted]).reshape(len(networks), len(cell_types))


def normalized_responses(
    network: ResponseModel, stimuli: Result, ranges: Result | None = None
) -> Floats:
    """Response of each item's cell type to its stimulus in every network.

    It is the peak within the read-out window, or the lowest point for stimuli that suppress.

    Args:
        network: that holds all the networks.
        stimuli: of a search or fit, such as one stimulus for several networks.
        ranges: result of `ResponseRange` for these types in all networks; by default the stimuli
            have them, as those of `ResponseRange` and `EfficientGenerator` do.

    Returns:
        `(items, networks)`; 0 is grey, 1 the ceiling, NaN where a response is not finite.

    Raises:
        ValueError: for a result of other networks or another protocol, or a missing ceiling; for
            ceilings of anything but the voltage of one cell in one frame.
    """
    ranges = stimuli if ranges is None else ranges
    ranges.require_network(network)
    shown = dataclasses.replace(ShownStimuli.of(stimuli, network), protocol=stimuli.protocol)
    same, wanted = ranges.protocol == stimuli.protocol, f"of the stimuli ({stimuli.protocol})"
    advice = "seek them with the same options"
    expect.that(same, f"ceilings under the protocol {wanted}", ranges.protocol, advice)
    positions, signs = range(network.n_networks), sorted(set(stimuli.signs.tolist()))
    advice = "normalize them apart"
    expect.that(len(signs) == 1, "stimuli that all excite or all suppress", "both", advice)
    names, of_item = np.unique(shown.cell_types, return_inverse=True)
    scale = ResponseScale.of(ranges, names.tolist(), positions, signs[0])
    _require_voltages(ranges)
    peaks = [shown.peaks(traces_of(network, shown.in_network(network, k))).value for k in positions]
    responses = (np.stack(peaks) - scale.grey[:, of_item]) / scale.span[:, of_item]
    return np.asarray(np.where(np.isfinite(responses), responses, np.nan).T)


def _require_voltages(ranges: Result) -> None:
    """Reject ceilings that have another scale than the peaks that they are to normalize."""
    objective, several = ranges.config.get("objective"), "reading_response" in ranges.variables
    got = "those of several cells together" if several else f"those of objective {objective}"
    wanted, advice = "ceilings of each cell by objective last_frame", "seek and pass such as ranges"
    expect.that(objective == "last_frame" and not several, wanted, got, advice)


class LeftOut(NamedTuple):
    """Responses of a network that a consensus was not made for; 0 is grey, 1 its ceiling.

    Args:
        left_out: name of the network.
        cell_type: whose response it is.
        made_for: number of networks that the consensus was made for.
        consensus: response to it.
        median_single: median of the responses to the optima of those networks.
        best_single: largest of these.
    """

    left_out: str
    cell_type: str
    made_for: int
    consensus: float
    median_single: float
    best_single: float

    @property
    def gain(self) -> float:
        """How much more the consensus drives than the median optimum."""
        return self.consensus - self.median_single


def left_out_responses(
    network: ResponseModel, consensus: Result, singles: TransferMatrix, ranges: Result
) -> list[LeftOut]:
    """Show stimuli that were made for several networks at once to those they were not made for.

    Args:
        network: that holds all the networks.
        consensus: of fits with `consensus=True` and some of the networks.
        singles: of the optima of single networks, of the same kind and contrast.
        ranges: as for `normalized_responses`.

    Raises:
        ValueError: as for `normalized_responses`, and for a type without single optima.
    """
    responses = normalized_responses(network, consensus, ranges)
    several = "reading_network" in consensus.variables
    readings = consensus["reading_network"] if several else consensus["network"][:, None]
    rows = []
    for name, used, row in zip(consensus["cell_type"].tolist(), readings, responses, strict=True):
        matrix = singles.of_type(name)
        for k in np.setdiff1d(np.arange(network.n_networks), used).tolist():
            own = matrix[used, k]
            numbers = (float(row[k]), float(np.median(own)), float(own.max()))
            rows.append(LeftOut(network.names[k], name, len(used), *numbers))
    return rows
