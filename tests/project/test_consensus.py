"""The script that leaves networks out of a consensus."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "consensus.py"


def test_every_network_is_left_out_in_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    options = {"cell_types": "T4c,T5a", "t_stim": 0.2, "extent": 3, "steps": 5}
    rows = main(lesions="C3,Tm3", output=str(tmp_path), **options)
    names = ["builtin", "builtin without C3", "builtin without Tm3"]
    expected = [(n, t, k) for n in names for k in (1, 2) for t in ("T4c", "T5a")]
    assert [row[:3] for row in rows] == expected
    # What is made for one network is its own optimum.
    assert all(abs(r.consensus - r.median_single) < 1e-4 for r in rows if r.made_for == 1)
    # Lesioned copies of one circuit are alike, so that what is made for two drives the third.
    assert all(0 < row.consensus < 1.01 for row in rows)
    assert all(row.median_single <= row.best_single < 1.01 for row in rows)
    assert "better than the median single optimum in" in capsys.readouterr().out
    assert (tmp_path / "consensus.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "consensus.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 1 + len(rows)
