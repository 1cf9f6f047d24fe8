"""How fly-like networks are: polarity, direction selectivity and preferred direction of cell types.

A card has one index of each for every network and cell type. It is computed from responses to
flyvis's flashes and edges, or from optimal stimuli, and compared with what has been recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.analysis.flyvis_indices import ProbeResponses
from stimopt.analysis.indices import angle_between, finite_mean
from stimopt.analysis.known_cells import POLARITY, PREFERRED_DIRECTION_DEG
from stimopt.analysis.known_cells import SELECTIVE as KNOWN_SELECTIVE
from stimopt.analysis.stimulus_tuning import stimulus_tuning
from stimopt.analysis.summary import SELECTIVE
from stimopt.lattice import Floats
from stimopt.networks.model import ResponseModel
from stimopt.results.result import Result

REVERSED_DEG = 120.0
"""Angle to the recorded direction from which a type counts as reversed."""
FITTING = 0.5
"""Correlation, or score, below which a network hardly fits."""


class Prediction(NamedTuple):
    """What networks predict of a type that has not been recorded.

    Args:
        cell_type: its name.
        polarity: 1 for ON, -1 for OFF, of most networks; 0 where as many say either.
        polarity_agreement: part of the networks that have that polarity.
        polarity_recorded: whether the polarity is known.
        selectivity: direction selectivity index, mean over networks.
        selectivity_agreement: part of the networks that agree whether it exceeds 0.2.
        selectivity_recorded: whether direction selectivity is known.
        direction_deg: preferred direction, mean over the networks that are selective; or NaN.
        direction_agreement: length of the mean of their unit vectors, from 0 to 1; or NaN.
    """

    cell_type: str
    polarity: int
    polarity_agreement: float
    polarity_recorded: bool
    selectivity: float
    selectivity_agreement: float
    selectivity_recorded: bool
    direction_deg: float
    direction_agreement: float


@dataclass(frozen=True)
class ScoreCard:
    """Indices of cell types, and how they fit what has been recorded.

    Example:
        >>> from stimopt import builtin_network
        >>> from stimopt.analysis import probe_responses, score_probes
        >>> network = builtin_network(extent=6)
        >>> card = score_probes(probe_responses(network, speeds=[19.0]))
        >>> bool(card.score[0] > 0.5), card.reversed_types(0)
        (True, [])

    Attributes:
        source: what the indices were computed from, `probes` or `optima`.
        cell_types: names along the type axis.
        network_names: names along the network axis.
        polarity_index: ON (1) to OFF (-1), `(networks, types)`; NaN where there is none.
        selectivity: direction selectivity index, `(networks, types)`, likewise.
        direction_deg: preferred direction, `(networks, types)`, likewise; at the contrast of the
            type's recorded polarity, or at the better one.
    """

    source: str
    cell_types: tuple[str, ...]
    network_names: tuple[str, ...]
    polarity_index: Floats
    selectivity: Floats
    direction_deg: Floats

    @property
    def polarity_fit(self) -> Floats:
        """Correlation of polarity index and recorded polarity over types, `(networks,)`."""
        return self._correlation(self.polarity_index, POLARITY)

    @property
    def selectivity_fit(self) -> Floats:
        """Correlation of selectivity with 1 for T4 and T5 and 0 for their inputs, `(networks,)`."""
        return self._correlation(self.selectivity, KNOWN_SELECTIVE)

    @property
    def direction_error_deg(self) -> Floats:
        """Angle to the recorded direction, `(networks, types)`; NaN where none is recorded."""
        known = [PREFERRED_DIRECTION_DEG.get(name, np.nan) for name in self.cell_types]
        return angle_between(self.direction_deg, known)

    @property
    def direction_fit(self) -> Floats:
        """Mean cosine of that angle over types, from -1 (reversed) to 1, `(networks,)`."""
        return finite_mean(np.cos(np.radians(self.direction_error_deg)))

    @property
    def score(self) -> Floats:
        """Mean of the three fits, those that are defined, from -1 to 1, `(networks,)`."""
        return finite_mean(
            np.stack([self.polarity_fit, self.selectivity_fit, self.direction_fit], 1)
        )

    def fitting(self, at_least: float = FITTING) -> list[int]:
        """Positions of the networks with such a score, as an option `networks` takes them."""
        return [int(k) for k in np.flatnonzero(self.score >= at_least)]

    def weights(
        self, cell_types: Sequence[str], networks: Sequence[int], at_least: float = FITTING
    ) -> Floats:
        """Which networks count in a consensus: 1, or 0 for a low score or a reversed type.

        Args:
            cell_types: names.
            networks: positions.
            at_least: the score to be reached.

        Returns:
            `(types, networks)`.
        """
        fits = [k in self.fitting(at_least) for k in networks]
        turned = [self.reversed_types(k) for k in networks]
        rows = [
            [fit and name not in off for fit, off in zip(fits, turned, strict=True)]
            for name in cell_types
        ]
        return np.array(rows, dtype=np.float64)

    def reversed_types(self, position: int) -> list[str]:
        """Types of a network whose direction is 120 degrees or more off."""
        off = self.direction_error_deg[position] >= REVERSED_DEG
        return [name for name, is_off in zip(self.cell_types, off, strict=True) if is_off]

    def remarks(self, position: int) -> list[str]:
        """What does not fit in a network, in words."""
        remarks = []
        if turned := self.reversed_types(position):
            remarks.append(f"directions reversed: {', '.join(turned)}")
        for name in ("polarity", "selectivity"):
            fit = float(getattr(self, f"{name}_fit")[position])
            if fit < FITTING:
                remarks.append(f"{name} hardly fits ({fit:.2f})")
        return remarks

    def predictions(self, networks: list[int] | None = None) -> list[Prediction]:
        """What networks predict of the types of which something has not been recorded.

        Args:
            networks: positions of those to be asked, such as `fitting()`; None is all.

        Raises:
            ValueError: if there are none.
        """
        which = list(range(len(self.network_names))) if networks is None else networks
        expect.that(which, "at least one network", "none", "lower the score that is asked for")
        return [
            self._prediction(t, which)
            for t, name in enumerate(self.cell_types)
            if name not in POLARITY or name not in KNOWN_SELECTIVE
        ]

    def _prediction(self, t: int, which: list[int]) -> Prediction:
        name, selectivity = self.cell_types[t], self.selectivity[which, t]
        signs = np.sign(np.nan_to_num(self.polarity_index[which, t]))
        polarity = int(np.sign(signs.sum()))
        selective = selectivity > SELECTIVE
        angles = np.radians(self.direction_deg[which, t][selective])
        vector = complex(np.exp(1j * angles).mean()) if len(angles) else complex(np.nan, np.nan)
        return Prediction(
            cell_type=name,
            polarity=polarity,
            polarity_agreement=float((signs == polarity).mean()) if polarity else 0.5,
            polarity_recorded=name in POLARITY,
            selectivity=float(finite_mean(selectivity[None])[0]),
            selectivity_agreement=float(max(selective.mean(), 1 - selective.mean())),
            selectivity_recorded=name in KNOWN_SELECTIVE,
            direction_deg=float(np.angle(vector, deg=True) % 360),
            direction_agreement=abs(vector),
        )

    def _correlation(self, index: Floats, known: Mapping[str, Any]) -> Floats:
        """Pearson's, over the types known, of each network; NaN where it is not defined."""
        types = [t for t, name in enumerate(self.cell_types) if name in known]
        wanted = np.array([float(known[self.cell_types[t]]) for t in types])
        fits = np.full(len(index), np.nan)
        for n, row in enumerate(index[:, types]):
            valid = np.isfinite(row)
            if len(set(wanted[valid])) > 1 and len(set(row[valid])) > 1:
                fits[n] = np.corrcoef(row[valid], wanted[valid])[0, 1]
        return fits


