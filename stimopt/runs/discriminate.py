"""Stimuli that tell networks apart: sought for every pair of classes, judged as an experiment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.analysis.discriminate import choose_questions, named_right
from stimopt.analysis.groups import group_networks
from stimopt.lattice import Floats
from stimopt.networks.model import ResponseModel
from stimopt.optimize.limited import discriminating
from stimopt.report.figures import safe_names
from stimopt.results import Result
from stimopt.runs.trainer import fit

Sets = Mapping[str, Floats]
"""Normalized responses `(networks, stimuli, frames)` of a cell type, by the set of stimuli."""


class Round(NamedTuple):
    """Candidates, for which stimuli are made, and flies, for which they are not.

    Args:
        cell_types: names.
        candidates: positions of networks.
        classes: class of each candidate; a class may be one network or a group.
        flies: positions of networks.
        truths: class of each fly.
    """

    cell_types: tuple[str, ...]
    candidates: tuple[int, ...]
    classes: tuple[int, ...]
    flies: tuple[int, ...]
    truths: tuple[int, ...]

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of classes in both orders."""
        return itertools.permutations(dict.fromkeys(self.classes), 2)

    def members(self, name: int) -> list[int]:
        """Candidates of a class."""
        return [k for k, own in zip(self.candidates, self.classes, strict=True) if own == name]


def lesioned_flies(names: Sequence[str], cell_types: Sequence[str]) -> Round | None:
    """Whole networks as candidates, each its own class, and their lesioned copies as flies.

    Args:
        names: of the networks; `X without Y` is a copy of X.
        cell_types: names.

    Returns:
        None if there are no copies, or fewer than two whole networks.
    """
    parents = [
        names.index(of) if (of := name.split(" without ")[0]) in names else k
        for k, name in enumerate(names)
    ]
    whole = tuple(k for k, parent in enumerate(parents) if k == parent)
    flies = tuple(k for k, parent in enumerate(parents) if k != parent)
    if not flies or len(whole) < 2:
        return None
    return Round(tuple(cell_types), whole, whole, flies, tuple(parents[k] for k in flies))


def flies_left_out(cell_type: str, responses: Floats, **options: Any) -> list[Round]:
    """Every network left out once, where another one of its group is left; groups as classes.

    Args:
        cell_type: name.
        responses: by which networks are grouped, `(networks, stimuli, ...)`.
        **options: of `group_networks`.

    Returns:
        None where all networks are one group.
    """
    labels = group_networks(responses, **options).labels
    rounds = []
    for fly in np.flatnonzero(labels >= 0).tolist():
        others = [k for k in np.flatnonzero(labels >= 0).tolist() if k != fly]
        classes = tuple(int(labels[k]) for k in others)
        if len(set(classes)) > 1 and int(labels[fly]) in classes:
            truth = (int(labels[fly]),)
            rounds.append(Round((cell_type,), tuple(others), classes, (fly,), truth))
    return rounds


def seek_discriminating(
    network: ResponseModel,
    chosen: Round,
    ranges: Result,
    folder: str | Path | None = None,
    *,
    steps: int = 30,
    trainer: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Result]:
    """Fit the stimuli on which a class exceeds another, for every pair of classes in both orders.

    Args:
        network: that holds all networks.
        chosen: candidates and their classes.
        ranges: result of `ResponseRange` for the cell types in all candidates.
        folder: for the fits, a folder each, from which they resume; None writes nothing.
        steps: of each fit.
        trainer: options of Lightning's Trainer.
        **options: of `discriminating`, such as `noise`, `rms_contrast` and `t_stim`.

    Returns:
        The result of each pair, by its name: `1 over 0`.
    """
    results = {}
    for first, second in chosen.pairs:
        name = " over ".join(
            "+".join(network.names[k].rsplit("/", 1)[-1] for k in chosen.members(each))
            for each in (first, second)
        )
        module = discriminating(
            network,
            list(chosen.cell_types),
            chosen.members(first),
            chosen.members(second),
            ranges,
            anneal=steps,
            **options,
        )
        where = None if folder is None else Path(folder) / safe_names([name])[0]
        results[name] = fit(module, steps, where, max_figures=0, **dict(trainer or {}))
    return results


class Judged(NamedTuple):
    """One set of stimuli, judged on the flies of a round.

    Args:
        stimuli: questions chosen, `(questions,)`, by number within the set.
        frames: in which each is read.
        fractions: named right, `(flies, trials)`.
    """

    stimuli: NDArray[np.int64]
    frames: NDArray[np.int64]
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
    judged = {}
    for name, responses in sets.items():
        expect.that(responses.shape[1], f"stimuli in {name}", "none", "leave the set out")
        candidates = responses[list(chosen.candidates)]
        stimuli, frames = choose_questions(candidates, chosen.classes, noise, number)
        asked = responses[:, stimuli, frames]
        fractions = [
            named_right(
                asked[list(chosen.candidates)],
                chosen.classes,
                asked[fly],
                truth,
                noise,
                seed=seed + fly,
                **options,
            )
            for fly, truth in zip(chosen.flies, chosen.truths, strict=True)
        ]
        judged[name] = Judged(stimuli, frames, np.array(fractions))
    return judged
