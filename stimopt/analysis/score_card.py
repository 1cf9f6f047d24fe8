"""How fly-like networks are: polarity, direction selectivity and preferred direction of cell types.

A card has one index of each for every network and cell type. It is computed from responses to
flyvis's flashes and edges, or from optimal stimuli, and compared with what has been recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.analysis import known_cells
from stimopt.analysis.flyvis_probes import ProbeResponses
from stimopt.analysis.indices import SELECTIVE_FROM, angle_between, direction_tuning, finite_mean
from stimopt.analysis.stimulus_tuning import stimulus_tuning
from stimopt.analysis.transfer import require_one_level
from stimopt.lattice import Floats
from stimopt.networks.model import ResponseModel
from stimopt.results.items import rows_by_cell
from stimopt.results.result import Result

REVERSED_DEG = 120.0
"""Angle to the recorded direction from which a type counts as reversed."""
FITTING = 0.5
"""Correlation, or score, below which a network hardly fits."""


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
        return self._correlation(self.polarity_index, known_cells.POLARITY)

    @property
    def selectivity_fit(self) -> Floats:
        """Correlation of selectivity with 1 for T4 and T5 and 0 for their inputs, `(networks,)`."""
        return self._correlation(self.selectivity, known_cells.SELECTIVE)

    @property
    def direction_error_deg(self) -> Floats:
        """Angle to the recorded direction, `(networks, types)`; NaN where none is recorded."""
        known = [known_cells.PREFERRED_DIRECTION_DEG.get(name, np.nan) for name in self.cell_types]
        return angle_between(self.direction_deg, known)

    @property
    def direction_fit(self) -> Floats:
        """Mean cosine of that angle over types, from -1 (reversed) to 1, `(networks,)`.

        0 where no type has a direction though some are recorded, as if all were silent.
        """
        known = known_cells.PREFERRED_DIRECTION_DEG.keys() & set(self.cell_types)
        fits = finite_mean(np.cos(np.radians(self.direction_error_deg)))
        return np.where(self._answers & np.isnan(fits), 0.0, fits) if known else fits

    @property
    def score(self) -> Floats:
        """Mean of the three fits, those that are defined, from -1 to 1, `(networks,)`."""
        return finite_mean([self.polarity_fit, self.selectivity_fit, self.direction_fit], axis=0)

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
        counts = [
            [self.score[k] >= at_least and name not in self.reversed_types(k) for k in networks]
            for name in cell_types
        ]
        return np.array(counts, dtype=np.float64)

    def reversed_types(self, position: int) -> list[str]:
        """Types of a network whose direction is 120 degrees or more off."""
        errors = self.direction_error_deg[position]
        return [self.cell_types[t] for t in np.flatnonzero(errors >= REVERSED_DEG)]

    def remarks(self, position: int) -> list[str]:
        """What does not fit in a network, in words."""
        turned = self.reversed_types(position)
        remarks = [f"directions reversed: {', '.join(turned)}"] if turned else []
        for name, fits in (("polarity", self.polarity_fit), ("selectivity", self.selectivity_fit)):
            if fits[position] < FITTING:
                remarks.append(f"{name} hardly fits ({fits[position]:.2f})")
        return remarks

    def predictions(self, networks: list[int] | None = None) -> list[dict[str, Any]]:
        """What networks predict of the types of which something has not been recorded.

        Args:
            networks: positions of those to be asked, such as `fitting()`; None is all.

        Returns:
            For each `cell_type`, `polarity` of most networks (1 ON, -1 OFF, 0 where as many say
            either), `selectivity` (mean over networks) and `direction_deg` (mean over those that
            are selective, or NaN). Each but the direction is followed by whether it is recorded,
            and each by an agreement: the part of the networks that have that polarity, or agree
            whether the selectivity exceeds 0.2, and the length of the mean of unit vectors.

        Raises:
            ValueError: if there are none.
        """
        which = list(range(len(self.network_names))) if networks is None else networks
        expect.that(which, "at least one network", "none", "lower the score that is asked for")
        rows = []
        for t, name in enumerate(self.cell_types):
            if name in known_cells.POLARITY and name in known_cells.SELECTIVE:
                continue
            signs = np.sign(np.nan_to_num(self.polarity_index[which, t]))
            polarity = int(np.sign(signs.sum()))
            selective = self.selectivity[which, t] > SELECTIVE_FROM
            angles = self.direction_deg[which, t][selective]
            direction, agreement = direction_tuning(np.ones(len(angles)), angles)
            rows.append(
                {
                    "cell_type": name,
                    "polarity": polarity,
                    "polarity_agreement": float((signs == polarity).mean()) if polarity else 0.5,
                    "polarity_recorded": name in known_cells.POLARITY,
                    "selectivity": float(finite_mean(self.selectivity[which, t])),
                    "selectivity_agreement": float(max(selective.mean(), 1 - selective.mean())),
                    "selectivity_recorded": name in known_cells.SELECTIVE,
                    "direction_deg": float(direction),
                    "direction_agreement": float(agreement),
                }
            )
        return rows

    @property
    def _answers(self) -> NDArray[np.bool_]:
        """Networks with any finite response, `(networks,)`."""
        return np.asarray(np.isfinite(self.polarity_index).any(axis=1))

    def _correlation(self, index: Floats, known: Mapping[str, Any]) -> Floats:
        """Pearson's, over the types known, of each network.

        NaN where the types known are too few or all alike, as two alone would always correlate by 1
        or -1. 0 where it is the network that does not distinguish them, as if all were silent.
        """
        wanted = np.array([known.get(name, np.nan) for name in self.cell_types], np.float64)
        recorded = wanted[np.isfinite(wanted)]
        if len(recorded) <= 2 or len(set(recorded)) < 2:
            return np.full(len(index), np.nan)
        fits = np.where(self._answers, 0.0, np.nan)
        for n, row in enumerate(index):
            pairs = np.stack([row, wanted])[:, np.isfinite(row + wanted)]
            if pairs.shape[1] > 2 and all(len(set(values)) > 1 for values in pairs):
                fits[n] = np.corrcoef(pairs)[0, 1]
        return fits


def score_probes(responses: ProbeResponses) -> ScoreCard:
    """The card of responses to flashes and edges, by flyvis's indices.

    The selectivity is that at the contrast where it is larger, as in flyvis's comparison.
    """
    selectivity = responses.direction_selectivity
    known = np.array([known_cells.POLARITY.get(name, 0) for name in responses.cell_types])
    better = np.where(known == 0, selectivity.argmax(axis=2), known > 0)
    both = responses.preferred_direction_deg
    direction = np.take_along_axis(both, better[..., None], axis=2)[..., 0]
    indices = responses.flash_index, selectivity.max(axis=2), direction
    return ScoreCard("probes", responses.cell_types, responses.network_names, *indices)


def score_optima(network: ResponseModel, optima: Result) -> ScoreCard:
    """The card of optimal stimuli: the polarity and the direction of what excites most.

    Args:
        network: the one the optima are of.
        optima: of a search or fit; of several for one cell the first counts.

    Raises:
        ValueError: for optima of another network, a ladder, or stimuli that suppress.
    """
    optima.require_network(network)
    require_one_level(optima)
    first = [rows[0] for rows in rows_by_cell(optima).values()]
    excite = bool((optima.signs[first] == 1).all())
    expect.that(excite, "stimuli that excite", "ones that suppress", "fit with sign 1")
    names = list(dict.fromkeys(map(str, optima["cell_type"])))
    indices = np.full((3, network.n_networks, len(names)), np.nan)
    # Backward, so that the first item of a cell stays.
    for i in reversed(range(len(optima["cell_type"]))):
        name, position = str(optima["cell_type"][i]), int(optima["network"][i])
        stimulus = optima["stimulus"][i, : int(optima["n_frames"][i])]
        tuning = stimulus_tuning(network, stimulus, name, optima.protocol, position)
        found = tuning.polarity_index, tuning.direction_selectivity, tuning.preferred_direction_deg
        indices[:, position, names.index(name)] = found
    return ScoreCard("optima", tuple(names), network.names, *indices)
