"""What explanations and checks add to the cells of a page."""

from __future__ import annotations

import dataclasses

from stimopt.analysis.criteria import CRITERIA
from stimopt.report.page.evidence import evidence
from stimopt.report.page.items import PageItem
from tests.report.cases import checked_result, explained_result

HASH = "ab" * 32
T4C = PageItem("T4c", "<net>", HASH, 0, 0)


def test_a_cell_gets_its_own_sections_and_columns() -> None:
    add = evidence([explained_result(), checked_result()])
    addition = add(T4C)
    assert addition.columns == {"fails": "half_dt"}
    why, trust = addition.sections
    assert why.title == "Why T4c [1] responds" and len(why.figures) == 1
    (inputs,) = why.tables
    assert inputs.columns == ["source", "contribution", "lesioned response"]
    assert inputs.rows == [["Mi1", 2.0, 0.25], ["Mi9", -0.75, -0.05]]
    assert trust.title == "How far to trust T4c [1]"
    n = len(CRITERIA) - 1
    assert trust.text == f"{n - 1} of {n} checks passed."
    (checks,) = trust.tables
    # A check that was skipped has no figure.
    assert {row[0]: row[2] for row in checks.rows}["paths"] is None
    assert add(PageItem("Tm3", "<net>", HASH, 0, 0)).columns == {"fails": "none"}


def test_other_networks_columns_and_types_get_nothing() -> None:
    add = evidence([explained_result(), checked_result()])
    for change in (
        {"network_hash": "cd" * 32},
        {"network": "other"},
        {"u": 1},
        {"cell_type": "L1"},
    ):
        addition = add(dataclasses.replace(T4C, **change))
        assert not addition.columns and not addition.sections