def score_probes(responses: ProbeResponses) -> ScoreCard:
    """The card of responses to flashes and edges, by flyvis's indices.

    The selectivity is that at the contrast where it is larger, as in flyvis's comparison.
    """
    selectivity = responses.direction_selectivity
    known = [POLARITY.get(name, 0) for name in responses.cell_types]
    better = np.where(np.array(known) == 0, selectivity.argmax(axis=2), np.array(known) > 0)
    direction = responses.preferred_direction_deg
    return ScoreCard(
        source="probes",
        cell_types=responses.cell_types,
        network_names=responses.network_names,
        polarity_index=responses.flash_index,
        selectivity=selectivity.max(axis=2),
        direction_deg=np.take_along_axis(direction, better[..., None], axis=2)[..., 0],
    )


def score_optima(network: ResponseModel, optima: Result) -> ScoreCard:
    """The card of optimal stimuli: the polarity and the direction of what excites most.

    Args:
        network: the one the optima are of.
        optima: of a search or fit; of several for one cell the first counts.

    Raises:
        ValueError: for optima of another network, or stimuli that suppress.
    """
    expect.that(
        optima.network_hash == network.content_hash,
        f"the network of the optima ({', '.join(optima.network_names)})",
        ", ".join(network.names),
        "load that network",
    )
    excite = optima.config.get("sign", 1) == 1
    expect.that(excite, "stimuli that excite", "ones that suppress", "fit with sign 1")
    names = list(dict.fromkeys(map(str, optima["cell_type"])))
    indices: NDArray[np.float64] = np.full((3, network.n_networks, len(names)), np.nan)
    for i in reversed(range(len(optima["cell_type"]))):
        name, position = str(optima["cell_type"][i]), int(optima["network"][i])
        stimulus = optima["stimulus"][i, : int(optima["n_frames"][i])]
        tuning = stimulus_tuning(network, stimulus, name, optima.protocol, position)
        indices[:, position, names.index(name)] = (
            tuning.polarity_index,
            tuning.direction_selectivity,
            tuning.preferred_direction_deg,
        )
    return ScoreCard("optima", tuple(names), network.names, *indices)
