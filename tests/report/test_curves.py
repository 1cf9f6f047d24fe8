"""Greyness for each tolerance and contrast for each level, of results and by the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stimopt.cli import main
from stimopt.report.curves import ladders, tradeoffs, write_ladders, write_tradeoffs
from stimopt.results.result import Result, Variable, read
from tests.report.cases import result_of
from tests.search.cases import noise_store


@pytest.fixture
def result() -> Result:
    """Two cell types at three tolerances, not in order."""
    result = result_of("regularized", ["T4c"] * 3 + ["CT1(Lo1)"] * 3, [1.0] * 6)
    values = {
        "tolerance": np.float32([0.1, 0.02, 0.3] * 2),
        "grey_distance": np.float32([4, 9, 1, 5, 8, 2]),
        "tolerance_met": np.ones(6, bool),
        "best_step": np.full(6, 7),
    }
    result.variables |= {name: Variable(("item",), array) for name, array in values.items()}
    return result


def test_one_curve_for_each_cell_type_in_order_of_tolerance(result: Result) -> None:
    curves = tradeoffs(result)
    assert [curve.label for curve in curves] == ["T4c", "CT1(Lo1)"]
    # The decimals that were passed, not those of float32.
    assert curves[0].tolerance.tolist() == [0.02, 0.1, 0.3]
    assert [curve.greyness.tolist() for curve in curves] == [[9, 4, 1], [8, 5, 2]]


def test_a_gap_where_nothing_greyer_was_found(result: Result) -> None:
    result["tolerance_met"][0] = False
    result["best_step"][1] = 0  # the start, which always meets the tolerance
    np.testing.assert_array_equal(tradeoffs(result)[0].greyness, [np.nan, np.nan, 1])


def test_a_ladder_has_contrast_for_each_level(tmp_path: Path) -> None:
    levels, met = [0.5, -1.0, 1.0, 0.0], [True, True, False, True]
    result = result_of("artificial", ["T4c"] * 4, [1.0] * 4)
    for name, values in {
        "fraction": levels,
        "objective": [2.0, -1.0, 3.0, 1.0],
        # Every pixel 0.1 from grey is a contrast of 0.2.
        "grey_distance": np.array([0.01, 0.25, 0.25, 0.0]) * result["stimulus"][0].size,
        "level_met": met,
    }.items():
        result.variables[name] = Variable(("item",), np.array(values))
    (curve,) = ladders(result)
    assert curve.label == "T4c"
    assert curve.level.tolist() == [-1.0, 0.0, 0.5, 1.0]
    assert curve.response.tolist() == [-1.0, 1.0, 2.0, 3.0]
    np.testing.assert_allclose(curve.contrast, [1.0, 0.0, 0.2, np.nan])
    result.write(tmp_path / "result.h5")
    assert write_ladders(tmp_path) == [tmp_path / "ladder-T4c.png"]
    with pytest.raises(ValueError, match="expected a ladder, got a regularized result"):
        ladders(result_of("regularized", ["T4c"], [1.0]))


def test_seeds_have_separate_curves(result: Result) -> None:
    result.variables["seed"] = Variable(("item",), np.array([0, 0, 7, 0, 0, 7]))
    assert [c.label for c in tradeoffs(result)] == [
        "T4c-seed0", "T4c-seed7", "CT1(Lo1)-seed0", "CT1(Lo1)-seed7",
    ]  # fmt: skip
    assert tradeoffs(result)[1].tolerance.tolist() == [0.3]


def test_columns_and_networks_have_separate_curves(result: Result) -> None:
    result.variables["readout_u"] = Variable(("item",), np.array([0, 0, 1, 0, 0, 0]))
    labels = [curve.label for curve in tradeoffs(result)]
    assert labels == ["T4c-u0v0", "T4c-u1v0", "CT1(Lo1)-u0v0"]


def test_rejects_another_kind() -> None:
    with pytest.raises(ValueError, match="expected a regularized result, got a artificial one"):
        tradeoffs(result_of("artificial", ["T4c"], [1.0]))


def test_figures_lie_beside_the_result(result: Result, tmp_path: Path) -> None:
    result.write(tmp_path / "result.h5")
    names = ["tradeoff-T4c.png", "tradeoff-CT1_Lo1.png"]
    assert write_tradeoffs(tmp_path) == [tmp_path / name for name in names]


def test_the_command_draws_the_trade_off_of_a_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--network.extent=3", "--trainer.accelerator=cpu"]
    store = noise_store(tmp_path, lengths=(15,))
    searched = tmp_path / "search"
    assert main(["search", f"--data.stores=[{store}]", f"--output={searched}", *shared]) == 0
    output = tmp_path / "regularize"
    options = [
        f"--model.init=naturalistic:{searched / 'result.h5'}",
        "--model.tolerance=[0.1, 0.02, 0.3]",
        "--trainer.max_steps=200",
        "--pictures_every_n_steps=1000",
        f"--output={output}",
    ]
    capsys.readouterr()
    assert main(["regularize", *options, *shared]) == 0
    assert "tradeoff-T4c.png" in capsys.readouterr().out
    regularized, clips = read(output / "result.h5"), read(searched / "result.h5")
    row = clips["cell_type"].tolist().index("T4c")
    # The target is the response that the search measured.
    np.testing.assert_allclose(
        np.nanmax(regularized["central_target_response"], axis=1),
        clips["peak_response"][row, 0],
        atol=1e-6,
    )
    (curve,) = tradeoffs(regularized)
    # Every stimulus within a narrow band lies within a wider one.
    assert (np.diff(curve.greyness) < 0).all()
