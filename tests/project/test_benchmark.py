"""The benchmark's arithmetic on known figures, and a small run of it without flyvis.

The run answers in the process of the tests, but for the start of commands; with `-m slow` also in
processes of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("table")


def test_growth_sees_a_slope_and_no_outlier(table: ModuleType) -> None:
    # From 1 s at the 10th step by 0.1 % of that a step, over 191 steps.
    steps = [9.0] * 9 + [1 + 0.001 * i for i in range(191)]
    steps[50] = steps[120] = 40.0
    start = 1 + 0.001 * 19  # the middle of the first fifth
    assert table.growth(steps) == pytest.approx(100 * 0.191 / start, rel=0.03)
    flat = [1.0] * 200
    flat[49::50] = [3.0] * 4
    assert table.growth(flat) == 0


def test_slope_of_a_power_law(table: ModuleType) -> None:
    sizes = [20, 40, 80, 160]
    assert table.log_slope(sizes, [3 * n**1.25 for n in sizes]) == pytest.approx(1.25)


def test_a_machine_that_changes_its_speed_does_not_change_the_overhead(table: ModuleType) -> None:
    # A step of 10 ms and 2 ms of Trainer, at three speeds of the machine, one picture among them.
    speeds = [1.0] * 10 + [1.5] * 11 + [2.0] * 10
    answer = {
        "bare_seconds": [0.010 * speed for speed in speeds],
        "trained_seconds": [0.012 * speed for speed in speeds],
    }
    answer["trained_seconds"][3] += 0.31
    assert table.overhead(answer, statistics.median) == pytest.approx(20)
    assert table.overhead(answer, statistics.fmean) == pytest.approx(20 + 100 * 0.31 / 0.465)


def test_a_loss_counts_that_is_one_per_cent_worse_but_not_more(table: ModuleType) -> None:
    reference = [-100.0, -100.0, 2.0, 2.0]
    assert table.within([-99.01, -98.9, 2.019, 2.021], reference) == 2


def test_the_table_of_the_readme(table: ModuleType) -> None:
    shown = table.Row("a step", 2.0, "ms", 80.0, 40.0, 5.0, 2.5, ">= 2 x", True, readme=True)
    alone = table.Row("start", 0.25, "s", readme=True)
    left_out = table.Row("growth", 1.0, "%")
    assert table.markdown([shown, left_out, alone]).splitlines()[2:] == [
        "| a step | 2 ms | 80 ms | 40 x | 5 ms | 2.5 x |",
        "| start | 0.25 s | - | - | - | - |",
    ]


def test_the_readme_has_the_table_that_was_measured(table: ModuleType) -> None:
    measured = json.loads((BENCHMARKS / "2-cores.json").read_text())["rows"]
    readme = (BENCHMARKS.parent / "README.md").read_text()
    assert table.markdown([table.Row(**row) for row in measured]) in readme


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--network=flow/0000/000"], r"expected --connectome .*, got .*; .*"),
        (["--flyvis-python=none"], "expected a Python for --flyvis-python, got none; .*"),
        (["--before-python=none"], "expected a Python for --before-python, got none; .*"),
    ],
)
def test_a_missing_argument_is_named_in_one_line(
    arguments: list[str], line: str, tmp_path: Path
) -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
    without = {name: value for name, value in os.environ.items() if name != "FLYVIS_ROOT_DIR"}
    done = subprocess.run(command, cwd=tmp_path, env=without, capture_output=True, text=True)
    (said,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert re.fullmatch(rf"run\.py: error: {line}", said)


ECHO = """
from pipe import serve

def refuse():
    raise ValueError("not this")

serve({"echo": lambda said: print("to the log") or {"said": said}, "refuse": refuse})
"""


def test_a_program_answers_from_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pipe, log = importlib.import_module("pipe"), tmp_path / "log"
    (tmp_path / "echo.py").write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n{ECHO}"
    )
    with pipe.Program(sys.executable, tmp_path / "echo.py", log, {}) as program:
        answer = program("echo", said=[1, "é"])
        assert answer["said"] == [1, "é"] and answer["peak_bytes"] > 1e6
        with pytest.raises(RuntimeError, match="expected a figure, got ValueError: not this"):
            program("refuse")
        assert program("echo", said=None)["said"] is None
    assert "to the log" in log.read_text()


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """The benchmark, whose program answers in this process."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    run, side, pipe = map(importlib.import_module, ("run", "stimopt_side", "pipe"))

    class Here:
        def __init__(self, *_: object) -> None:
            self.side = side.Stimopt()

        def __call__(self, do: str, **arguments: Any) -> Any:
            answer = getattr(self.side, do)(**json.loads(json.dumps(arguments)))
            return json.loads(json.dumps({**answer, "peak_bytes": pipe.peak_bytes()}))

        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(run, "Program", Here)
    main: Callable[[list[str]], int] = run.main
    return main


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_small_run_without_flyvis(
    apart: bool,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    run_here: Callable[[list[str]], int],
) -> None:
    path = tmp_path / "figures.json"
    small = ["--quick", "--extent=2", "--frames=4", "--steps=12", "--many=2"]
    # Any Python: flyvis is not asked for a network it has not.
    files = [f"--json={path}", f"--work={tmp_path / 'work'}", f"--flyvis-python={sys.executable}"]
    if apart:
        subprocess.run([sys.executable, str(BENCHMARKS / "run.py"), *small, *files], check=True)
    else:
        assert run_here([*small, *files]) == 0
    out, err = capfd.readouterr()
    assert "flyvis is absent: it has no built-in network" in err
    assert "0.1 is absent: give --before-python or --make-before" in err
    assert str(path) in out
    figures = json.loads(path.read_text())
    assert figures["machine"]["cores"] >= 1 and figures["machine"]["cpu"]
    rows = {row["name"]: row for row in figures["rows"]}
    assert all(row["flyvis"] is None and row["ratio"] is None for row in rows.values())
    assert all(row["before"] is None for row in rows.values())
    assert not any(row["met"] for row in rows.values() if row["target"].endswith(" x"))
    measured = json.loads(path.with_suffix(".raw").read_text())
    steps = measured["one"][0]["step_seconds"]
    assert len(steps) == 12 and min(steps) > 0
    assert len(measured["search"]) == 1 and measured["search"][0]["clips"] == 48
    # Figures of the table against the raw ones that they are made of.
    (overhead,) = (row for name, row in rows.items() if name.startswith("Trainer overhead"))
    assert overhead["stimopt"] > -50
    (search,) = (row for name, row in rows.items() if name.startswith("search"))
    raw = measured["search"][0]
    assert search["stimopt"] == pytest.approx(1e3 * raw["seconds"] / raw["frames"] * 4)
    (region,) = measured["region"]
    assert region["items"] == len(region["best"]) == len(measured["adam"]["best"])
    (whole,) = (row for name, row in rows.items() if name.endswith("12 steps in one fit"))
    assert whole["stimopt"] == region["fit_seconds"] < region["seconds"]
    assert rows["first step of stimopt generate"]["stimopt"] > rows["stimopt --help"]["stimopt"] > 0
