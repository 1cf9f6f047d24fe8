"""Groups of networks: known ones, none, and how well resampling repeats them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from stimopt.analysis.groups import adjusted_rand_index, group_networks
from stimopt.lattice import Floats

pytest.importorskip("scipy", reason="groups need the extra 'groups'")


def networks(sizes: list[int], noise: float, seed: int = 0, stimuli: int = 100) -> Floats:
    """Responses of groups of networks, each with its own tuning, in units of their own."""
    random = np.random.default_rng(seed)
    tuning = np.repeat(random.normal(size=(len(sizes), stimuli)), sizes, axis=0)
    responses = tuning + random.normal(0, noise, tuning.shape)
    return np.asarray(responses * random.uniform(0.1, 10, (len(tuning), 1)) + 5)


@pytest.mark.parametrize(("sizes", "labels"), [([3, 2], [0, 0, 0, 1, 1]), ([6, 5, 4], None)])
def test_finds_the_groups_that_there_are(sizes: list[int], labels: list[int] | None) -> None:
    grouping = group_networks(networks(sizes, noise=0.2), resamples=50)
    expected = np.repeat(np.arange(len(sizes)), sizes)
    assert grouping.labels.tolist() == (expected.tolist() if labels is None else labels)
    assert grouping.n_groups == len(sizes)
    assert grouping.silhouette > grouping.chance
    assert grouping.stability > 0.95


def test_one_group_is_an_answer() -> None:
    """Networks that differ by chance are one group in at least as many draws as promised."""
    numbers = [
        group_networks(networks([8], 1.0, seed), resamples=40, seed=seed).n_groups
        for seed in range(20)
    ]
    assert numbers.count(1) >= 18


def test_a_network_that_does_not_respond_is_in_no_group() -> None:
    responses = networks([3, 3], noise=0.2)
    responses[1], responses[4, 3] = 2.5, np.inf
    grouping = group_networks(responses, resamples=20)
    assert grouping.labels.tolist() == [0, -1, 0, 1, -1, 1]
    responses[2:] = 0.0
    few = group_networks(responses, resamples=20)
    assert few.labels.tolist() == [0, -1, -1, -1, -1, -1] and np.isnan(few.stability)


def test_a_seed_makes_it_repeatable_and_units_do_not_count() -> None:
    responses = networks([4, 4], noise=0.8)
    one = group_networks(responses, resamples=30, seed=3)
    scaled = responses * np.arange(1, 9)[:, None] - np.arange(8)[:, None]
    same = group_networks(scaled, resamples=30, seed=3)
    assert one.chance == pytest.approx(same.chance) and one.stability == same.stability
    assert group_networks(responses, resamples=30, seed=4).chance != one.chance


def test_agreement_of_groupings() -> None:
    one = np.array([0, 0, 0, 1, 1, 1])
    assert adjusted_rand_index(one, 1 - one) == 1
    # The example of Hubert and Arabie's formula: pairs 2 of 6 and 3, of 15.
    other = np.array([0, 0, 1, 1, 2, 2])
    assert adjusted_rand_index(one, other) == pytest.approx((2 - 6 * 3 / 15) / (4.5 - 6 * 3 / 15))
    alone = np.zeros(6, int)
    assert adjusted_rand_index(alone, alone) == 1
    assert adjusted_rand_index(one, alone) == 0


def test_refuses_what_cannot_be_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    for responses in (networks([2], 1.0), networks([3], 1.0)[:, 0]):
        with pytest.raises(ValueError, match=r"^expected .*, got .*; "):
            group_networks(responses)
    with pytest.raises(ValueError, match=r"^expected most groups .*, got 1; "):
        group_networks(networks([3], 1.0), most=1)

    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ValueError, match=r"got none; pip install 'stimopt\[groups\]'"):
        group_networks(networks([3], 1.0), resamples=1)
