"""Tables and rows of checks with known outcomes."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stimopt.analysis.criteria import CRITERIA
from stimopt.report.checks import check_rows, check_table, item_table
from tests.report.cases import checked_result

NAMES = [criterion.name for criterion in CRITERIA]


def printed(table: Table) -> list[str]:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def line_of(lines: list[str], name: str) -> list[str]:
    (line,) = (line for line in lines if line.strip("│ ").split(" ")[0] == name)
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_a_row_says_what_failing_means_only_where_a_check_fails() -> None:
    rows = check_rows(checked_result(), 0)
    assert [row["check"] for row in rows] == NAMES
    outcomes = {row["check"]: row["outcome"] for row in rows}
    assert outcomes["half_dt"] == "failed" and outcomes["paths"] == "skipped"
    assert set(outcomes.values()) == {"passed", "failed", "skipped"}
    assert [row["check"] for row in rows if row["meaning"]] == ["half_dt"]


def test_checks_are_counted_over_optima() -> None:
    lines = printed(check_table(checked_result()))
    assert line_of(lines, "half_dt") == ["half_dt", "<= 0.2", "1", "1", "0", "T4c [1] 0.500"]
    assert line_of(lines, "paths")[2:] == ["0", "0", "2", ""]
    assert line_of(lines, "noise")[1:5] == [">= 0.8", "2", "0", "0"]


def test_an_optimum_has_a_line_for_every_check() -> None:
    lines = printed(item_table(checked_result(), 0))
    assert "Checks of T4c [1]" in lines[0]
    (failing,) = (c.failing for c in CRITERIA if c.name == "half_dt")
    assert line_of(lines, "half_dt") == ["half_dt", "failed", "0.500", "0.2", failing]
    assert line_of(lines, "paths")[1:4] == ["skipped", "", "0.5"]
