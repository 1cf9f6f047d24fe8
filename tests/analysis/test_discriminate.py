"""Who plays the fly, and questions: by hand, and against the closed form of two candidates."""

from __future__ import annotations

from math import erf, sqrt
from typing import Any

import numpy as np
import pytest

from stimopt.analysis.discriminate import (
    Round,
    choose_questions,
    flies_left_out,
    lesioned_flies,
    named_right,
)

NAMES = ["a", "b", "a without Mi9", "b without Mi9"]


def test_copies_are_flies_of_the_network_they_are_copies_of() -> None:
    chosen = lesioned_flies(NAMES, ["T4c"])
    assert chosen == Round(("T4c",), {0: 0, 1: 1}, {2: 0, 3: 1})
    assert list(chosen.pairs) == [(0, 1), (1, 0)] and chosen.members(1) == [1]
    assert lesioned_flies(["a", "b"], ["T4c"]) is None
    assert lesioned_flies(["a", "a without Mi9"], ["T4c"]) is None


def test_a_network_left_out_is_a_fly_if_its_group_has_another_member() -> None:
    pytest.importorskip("scipy", reason="groups need the extra 'groups'")
    random = np.random.default_rng(1)
    one, other = random.normal(size=(2, 200))
    responses = np.stack([one] * 4 + [other] * 4) + random.normal(0, 0.2, (8, 200))
    rounds = flies_left_out("T4c", responses, resamples=50)
    assert [r.flies for r in rounds] == [{k: int(k > 3)} for k in range(8)]
    assert all(len(r.candidates) == 7 and not {*r.flies} & {*r.candidates} for r in rounds)
    alike = one + random.normal(0, 0.2, (8, 200))
    assert flies_left_out("T4c", alike, resamples=50) == []


def test_two_candidates_are_named_as_the_normal_distribution_says() -> None:
    """P(right) after n trials is Phi(|a - b| sqrt(n) / (2 noise))."""
    right = named_right([[0.2], [0.5]], [0, 1], [0.5], 1, 0.4, trials=9, draws=20_000)
    for n in (1, 4, 9):
        wanted = 0.5 * (1 + erf(0.3 * sqrt(n) / (2 * 0.4) / sqrt(2)))
        assert right[n - 1] == pytest.approx(wanted, abs=4 * sqrt(0.25 / 20_000))


def test_questions_are_asked_in_turn() -> None:
    # Only the second question distinguishes, so the first trial is a toss between equals.
    candidates = [[0.0, 0.0], [0.0, 1.0]]
    right = named_right(candidates, [0, 1], [0.0, 1.0], 1, 0.05, trials=4, draws=200)
    assert right[0] == 0.0 and right[1:].tolist() == [1.0] * 3


def test_a_class_is_named_by_any_of_its_members() -> None:
    candidates, classes = [[0.0], [1.0], [0.5]], [0, 0, 1]
    for fly, truth in ((0.02, 0), (0.98, 0), (0.5, 1)):
        right = named_right(candidates, classes, [fly], truth, 0.05, trials=2, draws=100)
        assert right.tolist() == [1.0, 1.0]


def test_questions_are_chosen_for_the_pairs_that_are_still_alike() -> None:
    # Stimulus 0 tells network 0 from the others best, stimulus 2 is almost as good at that, and
    # stimulus 1 alone tells 1 from 2.
    responses = np.zeros((3, 3, 2))
    responses[0, 0, 1], responses[0, 2, 0], responses[1, 1, 0] = 1.0, 0.9, 0.6
    stimuli, frames = choose_questions(responses, [0, 1, 2], 0.2, 2)
    assert list(zip(stimuli.tolist(), frames.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert len(choose_questions(responses, [0, 1, 2], 0.2, 9)[0]) == 3


def test_spread_within_a_class_counts_as_noise_and_nan_is_not_asked_about() -> None:
    responses = np.zeros((4, 3, 1))
    responses[:, 0, 0] = [0.0, 1.6, -1.0, -0.6]  # means 1.6 apart, far apart within
    responses[:, 1, 0] = [0.5, 0.5, 0.0, 0.0]
    responses[0, 2, 0] = np.nan
    assert choose_questions(responses, [0, 0, 1, 1], 0.1, 1)[0].tolist() == [1]


def test_refuses_what_makes_no_sense() -> None:
    flat = np.zeros((2, 3, 4))
    for message, call in (
        ("at least two classes", lambda: choose_questions(flat, [1, 1], 0.1, 1)),
        ("noise", lambda: choose_questions(flat, [0, 1], 0.0, 1)),
        ("number of stimuli", lambda: choose_questions(flat, [0, 1], 0.1, 0)),
        ("classes", lambda: choose_questions(flat, [0, 1, 2], 0.1, 1)),
        ("trials", lambda: named_right([[0.0]], [0], [0.0], 0, 0.1, trials=0)),
    ):
        with pytest.raises(ValueError, match=r"^expected .*, got .*") as error:
            call()
        assert message in str(error.value)


def test_what_is_not_finite_is_neither_asked_about_nor_named() -> None:
    responses = np.zeros((2, 3, 4))
    responses[1, 0] = responses[1, 1] = 1.0
    responses[0, 0, :], responses[1, 2, :] = np.nan, np.nan
    assert choose_questions(responses, [0, 1], noise=0.1, number=3)[0].tolist() == [1]
    with pytest.raises(ValueError, match="a stimulus with finite responses of all networks"):
        choose_questions(responses[:, [0, 2]], [0, 1], noise=0.1, number=3)
    candidates = [[0.0, 1.0], [1.0, 0.0]]
    assert named_right(candidates, [0, 1], [np.nan, 1.0], 0, 0.1, trials=3).tolist() == [0.0] * 3


@pytest.mark.parametrize(
    ("message", "candidates", "classes", "fly", "truth"),
    [
        (r"candidates \(networks, questions\), got \(2, 0\)", np.zeros((2, 0)), [0, 1], [], 0),
        ("finite responses of candidates", [[0.0], [np.nan]], [0, 1], [0.0], 0),
        (r"classes \(2\), got \(1,\)", [[0.0], [1.0]], [0], [0.0], 0),
        (r"of a fly \(1\), got \(2,\)", [[0.0], [1.0]], [0, 1], [0.0, 1.0], 0),
        ("a fly of one of the classes, got 5", [[0.0], [1.0]], [0, 1], [0.0], 5),
    ],
)
def test_refuses_answers_that_do_not_fit(
    message: str, candidates: Any, classes: list[int], fly: list[float], truth: int
) -> None:
    with pytest.raises(ValueError, match=message):
        named_right(candidates, classes, fly, truth, 0.1)
