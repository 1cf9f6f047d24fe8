"""Which network is this fly? Stimuli that tell networks apart, and how often they name it right.

A question is a stimulus and the frame in which its response is read; responses are normalized,
0 for grey and 1 for the ceiling, and a trial adds normal noise. Candidates are networks, each of a
class: a class may be a network or a group of them. Networks that are no candidates play the fly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.analysis.groups import group_networks
from stimopt.lattice import Floats, Ints

Sets = Mapping[str, Floats]
"""Normalized responses `(networks, stimuli, frames)` of a cell type, by the set of stimuli."""


class Round(NamedTuple):
    """Candidates, for which stimuli are made, and flies, for which they are not.

    Args:
        cell_types: names.
        candidates: class of each network by its position; a class may be one network or a group.
        flies: the same of the networks that play the fly.
    """

    cell_types: tuple[str, ...]
    candidates: dict[int, int]
    flies: dict[int, int]

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of classes in both orders."""
        return itertools.permutations(dict.fromkeys(self.candidates.values()), 2)

    def members(self, name: int) -> list[int]:
        """Candidates of a class."""
        return [k for k, own in self.candidates.items() if own == name]


def lesioned_flies(names: Sequence[str], cell_types: Sequence[str]) -> Round | None:
    """Whole networks as candidates, each its own class, and their lesioned copies as flies.

    Args:
        names: of the networks; `X without Y` is a copy of X.
        cell_types: names.

    Returns:
        None if there are no copies, or fewer than two whole networks.
    """
    whole = [name.split(" without ")[0] for name in names]
    parents = {k: names.index(of) if of in names else k for k, of in enumerate(whole)}
    candidates = {k: parent for k, parent in parents.items() if k == parent}
    flies = {k: parent for k, parent in parents.items() if k != parent}
    return Round(tuple(cell_types), candidates, flies) if flies and len(candidates) > 1 else None


def flies_left_out(cell_type: str, responses: Floats, **options: Any) -> list[Round]:
    """Every network left out once, where another one of its group is left; groups as classes.

    Args:
        cell_type: name.
        responses: by which networks are grouped, `(networks, stimuli, ...)`.
        **options: of `group_networks`.

    Returns:
        The rounds; none where all networks are one group.
    """
    labels = dict(enumerate(group_networks(responses, **options).labels.tolist()))
    grouped = {k: label for k, label in labels.items() if label >= 0}
    rounds = []
    for fly, truth in grouped.items():
        others = {k: label for k, label in grouped.items() if k != fly}
        if len(set(others.values())) > 1 and truth in others.values():
            rounds.append(Round((cell_type,), others, {fly: truth}))
    return rounds


def choose_questions(
    responses: ArrayLike, classes: ArrayLike, noise: float, number: int
) -> tuple[Ints, Ints]:
    """Questions that tell classes apart best, one after the other.

    Each lowers a bound of the errors most: sum over pairs of classes of exp(-d'^2 / 8), in which
    the squares of d' = (a - b) / sqrt(noise^2 + (var a + var b) / 2) of all questions add up.

    Example:
        >>> responses = np.zeros((3, 2, 4))  # three networks, two stimuli, four frames
        >>> responses[0, 0, 1] = responses[2, 1, 3] = 1
        >>> stimuli, frames = choose_questions(responses, [0, 1, 2], noise=0.3, number=2)
        >>> sorted(zip(stimuli.tolist(), frames.tolist()))
        [(0, 1), (1, 3)]

    Args:
        responses: normalized, `(networks, stimuli, frames)`; NaN is not asked about.
        classes: class of each network, `(networks,)`.
        noise: standard deviation of a trial.
        number: of questions; of a stimulus there is one at most.

    Returns:
        Stimulus and frame of each, `(number,)`; fewer if there are fewer stimuli to ask about.

    Raises:
        ValueError: for a single class, numbers out of range, or arrays that do not fit or have no
            stimulus to which all networks respond in finite numbers.
    """
    values, labels = np.asarray(responses, np.float64), np.asarray(classes)
    axes = ("networks", "stimuli", "frames")
    expect.shape("responses", values, axes, "pass those of one cell type")
    expect.shape("classes", labels, (len(values),), "pass one for each network")
    known = np.isfinite(values).all(axis=0).any(axis=-1)
    advice = "leave out networks that are not stable"
    expect.that(known.any(), "a stimulus with finite responses of all networks", "none", advice)
    expect.number("noise", noise, "0.1 is usual", above=0)
    expect.whole("number of stimuli", number, "4 is usual", at_least=1)
    names = list(dict.fromkeys(labels.tolist()))
    expect.that(len(names) > 1, "at least two classes", names, "add networks of another one")
    means = np.stack([values[labels == name].mean(axis=0) for name in names])
    variances = np.stack([values[labels == name].var(axis=0) for name in names])
    a, b = np.triu_indices(len(names), 1)
    spread = noise**2 + (variances[a] + variances[b]) / 2
    squares = (means[a] - means[b]) ** 2 / spread
    total = np.zeros(len(squares))
    stimuli, frames = np.zeros((2, min(number, known.sum())), np.int64)
    for n in range(len(stimuli)):
        bound = np.exp(-(total[:, None, None] + squares) / 8).sum(axis=0)
        bound[stimuli[:n]] = np.inf
        bound = np.where(np.isfinite(bound), bound, np.inf)
        stimuli[n], frames[n] = np.unravel_index(bound.argmin(), bound.shape)
        total += squares[:, stimuli[n], frames[n]]
    return stimuli, frames


