"""Tables, rows and maps of an explanation with known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from stimopt.lattice import HexLattice
from stimopt.report.explanations import (
    explanation_figure,
    explanation_rows,
    explanation_table,
    input_maps,
)
from stimopt.results.result import Result, Variable
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


def test_light_falls_on_the_cell_itself_and_changes_from_grey() -> None:
    # As for a photoreceptor: its third input is light, without a synapse.
    result = explained_result()
    result.variables["source"] = Variable(("source",), np.array(["Mi1", "Mi9", "light"]))
    result["contribution"][0, 2] = 0.47
    result["source_current"][0] = np.linspace([3.0, 0.0, 1.0], [4.0, 0.0, 0.8], 25)
    lattice = HexLattice(2)
    maps = input_maps(result, 0)
    assert maps[2, lattice.center] == 0.47 and np.isfinite(maps[2]).sum() == 1
    # No light falls on the second cell, which has one synapse.
    result["tap_source"][1], result["contribution"][1] = [0, -1, -1], [1.0, 0.0, 0.0]
    assert np.isnan(input_maps(result, 1)[1:]).all()
    (axes,) = (
        ax
        for ax in explanation_figure(result, 0).axes
        if ax.get_title(loc="left").startswith("input current")
    )
    ends = {line.get_label(): (line.get_ydata()[0], line.get_ydata()[-1]) for line in axes.lines}
    # The first frames drawn are those 200 ms before the peak, the fifth of 25.
    assert ends["light"] == pytest.approx((1 - 0.2 * 4 / 24 - 0.5, 0.3))
    assert ends["Mi1"] == pytest.approx((4 / 24, 1.0))
    assert ends["sum"] == pytest.approx((0.5 + 0.8 * 4 / 24, 1.3))


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
