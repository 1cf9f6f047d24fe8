"""Groups of networks whose cells of a type respond alike.

Responses are compared by their correlation, so that the scale of a network does not count. Networks
are joined by average linkage; the number of groups is that with the largest mean silhouette. It
counts only if it is larger than chance: networks drawn from one normal distribution with the same
principal components would have it in less than 5 % of draws (after Liu et al. 2008, J Am Stat
Assoc). Otherwise all networks are one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.lattice import Floats, Ints

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
    """

    labels: Ints
    silhouette: float
    chance: float
    stability: float

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
    advice = "pip install 'stimopt[groups]'"
    expect.that(find_spec("scipy"), "SciPy for groups of networks", "none", advice)
    responses = np.asarray(responses, dtype=np.float64)
    enough = responses.ndim >= 2 and len(responses) >= 3 and responses[0].size > 1
    wanted = "responses (networks, stimuli, ...) of at least three networks"
    expect.that(enough, wanted, responses.shape, "load more networks")
    expect.whole("most groups", most, "5 is usual", at_least=2)
    expect.whole("resamples", resamples, "200 is usual", at_least=1)
    n_stimuli, random = responses.shape[1], np.random.default_rng(seed)
    flat = responses.reshape(len(responses), -1)
    responds = np.isfinite(flat).all(axis=1) & (flat != flat[:, :1]).any(axis=1)
    labels, used = np.where(responds, 0, -1), responses[responds]
    if len(used) < 3:
        return Grouping(labels, np.nan, np.nan, np.nan)
    points = _points(used)
    chance = _chance(points, most, resamples, random)
    labels[responds], silhouette = _divide(points, most, chance)
    drawn = (random.integers(0, n_stimuli, n_stimuli) for _ in range(resamples))
    others = [_divide(_points(used[:, which]), most, chance)[0] for which in drawn]
    agreement = [adjusted_rand_index(labels[responds], other) for other in others]
    return Grouping(labels, silhouette, chance, float(np.mean(agreement)))


def adjusted_rand_index(one: Ints, other: Ints) -> float:
    """Agreement of two groupings (Hubert and Arabie 1985): 1 if they are the same, 0 by chance."""
    i, j = np.triu_indices(len(one), 1)
    together, again = one[i] == one[j], other[i] == other[j]
    expected = together.sum() * again.sum() / len(i)
    largest = (together.sum() + again.sum()) / 2
    both = (together & again).sum()
    return 1.0 if largest == expected else float((both - expected) / (largest - expected))


def _points(responses: Floats) -> Floats:
    """Coordinates of networks, whose squared distances are 2 (1 - correlation)."""
    flat = responses.reshape(len(responses), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    # Resampled responses may all be the same number: their network stays at zero.
    points = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
    points -= points.mean(axis=0)
    # Principal components: as many numbers as networks, at the same distances.
    u, s, _ = np.linalg.svd(points, full_matrices=False)
    return np.asarray(u * s)


def _chance(points: Floats, most: int, draws: int, random: np.random.Generator) -> float:
    """Silhouette that networks from one normal distribution exceed in 5 % of the draws."""
    deviation = np.linalg.norm(points, axis=0) / np.sqrt(len(points) - 1)
    drawn = [random.normal(size=points.shape) * deviation for _ in range(draws)]
    return float(np.quantile([_divide(each, most)[1] for each in drawn], 1 - CHANCE))


def _divide(points: Floats, most: int, chance: float = -np.inf) -> tuple[Ints, float]:
    """Groups with the largest mean silhouette, and that silhouette; one group if it is chance."""
    hierarchy: Any = import_module("scipy.cluster.hierarchy")
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    tree = hierarchy.linkage(distance[np.triu_indices(len(points), 1)], "average")
    # Labelled from 0 in the order in which they appear.
    candidates = hierarchy.cut_tree(tree, range(2, min(most, len(points) - 1) + 1)).T
    scores = [_silhouette(distance, labels) for labels in candidates]
    best = int(np.argmax(scores))
    return candidates[best] if scores[best] > chance else 0 * candidates[best], scores[best]


def _silhouette(distance: Floats, labels: Ints) -> float:
    """Mean of (b - a) / max(a, b) (Rousseeuw 1987); 0 for a network that is a group of its own."""
    member = labels[:, None] == np.arange(labels.max() + 1)
    total, size = distance @ member, member.sum(axis=0)
    within = total[member] / np.maximum(size[labels] - 1, 1)
    between = np.where(member, np.inf, total / size).min(axis=1)
    larger = np.maximum(np.maximum(within, between), 1e-12)
    return float(np.where(size[labels] > 1, (between - within) / larger, 0).mean())
