"""Tables, rows and maps of an explanation with known numbers."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from stimopt.lattice import HexLattice
from stimopt.report.explanations import explanation_rows, explanation_table, input_maps
from stimopt.results.result import Result
from tests.report.cases import explained_result


def printed(result: Result) -> str:
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(explanation_table(result))
    return capture.get()


def test_a_tap_lies_where_its_source_stands() -> None:
    lattice = HexLattice(2)
    maps = input_maps(explained_result(), 0)
    assert maps.shape == (3, lattice.n_columns)
    # One tap from the centre and one from its neighbour; the padding is left out.
    assert maps[0, lattice.center] == 1.5 and maps[0, lattice.index(1, -1)] == 0.5
    assert maps[1, lattice.index(-2, 0)] == -0.75
    assert np.count_nonzero(np.isfinite(maps)) == 3


def test_rows_are_of_connected_sources() -> None:
    rows = explanation_rows(explained_result())
    # The third source has no synapse onto T4c, and contributes nothing.
    assert [(row["label"], row["source"]) for row in rows] == [
        ("T4c [1]", "Mi1"), ("T4c [1]", "Mi9"), ("Tm3", "L1"),
    ]  # fmt: skip
    assert rows[0]["contribution"] == 2.0 and rows[0]["lesioned_response"] == 0.25
    assert "clip_contribution" not in rows[0]


def test_the_table_lists_the_largest_inputs_first() -> None:
    lines = printed(explained_result()).splitlines()
    (t4c,) = (line for line in lines if line.lstrip("│ ").startswith("T4c [1]"))
    minus = "\N{MINUS SIGN}"
    assert f"Mi1 2.00 (25 %), Mi9 {minus}0.750 ({minus}5 %)" in t4c
    assert "1.25" in t4c  # the sum
