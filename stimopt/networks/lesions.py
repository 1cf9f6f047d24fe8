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
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stimopt import expect
from stimopt.connectome import Connectome

EVERY, ONTO, TOGETHER = "all", ">", "+"
Cut = tuple[str, ...]
"""A cell type that is silenced, or the source and the target of a pathway."""


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
        ValueError: for an unknown cell type or pathway, with the nearest name, for a lesion listed
            twice, or if there is none.
    """
    texts = expect.names(lesions)
    expect.that(texts, "at least one lesion", "an empty list", "Mi9>T4c is one")
    cuts, found = _cuts(connectome), dict[frozenset[Cut], Lesion]()
    for text in texts:
        parts = [_expanded(part, cuts, connectome) for part in text.split(TOGETHER)]
        for together in itertools.product(*parts):
            cut = frozenset(together)
            if len(cut) < len(together):
                # `Mi9>T4c+all>T4c` comes by Mi9 itself.
                expect.that(len(parts) > 1 and EVERY in text, "different parts", text, "cut once")
                continue
            name = TOGETHER.join(map(ONTO.join, together))
            expect.that(cut not in found, "lesions listed once each", f"{name} twice", "remove one")
            found[cut] = Lesion(name, np.any([cuts[part] for part in together], axis=0))
    return list(found.values())


def _cuts(connectome: Connectome) -> dict[Cut, NDArray[np.bool_]]:
    """Taps of all synapses from a cell type onto others, and of each pathway, `(taps,)`."""
    taps, place = connectome.taps, connectome.type_index
    pairs = sorted(connectome.pairs, key=lambda pair: (place[pair[1]], place[pair[0]]))
    sources = sorted({source for source, _ in pairs}, key=lambda name: place[name])
    cuts: dict[Cut, NDArray[np.bool_]] = {(s,): taps.source == place[s] for s in sources}
    return cuts | {(s, t): cuts[s,] & (taps.target == place[t]) for s, t in pairs}


def _expanded(part: str, cuts: Collection[Cut], connectome: Connectome) -> list[Cut]:
    """The cell types or pathways that a part of a lesion stands for."""
    wanted = tuple(name.strip() for name in part.split(ONTO, 1))
    for name in wanted:
        expect.one_of("a cell type to lesion", name, (*connectome.cell_types, EVERY))
    alike = [cut for cut in cuts if len(cut) == len(wanted)]
    fits = [[name in (EVERY, own) for name, own in zip(wanted, cut, strict=True)] for cut in alike]
    chosen = [cut for cut, fit in zip(alike, fits, strict=True) if all(fit)]
    if len(wanted) == 1:
        advice = "silencing it changes no other cell: choose another"
        expect.that(chosen, f"synapses from {wanted[0]}", "none", advice)
    elif not chosen:
        near = [ONTO.join(cut) for cut, fit in zip(alike, fits, strict=True) if any(fit)]
        expect.one_of("a pathway to cut", ONTO.join(wanted), near)
    return chosen
