"""Rows as files that other programs read."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from stimopt.report.rows import write_rows


def test_numbers_come_back_whole_and_gaps_are_empty(tmp_path: Path) -> None:
    rows = [
        {"label": 'T4c, "best"', "share": 1 / 3, "n": 3},
        {"label": "CT1(Lo1)", "share": math.nan, "n": 0},
        {"label": "", "share": -math.inf, "n": -1},
    ]
    paths = write_rows(tmp_path / "inputs", rows)
    assert [path.name for path in paths] == ["inputs.csv", "inputs.json"]
    with paths[0].open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["label"] for row in read] == [row["label"] for row in rows]
    assert float(read[0]["share"]) == 1 / 3
    assert [row["share"] for row in read[1:]] == ["", ""]
    assert json.loads(paths[1].read_text(encoding="utf-8")) == [
        rows[0],
        {**rows[1], "share": None},
        {**rows[2], "share": None},
    ]


def test_no_rows_are_files_without_rows(tmp_path: Path) -> None:
    table, values = write_rows(tmp_path / "none", [])
    assert table.read_text().strip() == "" and json.loads(values.read_text()) == []
