"""The files of the page."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stimopt.report.page import Addition, write_page
from stimopt.results.items import select_items
from stimopt.results.result import Variable
from stimopt.results.three_optima import ThreeOptima
from tests.report.cases import HOSTILE, TUNING, optima_of, result_of


def index_of(folder: Path) -> dict[str, Any]:
    text = (folder / "data" / "index.js").read_text(encoding="utf-8")
    found = re.fullmatch(r"stimopt\.index\((.*)\);\n", text, re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1], parse_constant=lambda name: pytest.fail(name))
    return content


def test_numbers_that_json_does_not_know_are_left_out(tmp_path: Path) -> None:
    path = write_page(optima_of(["T4c", HOSTILE, "Mi1"], **TUNING), tmp_path / "page")
    assert path == tmp_path / "page" / "index.html" and path.is_file()
    rows = index_of(tmp_path / "page")["rows"]
    assert [row["label"] for row in rows] == ["T4c", HOSTILE, "Mi1"]
    assert [row["direction"] for row in rows] == [90.0, 359.7, None]
    assert rows[0]["ceiling"] is None and rows[0]["fractions"] == [None] * 3


@pytest.mark.parametrize(
    ("names", "facts"), [(["T4c"], "1 cell, 1 stimulus · "), (["T4c", "T5a"], "2 cells, 2 stimuli")]
)
def test_cells_and_stimuli_are_counted(tmp_path: Path, names: list[str], facts: str) -> None:
    write_page(result_of("artificial", names, [1.0] * len(names)), tmp_path)
    assert index_of(tmp_path)["facts"].startswith(facts)


def test_a_smaller_page_removes_cells_of_the_larger_and_nothing_else(tmp_path: Path) -> None:
    optima = optima_of(["T4a", "T4b", "T4c"])
    write_page(optima, tmp_path)
    (tmp_path / "data" / "notes.txt").write_text("mine")
    parts = (select_items(getattr(optima, kind), [0]) for kind in ("naturalistic", "regularized"))
    write_page(ThreeOptima(*parts, select_items(optima.artificial, [0])), tmp_path)
    left = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert left == ["0000-small.js", "0000.js", "index.js", "notes.txt"]
    # The same result gives the same bytes.
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    parts = (select_items(getattr(optima, kind), [0]) for kind in ("naturalistic", "regularized"))
    write_page(ThreeOptima(*parts, select_items(optima.artificial, [0])), tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_networks_agree_and_additions_become_columns(tmp_path: Path) -> None:
    result = result_of("artificial", ["T4c", "T4c"], [1.0, 2.0])
    result = dataclasses.replace(result, network_names=("a", "b"))
    result.variables["network"] = Variable(("item",), np.array([0, 1]))
    result["stimulus"][1] = result["stimulus"][0]
    extra = {"a": Addition({"robust": 0.5}), "b": Addition({"passes": "yes"})}
    write_page([result], tmp_path, lambda item: extra[item.network])
    content = index_of(tmp_path)
    assert content["networks"] == ["a", "b"] and content["extra"] == ["robust", "passes"]
    assert [row["extra"] for row in content["rows"]] == [[0.5, None], [None, "yes"]]
    assert [row["agreement"] for row in content["rows"]] == pytest.approx([1.0, 1.0], abs=1e-5)


def test_nothing_is_written_without_items(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected results with items"):
        write_page([], tmp_path / "page")
    assert not (tmp_path / "page").exists()
