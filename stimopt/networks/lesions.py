"""Lesions: cell types silenced and pathways cut, as the weights of taps set to zero.

A lesion is written as

    Mi9                 a cell type is silenced: all synapses from its cells are cut
    Mi9>T4c             the pathway from one cell type to another is cut
    Mi9>T4c+Mi4>T4c     both are cut together

and `all` in place of a name stands for every cell type in turn, a lesion each: `all>T4c` are the
presynaptic pathways of T4c one by one, `Mi4>all` the postsynaptic ones of Mi4, `all` silences every
cell type in turn, and `Mi9>T4c+all>T4c` cuts one more pathway beside Mi9's each time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.connectome import Connectome

EVERY, ONTO, TOGETHER = "all", ">", "+"


class Lesion(NamedTuple):
    """Taps that are cut together.

    Args:
        name: as at the head of this file.
        taps: those that are cut, `(taps,)`, bool.
    """

    name: str
    taps: NDArray[np.bool_]


def find_lesions(lesions: str | Sequence[str], connectome: Connectome) -> list[Lesion]:
    """The lesions that texts stand for, in the order of the texts and of the cell types.

    Args:
        lesions: one, several, or several with commas between; written as at the head of this file.
        connectome: to be lesioned.

    Raises:
        ValueError: for an unknown cell type or pathway, with the nearest names, for a lesion listed
            twice, or if there is none.
    """
    texts = lesions.split(",") if isinstance(lesions, str) else list(lesions)
    expect.that(texts, "at least one lesion", "an empty list", "Mi9>T4c is one")
    found: dict[frozenset[str], Lesion] = {}
    for text in texts:
        parts = [_expanded(part.strip(), connectome) for part in text.split(TOGETHER)]
        for names in itertools.product(*parts):
            cut = frozenset(names)
            if len(cut) < len(names):
                # `Mi9>T4c+all>T4c` comes by Mi9 itself.
                expect.that(len(parts) > 1 and EVERY in text, "different parts", text, "cut once")
                continue
            name = TOGETHER.join(names)
            expect.that(cut not in found, "lesions listed once each", f"{name} twice", "remove one")
            taps = np.any([_taps(part, connectome) for part in names], axis=0)
            found[cut] = Lesion(name, taps)
    return list(found.values())


def _expanded(part: str, connectome: Connectome) -> list[str]:
    """The cell types or pathways that a part of a lesion stands for; each of them cuts some tap."""
    source, is_pathway, target = (piece.strip() for piece in part.partition(ONTO))
    for name in (source, target) if is_pathway else (source,):
        expect.one_of("a cell type to lesion", name, (*connectome.cell_types, EVERY))
    sources = _in_order({s for s, _ in connectome.pairs}, connectome)
    if not is_pathway:
        if source == EVERY:
            return sources
        advice = "silencing it changes no other cell: choose another"
        expect.that(source in sources, f"synapses from {source}", "none", advice)
        return [source]
    pairs = [
        (s, t)
        for t in _in_order({t for _, t in connectome.pairs}, connectome)
        for s in _in_order({s for s, other in connectome.pairs if other == t}, connectome)
    ]
    chosen = [ONTO.join(p) for p in pairs if source in (p[0], EVERY) and target in (p[1], EVERY)]
    if not chosen:
        near = [ONTO.join(pair) for pair in pairs if pair[1] == target or pair[0] == source]
        expect.one_of("a pathway to cut", ONTO.join((source, target)), near)
    return chosen


def _in_order(names: set[str], connectome: Connectome) -> list[str]:
    return [name for name in connectome.cell_types if name in names]


def _taps(part: str, connectome: Connectome) -> NDArray[np.bool_]:
    """Taps of a cell type's synapses onto others or of a pathway, `(taps,)`."""
    source, is_pathway, target = part.partition(ONTO)
    cut = connectome.taps.source == connectome.type_index[source]
    if is_pathway:
        cut = cut & (connectome.taps.target == connectome.type_index[target])
    return np.asarray(cut)
