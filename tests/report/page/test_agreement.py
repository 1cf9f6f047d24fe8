"""Likeness of optima across networks, against correlations counted one by one."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from stimopt.report.page.agreement import agreement, likeness_vector
from stimopt.report.page.items import page_items
from stimopt.results.result import Variable
from tests.report.cases import result_of


def test_it_is_the_mean_cosine_with_the_other_networks() -> None:
    result = result_of("artificial", ["T4c"] * 3 + ["T5a"], [1.0] * 4)
    result = dataclasses.replace(result, network_names=("a", "b", "c"))
    result.variables["network"] = Variable(("item",), np.array([0, 1, 2, 0]))
    result["stimulus"][1] = 1 - result["stimulus"][0]  # the opposite
    items = page_items([result])
    values = agreement(items, [likeness_vector(item.panels()) for item in items])
    contrast = [result["stimulus"][i, 5:25].astype(float) - 0.5 for i in range(3)]

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))

    assert cosine(contrast[0], contrast[1]) == pytest.approx(-1)
    for i, (j, k) in enumerate([(1, 2), (0, 2), (0, 1)]):
        pairs = (cosine(contrast[i], contrast[j]) + cosine(contrast[i], contrast[k])) / 2
        assert values[i] == pytest.approx(pairs, abs=1e-5)
    assert math.isnan(values[3])


def test_grey_and_clips_have_no_likeness() -> None:
    for kind, value in (("artificial", 0.5), ("naturalistic", 1.0)):
        result = result_of(kind, ["T4c"], [1.0])
        result["stimulus"][:] = value
        (item,) = page_items([result])
        assert likeness_vector(item.panels()) is None
