"""Tables of how far optima can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from stimopt.analysis.criteria import CRITERIA
from stimopt.analysis.trust import FAILED, PASSED, SKIPPED
from stimopt.plotting import style
from stimopt.report.rows import write_rows
from stimopt.results.result import Result

OUTCOMES = {PASSED: "passed", FAILED: "failed", SKIPPED: "skipped"}


def check_table(checked: Result) -> Table:
    """How many optima pass each check, and which fail it by how much.

    Args:
        checked: result of `stimopt.check_optima`.
    """
    table = Table(title="How far the optima can be trusted", title_justify="left")
    for name in ("check", "threshold"):
        table.add_column(name, no_wrap=True)
    for name in OUTCOMES.values():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what fails")
    for k, criterion in enumerate(CRITERIA):
        outcomes = checked["outcome"][:, k]
        limit = f"{'<=' if criterion.at_most else '>='} {checked['threshold'][k]:g}"
        counts = [str(np.count_nonzero(outcomes == outcome)) for outcome in OUTCOMES]
        table.add_row(criterion.name, limit, *counts, _failures(checked, k))
    return table


def item_table(checked: Result, i: int) -> Table:
    """Every check of one optimum, and what it means if it fails."""
    label = escape(str(checked["label"][i]))
    table = Table(title=f"Checks of {label}", title_justify="left")
    for name in ("check", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in ("figure", "threshold"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what is measured, or what failing means")
    for row in check_rows(checked, i):
        number = style.number(row["figure"]) if row["outcome"] != OUTCOMES[SKIPPED] else ""
        text = row["meaning"] or row["measure"]
        table.add_row(row["check"], row["outcome"], number, f"{row['threshold']:g}", text)
    return table


def check_rows(checked: Result, i: int) -> list[dict[str, Any]]:
    """A row for every check of one optimum."""
    return [
        {
            "label": str(checked["label"][i]),
            "cell_type": str(checked["cell_type"][i]),
            "check": criterion.name,
            "outcome": OUTCOMES[int(checked["outcome"][i, k])],
            "figure": float(checked["figure"][i, k]),
            "threshold": float(checked["threshold"][k]),
            "at_most": criterion.at_most,
            "measure": criterion.measure,
            "meaning": criterion.failing if checked["outcome"][i, k] == FAILED else "",
        }
        for k, criterion in enumerate(CRITERIA)
    ]


def write_checks(checked: Result, folder: str | Path) -> list[Path]:
    """Write `checked.h5`, and `checks.csv` and `.json` with a row for every optimum and check."""
    rows = [row for i in range(len(checked["label"])) for row in check_rows(checked, i)]
    return [checked.write(Path(folder) / "checked.h5"), *write_rows(Path(folder) / "checks", rows)]


def _failures(checked: Result, k: int) -> str:
    failed = np.flatnonzero(checked["outcome"][:, k] == FAILED)
    shown = [f"{checked['label'][i]} {style.number(checked['figure'][i, k])}" for i in failed[:12]]
    more = [f"and {len(failed) - 12} more"] if len(failed) > 12 else []
    return escape(", ".join([*shown, *more]))
