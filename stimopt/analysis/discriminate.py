"""Which network is this fly? Stimuli that tell networks apart, and how often they name it right.

A question is a stimulus and the frame in which its response is read; responses are normalized,
0 for grey and 1 for the ceiling, and a trial adds normal noise. Candidates are networks, each of a
class: a class may be a network or a group of them.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stimopt import expect
from stimopt.lattice import Floats

Ints = NDArray[np.int64]


class Identification(NamedTuple):
    """How often flies are named right.

    Args:
        fraction: after each number of trials from 1 on, `(trials,)`.
        low: lower end of the 95 % interval, over flies drawn anew, `(trials,)`.
        high: its upper end.
    """

    fraction: Floats
    low: Floats
    high: Floats


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
        Stimulus and frame of each, `(number,)`; fewer if there are fewer stimuli.

    Raises:
        ValueError: for a single class, or numbers out of range.
    """
    values = np.asarray(responses, dtype=np.float64)
    labels = np.asarray(classes)
    expect.shape("classes", labels, (len(values),), "pass one for each network")
    expect.number("noise", noise, "0.1 is usual", above=0)
    expect.whole("number of stimuli", number, "4 is usual", at_least=1)
    names = list(dict.fromkeys(labels.tolist()))
    expect.that(len(names) > 1, "at least two classes", names, "add networks of another one")
    means = [values[labels == name].mean(axis=0) for name in names]
    variances = [values[labels == name].var(axis=0) for name in names]
    squares = np.array(
        [
            (means[a] - means[b]) ** 2 / (noise**2 + (variances[a] + variances[b]) / 2)
            for a, b in itertools.combinations(range(len(names)), 2)
        ]
    )
    total, chosen = np.zeros(len(squares)), list[tuple[int, int]]()
    for _ in range(min(number, values.shape[1])):
        bound = np.exp(-(total[:, None, None] + squares) / 8).sum(axis=0)
        bound[[stimulus for stimulus, _ in chosen]] = np.inf
        bound = np.where(np.isfinite(bound), bound, np.inf)
        stimulus, frame = np.unravel_index(bound.argmin(), bound.shape)
        chosen.append((int(stimulus), int(frame)))
        total += squares[:, stimulus, frame]
    return np.array(chosen)[:, 0], np.array(chosen)[:, 1]


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
        fly: its responses, `(questions,)`.
        truth: its class.
        noise: standard deviation of a trial.
        trials: shown in all.
        draws: experiments.
        seed: of the noise.

    Returns:
        Fraction of the experiments after each number of trials from 1 on, `(trials,)`.

    Raises:
        ValueError: for numbers out of range.
    """
    expect.number("noise", noise, "0.1 is usual", above=0)
    for name, value in (("trials", trials), ("draws", draws)):
        expect.whole(name, value, "at least 1", at_least=1)
    expected, labels = np.asarray(candidates, np.float64), np.asarray(classes)
    asked = np.arange(trials) % expected.shape[1]
    random = np.random.default_rng(seed)
    answers = np.asarray(fly, np.float64)[asked] + random.normal(0, noise, (draws, trials))
    errors = (answers[:, None] - expected[:, asked]) ** 2  # (draws, networks, trials)
    likelihood = -errors.cumsum(axis=2) / (2 * noise**2)
    likelihood -= likelihood.max(axis=1, keepdims=True)
    names = np.unique(labels)
    of_class = np.stack([np.exp(likelihood[:, labels == n]).mean(axis=1) for n in names], axis=1)
    return np.asarray((names[of_class.argmax(axis=1)] == truth).mean(axis=0))


def identification(fractions: ArrayLike, seed: int = 0) -> Identification:
    """Mean over flies, with the interval from drawing flies anew.

    Args:
        fractions: from `named_right`, `(flies, trials)`.
        seed: of the draws.

    Raises:
        ValueError: without a fly.
    """
    each = np.asarray(fractions, dtype=np.float64)
    expect.that(each.ndim == 2 and len(each) > 0, "at least one fly", "none", "name flies")
    draws = np.random.default_rng(seed).integers(0, len(each), (2000, len(each)))
    low, high = np.quantile(each[draws].mean(axis=1), [0.025, 0.975], axis=0)
    return Identification(each.mean(axis=0), low, high)
