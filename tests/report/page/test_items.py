"""Cells of results of any kind, and what is shown of each."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from stimopt.networks.frozen import FrozenNetwork
from stimopt.report.page.items import page_items
from stimopt.results.result import Variable
from tests.report.cases import ladder_of, optima_of, result_of
from tests.results.cases import random_optima, random_result


def test_the_three_optima_of_a_cell_are_one_item() -> None:
    items = page_items([optima_of(["T4c", "T5a"])])
    assert [(item.label, item.network) for item in items] == [("T4c", "<net>"), ("T5a", "<net>")]
    panels = items[1].panels()
    assert [panel.name for panel in panels] == ["naturalistic", "regularized", "artificial"]
    assert [panel.peak for panel in panels] == pytest.approx([2.0, 1.96, 4.0])
    assert [panel.remark for panel in panels] == ["tolerance missed"] * 3
    assert {panel.peak_frame for panel in panels} == {24}


def test_seeds_and_results_of_one_cell_come_together(small_network: FrozenNetwork) -> None:
    optima = random_optima(small_network)
    items = page_items([optima, random_result(small_network)])
    # The type that was only searched is left out by the three optima.
    assert [item.label for item in items] == ["T4c", "T5a"]
    names = [source.name for source in items[0].sources]
    assert names[:2] == ["naturalistic", "regularized"]
    assert names[2:] == ["artificial seed0", "artificial seed7", "artificial"]
    # Frames after the end of an item are left out.
    assert len(items[1].panels()[1].stimulus) == 9


def test_results_under_two_protocols_have_no_common_scale(small_network: FrozenNetwork) -> None:
    result = random_result(small_network)
    relative = dataclasses.replace(result.protocol, baseline="grey")
    with pytest.raises(ValueError, match=r"got one under .*baseline='grey'.*; write a page for"):
        page_items([result, dataclasses.replace(result, protocol=relative)])


def test_rungs_are_named_by_what_distinguishes_them() -> None:
    ladder = result_of("artificial", ["T4c", "T4c", "T4c"], [1.0, 2.0, 3.0])
    ladder.variables["label"] = Variable(("item",), np.array(["T4c-25 %", "T4c-50 %", "T4c-100 %"]))
    (item,) = page_items([ladder])
    assert [source.name for source in item.sources] == [
        "artificial 25 %",
        "artificial 50 %",
        "artificial 100 %",
    ]


def test_the_ceiling_is_that_of_the_optimum_or_of_a_range() -> None:
    efficient = result_of("artificial", ["T4c"], [3.0])
    for name, value in {"grey_objective": 1.0, "ceiling": 5.0}.items():
        efficient.variables[name] = Variable(("item",), np.array([value]))
    (item,) = page_items([efficient])
    assert item.span == (1.0, 5.0) and item.span.fraction(3.0) == 0.5
    # A mean over a window is no response of one frame.
    efficient.config["objective"] = "window_mean"
    assert math.isnan(item.span.fraction(3.0))
    spans = result_of("range", ["T4c", "T4c"], [5.0, -2.0])
    for name, values in {
        "grey_objective": [1.0, 1.0],
        "objective": [5.0, -2.0],
        "bound": ["ceiling", "floor"],
        "sign": [1, -1],
    }.items():
        spans.variables[name] = Variable(("item",), np.array(values))
    (item,) = page_items([spans])
    assert item.span == (1.0, 5.0)
    assert [source.name for source in item.sources] == ["ceiling", "floor"]
    # Below grey, the way is that to the floor.
    assert item.floor == -2.0
    assert [item.fraction(value) for value in (3.0, 1.0, -0.5, -2.0)] == [0.5, 0.0, -0.5, -1.0]
    (plain,) = page_items([result_of("artificial", ["T4c"], [3.0])])
    assert math.isnan(plain.span.fraction(3.0))


def test_rungs_below_grey_stand_on_the_way_to_the_floor() -> None:
    rungs = ladder_of("T4c", [-0.5, 3.0])
    (item,) = page_items([rungs])
    assert item.span == (1.0, 5.0) and item.floor == -2.0
    assert [item.fraction(panel.peak) for panel in item.panels()] == [-0.5, 0.5]
    # A floor alone has no way to the ceiling beside it, nor has a mean over a window.
    rungs.config["objective"] = "window_mean"
    assert math.isnan(item.floor) and math.isnan(item.fraction(-0.5))
    # Where the floor is not known, the way is that to the ceiling, backwards.
    del rungs.variables["sign"]
    rungs.config["objective"] = "last_frame"
    rungs.variables["ceiling"] = Variable(("item",), np.array([5.0, 5.0]))
    assert math.isnan(item.floor) and item.fraction(-0.5) == -0.375


def test_networks_are_items_of_their_own_and_readings_of_several_one() -> None:
    two = result_of("artificial", ["T4c", "T4c"], [1.0, 2.0])
    two = dataclasses.replace(two, network_names=("a", "b"))
    two.variables["network"] = Variable(("item",), np.array([0, 1]))
    two.variables["stable"] = Variable(("item",), np.array([True, False]))
    items = page_items([two])
    assert [(item.network, item.stable) for item in items] == [("a", True), ("b", False)]
    two.variables["reading_network"] = Variable(("item", "reading"), np.array([[0, 1], [0, 1]]))
    assert [item.network for item in page_items([two])] == ["2 networks"]
