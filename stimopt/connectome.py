"""The connectome: cell types, the taps between them, and the parameters a network adds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stimopt import expect
from stimopt.lattice import Floats, Ints
from stimopt.storage.files import reading

CONNECTOME_FILE = "fib25-fib19_v2.2.json"
RESERVED = ("all", "light")
"""Names that stand for something else in options and results."""

N_SYN_FILL = 1.0
"""Synapses at an offset without a count, inside the hull of those with one, as in flyvis."""


@dataclass(frozen=True)
class Taps:
    """Connections shared by all columns: target column = source column + (du, dv).

    All arrays are `(taps,)`.

    Args:
        source: position of the source's cell type.
        target: position of the target's cell type.
        du: columns from source to target, axial coordinate.
        dv: the other coordinate.
        pair: position among the connected pairs of types.
        n_syn: number of synapses.
        multiplicity: how often the file lists the tap; its weight counts that many times.
    """

    source: Ints
    target: Ints
    du: Ints
    dv: Ints
    pair: Ints
    n_syn: Floats
    multiplicity: Ints

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Connectome:
    """Cell types, the columns they occupy, and the taps between them.

    Args:
        cell_types: names, in the file's order.
        strides: for each type (su, sv): a cell stands where u % su == 0 and v % sv == 0.
        input_types: the photoreceptors; no other types receive luminance.
        output_types: the types a decoder reads, as the file names them.
        pairs: (source type, target type) in order of first appearance, `pairs` rows.
        signs: +1 excitatory or -1 inhibitory for each pair.
        taps: the connections, in order of first appearance.
    """

    cell_types: tuple[str, ...]
    strides: tuple[tuple[int, int], ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    signs: Floats
    taps: Taps

    @cached_property
    def type_index(self) -> Mapping[str, int]:
        """Position of each cell type's name."""
        return {name: i for i, name in enumerate(self.cell_types)}

    @classmethod
    def from_json(cls, path: str | Path) -> Connectome:
        """Read a connectome file in flyvis's format.

        Raises:
            ValueError: if the file is missing, is no JSON, or lacks or contradicts a field.
        """
        path = Path(path)
        advice = f"{CONNECTOME_FILE} is in the folder connectome/ of an installed flyvis"
        with reading(path, "a connectome file", advice):
            spec = json.loads(path.read_text(encoding="utf-8"))
        return cls.from_spec(spec, str(path))

    @classmethod
    def from_spec(cls, spec: Any, origin: str = "the connectome") -> Connectome:
        """Build from the parsed fields `nodes`, `edges`, `input_units`, `output_units`.

        Raises:
            ValueError: naming `origin`, if a field is missing, malformed or contradictory.
        """
        try:
            nodes, edges = spec["nodes"], spec["edges"]
            cell_types = tuple(str(node["name"]) for node in nodes)
            strides = tuple(_stride(node["pattern"]) for node in nodes)
            listed = [
                (str(e["src"]), str(e["tar"]), _sign(e["alpha"]), _offsets(e["offsets"]))
                for e in edges
            ]
            input_types = tuple(str(name) for name in spec["input_units"])
            output_types = tuple(str(name) for name in spec["output_units"])
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(
                f"expected nodes, edges, input_units and output_units as in {CONNECTOME_FILE} in "
                f"{origin}, got a missing or malformed field ({type(error).__name__}: {error}); "
                "compare it with that file"
            ) from error
        distinct = set(cell_types)
        for name in cell_types:
            plain = name.strip() == name and not set(name) & set(",>+") and name not in RESERVED
            advice = "rename it: these have a meaning in options"
            expected = (
                "names of cell types without , > + and outer spaces, other than all and light"
            )
            expect.that(plain, f"{expected}, in {origin}", repr(name), advice)
        got = f"{len(cell_types)} nodes with {len(distinct)} names"
        ok = cell_types and len(distinct) == len(cell_types)
        expect.that(ok, f"distinct cell types in {origin}", got, "name each type once")
        named = {*input_types, *output_types, *(n for src, tar, *_ in listed for n in (src, tar))}
        expected = f"edges and units between the listed cell types in {origin}"
        got = f"unknown {sorted(named - distinct)[:5]}"
        expect.that(named <= distinct, expected, got, "list them under nodes")
        expected = f"at least one input unit in {origin}"
        expect.that(input_types, expected, "none", "name the photoreceptors")
        return cls._assemble(cell_types, strides, input_types, output_types, listed)

    @classmethod
    def _assemble(
        cls,
        cell_types: tuple[str, ...],
        strides: tuple[tuple[int, int], ...],
        input_types: tuple[str, ...],
        output_types: tuple[str, ...],
        listed: Sequence[tuple[str, str, float, dict[tuple[int, int], float]]],
    ) -> Connectome:
        index = {name: i for i, name in enumerate(cell_types)}
        pairs: dict[tuple[str, str], float] = {}
        counts: dict[tuple[int, int, int, int], list[float]] = {}
        for source, target, sign, offsets in listed:
            s, t = index[source], index[target]
            for (du, dv), n_syn in offsets.items():
                # Between two sparse types most offsets lead from no cell to no cell; as in flyvis,
                # these have no parameter.
                if _lands(strides[s], strides[t], du, dv):
                    one_sign = pairs.setdefault((source, target), sign) == sign
                    advice = "split the source into two types"
                    expected = f"one sign from {source} to {target}"
                    expect.that(one_sign, expected, "both", advice)
                    counts.setdefault((s, t, du, dv), []).append(n_syn)
        pair_index = {(index[s], index[t]): i for i, (s, t) in enumerate(pairs)}
        keys = np.array(list(counts), dtype=np.int64).reshape(-1, 4)
        taps = Taps(
            source=keys[:, 0],
            target=keys[:, 1],
            du=keys[:, 2],
            dv=keys[:, 3],
            pair=np.array([pair_index[s, t] for s, t, _, _ in counts], dtype=np.int64),
            n_syn=np.array([np.mean(n) for n in counts.values()], dtype=np.float64),
            multiplicity=np.array([len(n) for n in counts.values()], dtype=np.int64),
        )
        signs = np.array(list(pairs.values()), dtype=np.float64)
        return cls(cell_types, strides, input_types, output_types, tuple(pairs), signs, taps)


