"""Groups of networks whose cells of a type respond alike.

Responses are compared by their correlation, so that the scale of a network does not count. Networks
are joined by average linkage; the number of groups is that with the largest mean silhouette. It
counts only if it is larger than chance: networks drawn from one normal distribution with the same
principal components would have it in less than 5 % of draws (after Liu et al. 2008, J Am Stat
Assoc). Otherwise all networks are one group.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stimopt import expect
from stimopt.analysis.central_response import central_traces
from stimopt.items import ALL, choose_cell_types
from stimopt.lattice import Floats
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol

Ints = NDArray[np.int64]
CHANCE = 0.05
"""Part of the draws from one distribution that may be taken for several groups."""


@dataclass(frozen=True)
class Grouping:
    """Groups of networks.

    Attributes:
        labels: group of each network, from 0 in the order in which they appear, `(networks,)`;
            -1 for a network whose cell does not respond, or not in finite numbers.
        silhouette: mean silhouette of the best division, whether it counts or not.
        chance: what it must exceed.
        stability: mean adjusted Rand index between the groups and those from resampled stimuli,
            1 if they are always the same.
        together: part of the resamplings in which two networks share a group,
            `(networks, networks)`; NaN for networks that do not respond.
    """

    labels: Ints
    silhouette: float
    chance: float
    stability: float
    together: Floats

    @property
    def n_groups(self) -> int:
        """Number of groups; 1 is a possible answer."""
        return int(self.labels.max()) + 1


def group_networks(
    responses: ArrayLike, *, most: int = 5, resamples: int = 200, seed: int = 0
) -> Grouping:
    """Group networks by the responses of one cell type.

    Example:
        >>> random = np.random.default_rng(0)
        >>> one, other = random.normal(size=(2, 100))
        >>> responses = np.stack([one] * 4 + [other] * 4) + random.normal(0, 0.3, (8, 100))
        >>> group_networks(responses).labels.tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]

    Args:
        responses: `(networks, stimuli, ...)`, such as those of `responses_to`.
        most: largest number of groups.
        resamples: how often stimuli are drawn anew, and networks from one distribution.
        seed: of both draws.

    Raises:
        ValueError: for fewer than three networks, or without SciPy.
    """
    responses = np.asarray(responses, dtype=np.float64)
    expect.that(
        responses.ndim >= 2 and len(responses) >= 3 and responses[0].size > 1,
        "responses (networks, stimuli, ...) of at least three networks",
        responses.shape,
        "load more networks",
    )
    expect.whole("most groups", most, "5 is usual", at_least=2)
    expect.whole("resamples", resamples, "200 is usual", at_least=1)
    n_stimuli, random = responses.shape[1], np.random.default_rng(seed)
    flat = responses.reshape(len(responses), -1)
    responds = np.isfinite(flat).all(axis=1) & (flat != flat[:, :1]).any(axis=1)
    labels, pairs = np.full(len(responses), -1), np.ix_(responds, responds)
    together = np.full((len(responses), len(responses)), np.nan)
    if responds.sum() < 3:
        labels[responds] = 0
        return Grouping(labels, np.nan, np.nan, np.nan, together)
    used = responses[responds]
    points = _points(used)
    chance = _chance(points, most, resamples, random)
    best, silhouette = _divide(points, most)
    own = best if silhouette > chance else np.zeros_like(best)
    agreement, shared = [], np.zeros((len(used), len(used)))
    for _ in range(resamples):
        drawn = _points(used[:, random.integers(0, n_stimuli, n_stimuli)])
        other, other_silhouette = _divide(drawn, most)
        other = other if other_silhouette > chance else np.zeros_like(other)
        agreement.append(adjusted_rand_index(own, other))
        shared += other[:, None] == other
    labels[responds], together[pairs] = own, shared / resamples
    return Grouping(labels, silhouette, chance, float(np.mean(agreement)), together)


def responses_to(
    network: ResponseModel,
    stimuli: ArrayLike,
    cell_types: str | Sequence[str] = ALL,
    protocol: Protocol | None = None,
) -> Floats:
    """Central voltages above grey to movies or probes, `(networks, types, stimuli, frames)`.

    Args:
        network: simulated.
        stimuli: luminance, `(stimuli, frames, columns)`.
        cell_types: a name, several, several with commas between, or `all`.
        protocol: pre-stimulus and duration of a frame; its baseline is not used.

    Raises:
        ValueError: for an unknown cell type, or stimuli that do not fit.
    """
    names, shown = choose_cell_types(network, cell_types), np.asarray(stimuli, np.float32)
    wanted = ("stimuli", "frames", network.lattice.n_columns)
    expect.shape("stimuli", shown, wanted, "pass those for the network's extent")
    luminance, protocol = torch.as_tensor(shown), protocol or Protocol()
    traces = [
        central_traces(network, luminance, names, protocol, position)
        for position in range(network.n_networks)
    ]
    return np.moveaxis(np.stack(traces), 3, 1)


def adjusted_rand_index(one: Ints, other: Ints) -> float:
    """Agreement of two groupings (Hubert and Arabie 1985): 1 if they are the same, 0 by chance."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)

    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / pairs(table.sum(keepdims=True))
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def _points(responses: Floats) -> Floats:
    """Coordinates of networks, whose squared distances are 2 (1 - correlation)."""
    flat = responses.reshape(len(responses), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    points = np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 0)
    points = points - points.mean(axis=0)
    # Principal components: as many numbers as networks, at the same distances.
    u, s, _ = np.linalg.svd(points, full_matrices=False)
    return np.asarray(u * s)


def _chance(points: Floats, most: int, draws: int, random: np.random.Generator) -> float:
    """Silhouette that networks from one normal distribution exceed in 5 % of the draws."""
    deviation = np.linalg.norm(points, axis=0) / np.sqrt(len(points) - 1)
    drawn = [random.normal(size=points.shape) * deviation for _ in range(draws)]
    return float(np.quantile([_divide(each, most)[1] for each in drawn], 1 - CHANCE))


def _divide(points: Floats, most: int) -> tuple[Ints, float]:
    """Groups with the largest mean silhouette among two and more, and that silhouette."""
    hierarchy = _import_hierarchy()
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    tree = hierarchy.linkage(distance[np.triu_indices(len(points), 1)], "average")
    numbers = range(2, min(most, len(points) - 1) + 1)
    candidates = [_in_order(hierarchy.cut_tree(tree, number)[:, 0]) for number in numbers]
    scores = [_silhouette(distance, labels) for labels in candidates]
    best = int(np.argmax(scores))
    return candidates[best], scores[best]


def _import_hierarchy() -> Any:
    """SciPy, which only groups need."""
    try:
        return importlib.import_module("scipy.cluster.hierarchy")
    except ImportError as error:
        raise ValueError(
            "expected SciPy for groups of networks, got none; pip install 'stimopt[groups]'"
        ) from error


def _silhouette(distance: Floats, labels: Ints) -> float:
    """Mean of (b - a) / max(a, b) (Rousseeuw 1987); 0 for a network that is a group of its own."""
    member = labels[:, None] == np.arange(labels.max() + 1)
    total, size = distance @ member, member.sum(axis=0)
    rows = np.arange(len(labels))
    within = total[rows, labels] / np.maximum(size[labels] - 1, 1)
    between = np.where(member, np.inf, total / size).min(axis=1)
    larger = np.maximum(np.maximum(within, between), 1e-12)
    return float(np.where(size[labels] > 1, (between - within) / larger, 0).mean())


def _in_order(labels: Ints) -> Ints:
    """Labels from 0 in the order in which they appear."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])
