"""What explanations and checks of optima add to the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stimopt.analysis.trust import SKIPPED
from stimopt.items import Reading
from stimopt.report.checks import OUTCOMES, check_rows
from stimopt.report.explanations import explanation_figure, explanation_rows
from stimopt.report.page.items import PageItem
from stimopt.report.page.writing import Addition, Section, Table, Value
from stimopt.results.items import rows_by_cell
from stimopt.results.result import Result

EXPLAINED, CHECKED = "explained", "checked"


def evidence(results: Sequence[Result]) -> Callable[[PageItem], Addition]:
    """What to pass to `write_page` as `add`: a section for each explanation and check of a cell.

    Example:
        >>> optima = stimopt.read("logs/optima_T4c/optima.h5")  # doctest: +SKIP
        >>> why = stimopt.read("logs/explain/explained.h5")  # doctest: +SKIP
        >>> stimopt.write_page(optima, "page", evidence([why]))  # doctest: +SKIP

    Args:
        results: of `stimopt.explain` and `stimopt.check_optima`, of the networks of the page.
    """
    parts = {EXPLAINED: _explanation, CHECKED: _checks}
    known = [(result, rows_by_cell(result)) for result in results]

    def add(item: PageItem) -> Addition:
        found = [
            parts[result.kind](result, row)
            for result, rows in known
            for row in _rows_of(result, rows, item)
        ]
        columns = {name: value for part in found for name, value in part.columns.items()}
        return Addition(columns, [section for part in found for section in part.sections])

    return add


def _rows_of(result: Result, rows: Mapping[Reading, list[int]], item: PageItem) -> list[int]:
    """Items of a result that are of the cell of a page's item."""
    if result.network_hash != item.network_hash or item.network not in result.network_names:
        return []
    position = result.network_names.index(item.network)
    return rows.get(Reading(item.cell_type, item.u, item.v, position), [])


def _explanation(explained: Result, row: int) -> Addition:
    label = str(explained["label"][row])
    rows = [each for each in explanation_rows(explained) if each["label"] == label]
    names = [name for name in rows[0] if name not in ("label", "cell_type")] if rows else []
    largest = sorted(rows, key=lambda each: -abs(each["contribution"]))
    table = Table(
        "contribution to the voltage at the peak since onset",
        [name.replace("_", " ") for name in names],
        [[_value(each[name]) for name in names] for each in largest],
    )
    alt = f"{label}: stimulus, sensitivity, input currents by source, and where they come from"
    figures = {alt: explanation_figure(explained, row)}
    columns: dict[str, Value] = {}
    if "path_similarity" in explained.variables:
        known = explained["path_similarity"][row]
        columns["paths"] = float(np.nanmax(known)) if np.isfinite(known).any() else None
    return Addition(columns, [Section(f"Why {label} responds", "", [table], figures)])


def _checks(checked: Result, row: int) -> Addition:
    rows = check_rows(checked, row)
    decided = [each for each in rows if each["outcome"] != OUTCOMES[SKIPPED]]
    failed = [each["check"] for each in decided if each["meaning"]]
    table = Table(
        "checks of the optimum",
        ["check", "outcome", "figure", "threshold", "what is measured, or what failing means"],
        [
            [
                *(each["check"], each["outcome"], _value(each["figure"])),
                *(each["threshold"], each["meaning"] or each["measure"]),
            ]
            for each in rows
        ],
    )
    text = f"{len(decided) - len(failed)} of {len(decided)} checks passed."
    title = f"How far to trust {checked['label'][row]}"
    return Addition({"fails": ", ".join(failed) or "none"}, [Section(title, text, [table])])


def _value(value: float | str) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