@dataclass(frozen=True)
class NetworkParameters:
    """Free parameters of one network on a connectome.

    Args:
        name: of the network, shown in results and errors.
        bias: resting potential, `(types,)`.
        time_const: membrane time constant in seconds, `(types,)`.
        syn_strength: weight of one synapse, `(pairs,)`.
        sign: +1 or -1, `(pairs,)`.
        syn_count: synapses of every tap, `(taps,)`.
    """

    name: str
    bias: Floats
    time_const: Floats
    syn_strength: Floats
    sign: Floats
    syn_count: Floats

    def tap_weight(self, connectome: Connectome) -> Floats:
        """Signed weight of every tap, w = sign * count * strength, `(taps,)`."""
        pair, multiplicity = connectome.taps.pair, connectome.taps.multiplicity
        weight: Floats = self.sign[pair] * self.syn_count * self.syn_strength[pair] * multiplicity
        return weight


def _stride(pattern: Any) -> tuple[int, int]:
    kind, (su, sv) = pattern
    su, sv = int(su), int(sv)
    if kind != "stride" or su < 1 or sv < 1:
        raise ValueError(f"pattern {pattern!r}, expected ['stride', [su, sv]] with su, sv >= 1")
    return su, sv


def _sign(alpha: Any) -> float:
    if alpha not in (1, -1):
        raise ValueError(f"alpha {alpha!r}, expected 1 (excitatory) or -1 (inhibitory)")
    return float(alpha)


def _lands(source: tuple[int, int], target: tuple[int, int], du: int, dv: int) -> bool:
    """Whether the offset leads from any cell of the source type to one of the target type."""
    return all(d % math.gcd(a, b) == 0 for a, b, d in zip(source, target, (du, dv), strict=True))


def _offsets(listed: Any) -> dict[tuple[int, int], float]:
    """Synapse count by (du, dv), gaps inside the convex hull of three or more filled."""
    counts: dict[tuple[int, int], float] = {}
    for (du, dv), n_syn in listed:
        if not (np.isfinite(n_syn) and n_syn > 0):
            raise ValueError(
                f"synapse count {n_syn!r} at offset {(du, dv)}, expected a positive number"
            )
        if int(du) != du or int(dv) != dv or max(abs(int(du)), abs(int(dv))) > 100:
            raise ValueError(f"offset {(du, dv)}, expected whole columns within 100")
        if (int(du), int(dv)) in counts:
            raise ValueError(f"offset {(du, dv)} listed twice in one edge")
        counts[int(du), int(dv)] = float(n_syn)
    if len(counts) >= 3:
        for point in _inside_hull(np.array(list(counts), dtype=np.int64)):
            counts.setdefault(point, N_SYN_FILL)
    return counts


def _inside_hull(points: Ints) -> list[tuple[int, int]]:
    """Whole-number points in the convex hull of `points`, in order of (du, dv).

    Points on the hull count, but for those on its lower edge (the smallest dv): the point-in-
    polygon test in flyvis leaves these out, and its trained networks have no parameter for them.
    """
    hull = _convex_hull([(int(a), int(b)) for a, b in points])
    if len(hull) < 3:
        return []
    low, high = points.min(0), points.max(0)
    a, b = np.meshgrid(
        np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij"
    )
    inside = b > low[1]
    for (x0, y0), (x1, y1) in zip(hull, hull[1:] + hull[:1], strict=True):
        inside &= (x1 - x0) * (b - y0) - (y1 - y0) * (a - x0) >= 0
    return [(int(x), int(y)) for x, y in zip(a[inside], b[inside], strict=True)]


def _convex_hull(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Corners counter-clockwise (Andrew's monotone chain), exact in whole numbers."""

    def chain(ordered: list[tuple[int, int]]) -> list[tuple[int, int]]:
        corners: list[tuple[int, int]] = []
        for x, y in ordered:
            while len(corners) >= 2:
                (x0, y0), (x1, y1) = corners[-2:]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                corners.pop()
            corners.append((x, y))
        return corners[:-1]

    ordered = sorted(set(points))
    return chain(ordered) + chain(ordered[::-1])