def named_right(
    candidates: ArrayLike,
    classes: ArrayLike,
    fly: ArrayLike,
    truth: int,
    noise: float,
    *,
    trials: int = 20,
    draws: int = 500,
    seed: int = 0,
) -> Floats:
    """How often a fly is named right from noisy answers to questions that are asked in turn.

    The class with the largest likelihood, mean over its members, is named.

    Args:
        candidates: normalized responses to each question, `(networks, questions)`.
        classes: class of each of them, `(networks,)`.
        fly: its responses, `(questions,)`; it is never named if one is not finite.
        truth: its class.
        noise: standard deviation of a trial.
        trials: shown in all.
        draws: experiments.
        seed: of the noise.

    Returns:
        Fraction of the experiments after each number of trials from 1 on, `(trials,)`.

    Raises:
        ValueError: for numbers out of range, or arrays that do not fit or are not finite.
    """
    expect.number("noise", noise, "0.1 is usual", above=0)
    for name, value in (("trials", trials), ("draws", draws)):
        expect.whole(name, value, "at least 1", at_least=1)
    expected, labels = np.asarray(candidates, np.float64), np.asarray(classes)
    own, advice = np.asarray(fly, np.float64), "pass a response to each question"
    expect.shape("responses of candidates", expected, ("networks", "questions"), advice)
    expect.finite("responses of candidates", expected, "ask what all of them answer")
    expect.shape("classes", labels, (len(expected),), "pass one for each network")
    expect.shape("responses of a fly", own, (expected.shape[1],), advice)
    expect.that(truth in labels, "a fly of one of the classes", truth, "pass its class")
    if not np.isfinite(own).all():
        return np.zeros(trials)
    asked = np.arange(trials) % expected.shape[1]
    random = np.random.default_rng(seed)
    answers = own[asked] + random.normal(0, noise, (draws, trials))
    errors = (answers[:, None] - expected[:, asked]) ** 2  # (draws, networks, trials)
    likelihood = -errors.cumsum(axis=2) / (2 * noise**2)
    likelihood -= likelihood.max(axis=1, keepdims=True)
    names = np.unique(labels)
    of_class = np.stack([np.exp(likelihood[:, labels == n]).mean(axis=1) for n in names], axis=1)
    return np.asarray((names[of_class.argmax(axis=1)] == truth).mean(axis=0))


class Judged(NamedTuple):
    """One set of stimuli, judged on the flies of a round.

    Args:
        stimuli: questions chosen, `(questions,)`, by number within the set.
        frames: in which each is read.
        fractions: named right, `(flies, trials)`.
    """

    stimuli: Ints
    frames: Ints
    fractions: Floats


def judge(
    chosen: Round, sets: Sets, *, noise: float, number: int, seed: int = 0, **options: Any
) -> dict[str, Judged]:
    """Choose the best questions of each set for the candidates, and name the flies by them.

    Args:
        chosen: candidates and flies.
        sets: responses of all networks of one cell type.
        noise: standard deviation of a trial.
        number: of questions.
        seed: of the noise, other for each fly.
        **options: of `named_right`: trials and draws.

    Raises:
        ValueError: for an empty set, and as for `choose_questions`.
    """
    judged, whole, classes = {}, list(chosen.candidates), list(chosen.candidates.values())
    for name, responses in sets.items():
        expect.that(responses.shape[1], f"stimuli in {name}", "none", "leave the set out")
        stimuli, frames = choose_questions(responses[whole], classes, noise, number)
        asked = responses[:, stimuli, frames]
        fractions = [
            named_right(asked[whole], classes, asked[fly], truth, noise, seed=seed + fly, **options)
            for fly, truth in chosen.flies.items()
        ]
        judged[name] = Judged(stimuli, frames, np.array(fractions))
    return judged
