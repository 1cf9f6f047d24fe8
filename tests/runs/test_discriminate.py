"""Who is a candidate and who plays the fly; stimuli for every pair."""

from __future__ import annotations

import numpy as np
import pytest

from stimopt.optimize.ceiling import ResponseRange
from stimopt.runs.discriminate import (
    Round,
    flies_left_out,
    judge,
    lesioned_flies,
    seek_discriminating,
)
from stimopt.runs.trainer import fit
from tests.search.cases import two_networks

NAMES = ["a", "b", "a without Mi9", "b without Mi9"]


def test_copies_are_flies_of_the_network_they_are_copies_of() -> None:
    chosen = lesioned_flies(NAMES, ["T4c"])
    assert chosen == Round(("T4c",), (0, 1), (0, 1), (2, 3), (0, 1))
    assert list(chosen.pairs) == [(0, 1), (1, 0)] and chosen.members(1) == [1]
    assert lesioned_flies(["a", "b"], ["T4c"]) is None
    assert lesioned_flies(["a", "a without Mi9"], ["T4c"]) is None


def test_a_network_left_out_is_a_fly_if_its_group_has_another_member() -> None:
    pytest.importorskip("scipy", reason="groups need the extra 'groups'")
    random = np.random.default_rng(1)
    one, other = random.normal(size=(2, 200))
    responses = np.stack([one] * 4 + [other] * 4) + random.normal(0, 0.2, (8, 200))
    rounds = flies_left_out("T4c", responses, resamples=50)
    assert [(r.flies, r.truths) for r in rounds] == [((k,), (int(k > 3),)) for k in range(8)]
    assert all(len(r.candidates) == 7 and r.flies[0] not in r.candidates for r in rounds)
    alike = one + random.normal(0, 0.2, (8, 200))
    assert flies_left_out("T4c", alike, resamples=50) == []


def test_stimuli_for_a_pair_name_the_candidates_themselves() -> None:
    network = two_networks(extent=3)
    ranges = fit(ResponseRange(network, "T4c", t_stim=0.1), steps=15)
    chosen = Round(("T4c",), (0, 1), (0, 1), (0, 1), (0, 1))
    options = {"noise": 0.1, "t_stim": 0.1, "rms_contrast": 0.2}
    made = seek_discriminating(network, chosen, ranges, steps=10, **options)
    assert [len(result["label"]) for result in made.values()] == [1, 1]
    assert all(result["rms_contrast"][0] <= 0.2001 for result in made.values())
    last = np.array([result["reading_response"][0, :, -1] for result in made.values()])
    # Responses to the two stimuli, in the order of the pairs; the second reads the networks turned.
    last[1] = last[1, ::-1]
    grey, span = (
        np.array([float(ranges[name][ranges["network"] == k][0]) for k in (0, 1)])
        for name in ("grey_objective", "objective")
    )
    answers = ((last - grey) / (span - grey)).T[:, :, None]
    judged = judge(chosen, {"made": answers}, noise=0.1, number=2, trials=40, draws=100)
    assert judged["made"].fractions.shape == (2, 40)
    assert (judged["made"].fractions[:, -1] > 0.9).all()
    with pytest.raises(ValueError, match="expected stimuli in clips, got none"):
        judge(chosen, {"clips": answers[:, :0]}, noise=0.1, number=2)
