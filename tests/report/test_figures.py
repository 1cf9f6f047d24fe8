"""Figures and films of items, under file names that are safe."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stimopt.networks.opening import builtin_network
from stimopt.plotting.style import number
from stimopt.report.figures import (
    item_figure,
    optima_figure,
    safe_names,
    write_animations,
    write_figures,
)
from stimopt.report.optima_tuning import with_tuning
from stimopt.results.result import Variable
from tests.report.cases import HOSTILE, optima_of, result_of
from tests.results.cases import random_optima


def test_names_become_files_all_different() -> None:
    labels = ["CT1(Lo1)", "CT1(M10)", "../x", "x", "X", "", "a/b", "a b", "T4c-000-0-seed1", "ä"]
    names = safe_names(labels)
    assert names[:2] == ["CT1_Lo1", "CT1_M10"]
    assert len({name.lower() for name in names}) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) for name in names)


def test_the_first_items_are_drawn_within_the_folder(tmp_path: Path) -> None:
    result = result_of("artificial", [HOSTILE, "T4c", "T5a"], [1.0, 2.0, 3.0])
    written = write_figures(result, tmp_path, max_figures=2)
    assert sorted(written) == sorted(tmp_path.iterdir()) and len(written) == 2
    assert written[1].name == "T4c.png"


def test_a_figure_names_item_kind_and_peak() -> None:
    result = result_of("artificial", ["T4c"], [1.0])
    result["response"][0, 3] = 7.0  # of the cell read out, not of the central one
    result["central_response"][0, :] = -1.0
    result["central_response"][0, 3] = 7.0
    texts = [text.get_text() for text in item_figure(result, 0).texts]
    assert "T4c, artificial: peak 7.00 at 30 ms" in texts


def test_a_film_of_every_optimum(tmp_path: Path) -> None:
    optima = optima_of(["T4c"], frames=4)
    written = write_animations(optima, tmp_path)
    names = [f"T4c_{kind}.gif" for kind in ("naturalistic", "regularized", "artificial")]
    assert [path.name for path in written] == names
    with Image.open(written[0]) as film:
        assert film.n_frames == 4


def test_figures_of_a_network_that_is_not_stable_are_marked() -> None:
    optima = optima_of(["T4c"])
    for result in (optima.artificial, optima.naturalistic):
        result.variables["stable"] = Variable(("item",), np.array([False]))
    assert any("(not stable)" in t.get_text() for t in item_figure(optima.artificial, 0).texts)
    figure = optima_figure(optima, 0)
    texts = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert any("(not stable)" in text for text in texts)


def test_the_traces_are_those_of_the_cell_that_was_read_out(tmp_path: Path) -> None:
    network = builtin_network(extent=2)
    optima = random_optima(network, u=1, v=-1)
    texts = [text.get_text() for text in optima_figure(optima, 0).subfigs[-1].axes[0].texts]
    for optimum in optima[0].optima.values():
        assert number(optimum.peak) in texts
    with pytest.raises(ValueError, match="expected cells in the central column, got others"):
        with_tuning(optima, network)
