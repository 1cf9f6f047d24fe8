"""The connectome: taps from the file, gaps filled as in flyvis, and a network's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stimopt.connectome import Connectome, NetworkParameters


def spec(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "nodes": [
            {"name": "R1", "pattern": ["stride", [1, 1]]},
            {"name": "L1", "pattern": ["stride", [1, 1]]},
        ],
        "edges": [{"src": "R1", "tar": "L1", "alpha": -1, "offsets": [[[0, 0], 40]]}],
        "input_units": ["R1"],
        "output_units": ["L1"],
    }
    return {**base, **changes}


def test_counts_of_the_published_connectome(connectome_file: Path) -> None:
    # 65 types, 604 pairs and 2,355 taps: what the tensors of every trained checkpoint hold.
    connectome = Connectome.from_json(connectome_file)
    assert len(connectome.cell_types) == 65
    assert len(connectome.pairs) == 604
    assert len(connectome.taps) == 2355
    offsets = set(zip(connectome.taps.du.tolist(), connectome.taps.dv.tolist(), strict=True))
    assert len(offsets) == 75
    assert max(max(abs(u), abs(v)) for u, v in offsets) == 6


def test_gaps_inside_the_hull_are_filled_with_one_synapse() -> None:
    # A triangle with corners (0, 0), (3, 0), (0, 3): by hand, (1, 1), (1, 2), (2, 1) and the
    # hull's points (0, 1), (0, 2) belong to it; (1, 0), (2, 0) lie on its lower edge and do not.
    corners = [[[0, 0], 5], [[3, 0], 5], [[0, 3], 5]]
    edges = [{"src": "R1", "tar": "L1", "alpha": -1, "offsets": corners}]
    taps = Connectome.from_spec(spec(edges=edges)).taps
    counts = {(int(u), int(v)): n for u, v, n in zip(taps.du, taps.dv, taps.n_syn, strict=True)}
    filled = {offset for offset, n in counts.items() if n == 1}
    assert filled == {(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)}
    assert all(counts[tuple(c[0])] == 5 for c in corners)


def test_a_pair_listed_twice_acts_twice() -> None:
    edge = {"src": "R1", "tar": "L1", "alpha": -1, "offsets": [[[0, 0], 40]]}
    connectome = Connectome.from_spec(spec(edges=[edge, edge]))
    assert len(connectome.pairs) == 1
    assert connectome.taps.multiplicity.tolist() == [2]
    one = np.ones(1)
    parameters = NetworkParameters(
        "twice", 0 * one, one, syn_strength=0.5 * one, sign=-one, syn_count=40 * one
    )
    assert parameters.tap_weight(connectome).tolist() == [-40.0]


def test_offsets_between_sparse_types_that_lead_nowhere_are_left_out() -> None:
    nodes = [
        {"name": "R1", "pattern": ["stride", [1, 1]]},
        {"name": "Lawf1", "pattern": ["stride", [3, 2]]},
    ]
    offsets = [[[0, 0], 2], [[1, 0], 2], [[3, 2], 2]]
    edges = [{"src": "Lawf1", "tar": "Lawf1", "alpha": 1, "offsets": offsets[:2]}]
    taps = Connectome.from_spec(spec(nodes=nodes, edges=edges, output_units=[])).taps
    assert list(zip(taps.du.tolist(), taps.dv.tolist(), strict=True)) == [(0, 0)]


SIGN = spec()["edges"][0]["alpha"]


def edge(**changes: Any) -> dict[str, Any]:
    """The one edge of `spec`, changed."""
    return {"edges": [{**spec()["edges"][0], **changes}]}


def node(*pattern: Any) -> dict[str, Any]:
    """The first node of `spec` in other columns."""
    return {"nodes": [{"name": "R1", "pattern": list(pattern)}, spec()["nodes"][1]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": None}, "malformed"),
        ({"nodes": "R1"}, "malformed"),
        ({"nodes": []}, "distinct cell types"),
        ({"nodes": spec()["nodes"] * 2}, "distinct cell types"),
        (node("tile", 3), "malformed"),
        (node("single", [1, 1]), "stride"),
        (node("stride", [0, 1]), "su, sv >= 1"),
        ({"edges": [{"src": "R1"}]}, "malformed"),
        (edge(tar="T9z"), "unknown"),
        (edge(alpha=float("nan")), "expected 1 (excitatory) or -1"),
        (edge(alpha=0.5), "expected 1 (excitatory) or -1"),
        (edge(offsets=[[[0, 0], float("nan")]]), "positive number"),
        (edge(offsets=[[[0, 0], -3]]), "positive number"),
        (edge(offsets=[[[0, 0.5], 3]]), "whole columns"),
        (edge(offsets=[[[0, 10**6], 3]]), "within 100"),
        (edge(offsets=[[[0, 0, 0], 3]]), "malformed"),
        (edge(offsets=[[[0, 0], 3], [[0, 0], 3]]), "twice"),
        (
            {"edges": spec()["edges"] + edge(alpha=-spec()["edges"][0]["alpha"])["edges"]},
            "got both",
        ),
        *(
            (
                {"nodes": [{**spec()["nodes"][0], "name": name}, spec()["nodes"][1]]},
                "names of cell types without",
            )
            for name in ("T4,c", "a>b", "a+b", " R1", "all", "light")
        ),
        ({"input_units": ["R9"]}, "unknown"),
        ({"input_units": []}, "at least one input"),
    ],
)
def test_a_bad_field_is_refused_with_its_fault(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected .*got.*;") as error:
        Connectome.from_spec(spec(**changes))
    assert message in str(error.value)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected a connectome file at .*none\.json, got no file"
    ):
        Connectome.from_json(tmp_path / "none.json")
    bad = tmp_path / "bad.json"
    bad.write_text('{"nodes": [', encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected a connectome file in .*bad\.json"):
        Connectome.from_json(bad)
    bad.write_text(json.dumps([1, 2]), encoding="utf-8")
    with pytest.raises(ValueError, match="malformed"):
        Connectome.from_json(bad)
