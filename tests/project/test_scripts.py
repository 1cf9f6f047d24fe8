"""The scripts that ask a question of many cell types at once."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path
from typing import Any

import pytest

from stimopt.cli import main
from tests.search.cases import noise_store

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_a_row_for_every_optimum_and_its_edges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(SCRIPTS / "ensemble_tuning.py"))["main"]
    options: dict[str, Any] = {"speeds": (19.0,), "t_stim": 0.2, "extent": 3, "steps": 2}
    rows = script(cell_types="T4c,L1", output=str(tmp_path), **options)
    printed = capsys.readouterr().out
    assert "not direction selective: builtin L1" in printed
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["cell_type"] for row in written] == ["T4c", "L1"]
    assert [float(row["response"]) for row in written] == [row.response for row in rows]
    # As text, because a percentile without clips is NaN and equals nothing.
    assert repr(script(cell_types="T4c,L1", output=str(tmp_path), **options)) == repr(rows)


# A handful of steps finds no greyer stimulus for some cell types.
@pytest.mark.filterwarnings("ignore:expected a greyer stimulus")
def test_every_clip_of_a_search_is_regularized(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ["--network.extent=3", "--trainer.accelerator=cpu"]
    searched = tmp_path / "search"
    store = noise_store(tmp_path, lengths=(12,))
    options = [f"--data.stores=[{store}]", "--model.cell_types=all", f"--output={searched}"]
    assert main(["search", *options, *shared]) == 0
    arguments = [
        str(searched / "result.h5"),
        f"--output={tmp_path / 'all'}",
        "--trainer.max_steps=20",
        *shared,
    ]
    monkeypatch.setattr("sys.argv", ["regularize_all.py", *arguments])
    code = runpy.run_path(str(SCRIPTS / "regularize_all.py"))["main"]()
    printed = capsys.readouterr().out
    assert code in (0, 1) and "have every pixel in [0, 1]" in printed
    assert any(line.startswith("T4c ") for line in printed.splitlines())
