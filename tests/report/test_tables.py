"""Tables for the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.table import Table

from stimopt.protocol import Protocol
from stimopt.report.tables import optima_table, winners_table
from stimopt.results.result import Result, Variable
from tests.report.cases import HOSTILE, TUNING, optima_of


@pytest.fixture
def result() -> Result:
    """Two networks, one type, the best two clips; the second network has a single one."""
    rank: dict[str, list[list[Any]]] = {
        "peak_response": [[1.25, 0.5], [2.0, np.nan]],
        "peak_frame": [[4, 7], [0, -1]],
        "sample": [[17, 3], [5, -1]],
        "scene": [["alley [1]", "cave"], ["cave", ""]],
        "view": [[2, 0], [1, -1]],
        "first_frame": [[22, 1], [1, -1]],
        "last_frame": [[41, 19], [19, -1]],
        "mirroring": [[1, 0], [0, -1]],
        "rotation": [[2, 0], [5, -1]],
    }
    variables = {name: Variable(("item", "rank"), np.array(v)) for name, v in rank.items()}
    variables["cell_type"] = Variable(("item",), np.array(["T4c", "T4c"]))
    variables["network"] = Variable(("item",), np.array([0, 1]))
    return Result(
        kind="naturalistic",
        variables=variables,
        protocol=Protocol(dt=0.02),
        network_hash="",
        network_names=("flow/000", "flow/001"),
        extent=2,
        config={},
    )


def cells(table: Table) -> list[list[str]]:
    table.box = HEAVY_HEAD
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(table)
    rows = [line for line in capture.get().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


def test_winners_of_several_networks(result: Result) -> None:
    assert cells(winners_table(result)) == [
        ["T4c", "flow/000", "1.250", "80", "17", "alley [1]", "2", "22-41", "axis 1", "120°"],
        ["T4c", "flow/001", "2.000", "0", "5", "cave", "1", "1-19", "no", "300°"],
    ]


def test_missing_ranks_are_left_out(result: Result) -> None:
    rows = cells(winners_table(result, ranks=3))
    assert [row[:3] for row in rows] == [
        ["T4c", "flow/000", "1"],
        ["T4c", "flow/000", "2"],
        ["T4c", "flow/001", "1"],
    ]


def test_a_single_network_is_not_named(result: Result) -> None:
    result.variables["network"] = Variable(("item",), np.array([0, 0]))
    table = winners_table(result)
    assert [column.header for column in table.columns][:2] == ["cell type", "response"]


def test_optima_and_the_tuning_of_the_artificial_one() -> None:
    unknown = "\N{EN DASH}"
    assert cells(optima_table(optima_of(["T4c", "T5a", HOSTILE], **TUNING))) == [
        ["T4c", "1.00", "0.980", "2.00", "90°", "0.73", "ON"],
        ["T5a", "2.00", "1.96", "4.00", "(0°)", "0.05", "OFF"],
        [HOSTILE, "3.00", "2.94", "6.00", unknown, unknown, unknown],
    ]
    assert cells(optima_table(optima_of(["T4c"]))) == [
        ["T4c", "1.00", "0.980", "2.00", unknown, unknown, unknown]
    ]


def test_what_comes_from_a_network_that_is_not_stable_is_marked(result: Result) -> None:
    result.variables["stable"] = Variable(("item",), np.array([True, False]))
    assert [row[0] for row in cells(winners_table(result))] == ["T4c", "T4c (not stable)"]
    optima = optima_of(["T4c", "T5a"], **TUNING_OF_TWO)
    optima.artificial.variables["stable"] = Variable(("item",), np.array([False, True]))
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(optima_table(optima))
    assert "T4c (not stable)" in capture.get() and "T5a (not stable)" not in capture.get()


TUNING_OF_TWO = {name: values[:2] for name, values in TUNING.items()}


def test_the_fraction_of_the_ceiling_follows_each_peak_and_fits_80_columns() -> None:
    optima = optima_of(["T4c"], **{name: values[:1] for name, values in TUNING.items()})
    optima.artificial.config["objective"] = "last_frame"
    # Peaks of 1, 0.98 and 2; from 0.5 at grey to a ceiling of 2.5.
    for name, value in {"grey_objective": 0.5, "ceiling": 2.5, "fraction": 0.75}.items():
        optima.artificial.variables[name] = Variable(("item",), np.array([value]))
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(optima_table(optima))
    row = capture.get().splitlines()[-2].split()
    peaks = ["1.00", "(25", "%)", "0.980", "(24", "%)", "2.00", "(75", "%)"]
    assert row == ["T4c", "2.50", *peaks, "90°", "0.73", "ON"]
    # A mean over a window is no response of one frame, which peaks could be compared with.
    optima.artificial.config["objective"] = "window_mean"
    assert np.isnan(optima[0].span.ceiling)
