"""`stimopt explain` and `stimopt check`: files, figures and exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from stimopt.cli import main
from stimopt.networks.opening import builtin_network
from stimopt.optimize.ceiling import ResponseRange
from stimopt.results import read
from stimopt.runs.trainer import fit
from tests.search.cases import EXTENT, noise_store

NETWORK = "--network.extent=5"


@pytest.fixture(scope="module")
def optimum(tmp_path_factory: pytest.TempPathFactory) -> str:
    result = fit(ResponseRange(builtin_network(extent=5), "T4c", t_stim=0.3))
    return str(result.write(tmp_path_factory.mktemp("optimum") / "result.h5"))


def test_explain_writes_a_figure_and_tables(
    optimum: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", optimum, NETWORK, f"--clips={optimum}", f"--output={tmp_path}"]) == 2
    assert "expected the result of a search" in capsys.readouterr().err
    assert main(["explain", optimum, NETWORK, f"--output={tmp_path}"]) == 0
    assert "Mi1" in capsys.readouterr().out
    with open(tmp_path / "inputs.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stored = json.loads((tmp_path / "inputs.json").read_text(encoding="utf-8"))
    assert [row["source"] for row in rows] == [row["source"] for row in stored]
    assert {row["source"] for row in rows} == {"Mi1", "Tm3", "Mi4", "Mi9", "C3", "CT1(M10)"}
    assert (tmp_path / "T4c.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "explained.h5").is_file()
    none = [f"--output={tmp_path / 'none'}", "--max_figures=-1"]
    assert main(["explain", optimum, NETWORK, *none]) == 2
    assert "max_figures as a whole number" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert main(["explain", optimum, NETWORK, "--source=Mi11", f"--output={tmp_path}"]) == 2
    assert "did you mean 'Mi1'" in capsys.readouterr().err


def test_all_ranked_clips_are_compared_as_the_search_sampled_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = builtin_network(extent=EXTENT)
    optimum = fit(ResponseRange(network, "T4c", t_stim=0.1), steps=2).write(tmp_path / "result.h5")
    store, extent = noise_store(tmp_path / "movies"), f"--network.extent={EXTENT}"
    sampled = ["--data.window_frames=5", "--data.mirrorings=[0]", "--data.rotations=[0, 3]"]
    found = tmp_path / "search"
    ranked = ["--model.cell_types=T4c", "--model.top_k=2", f"--data.stores={store}"]
    assert main(["search", extent, *ranked, *sampled, f"--output={found}"]) == 0
    clips = [f"--clips={found / 'result.h5'}", f"--stores=[{store}]"]
    for command, written in (("explain", "explained.h5"), ("check", "checked.h5")):
        options = [command, str(optimum), extent, *clips, f"--output={tmp_path / command}"]
        assert main(options) == 2
        assert "mirrorings and rotations of its config" in capsys.readouterr().err
        assert main([*options, *sampled]) in (0, 1)
        assert (tmp_path / command / written).is_file()
    explained = read(tmp_path / "explain" / "explained.h5")
    assert explained["path_similarity"].shape == (1, 2)


def test_check_ends_with_0_or_1(
    optimum: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", optimum, NETWORK, f"--output={tmp_path}"]
    assert main(command) == 0
    assert "1 of 1 optima pass every check that was made" in capsys.readouterr().out
    stored = json.loads((tmp_path / "checks.json").read_text(encoding="utf-8"))
    outcomes = {row["check"]: row["outcome"] for row in stored}
    assert outcomes["half_dt"] == "passed" and outcomes["paths"] == "skipped"
    assert main([*command, "--thresholds.half_dt=0"]) == 1
    assert "shorten protocol.dt" in " ".join(capsys.readouterr().out.split())


def test_check_refuses_bad_input(
    optimum: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for message, options in (
        ("load that network", ["--network.extent=4"]),
        ("threshold of percentile", [NETWORK, "--thresholds.percentile=101"]),
        ("expected --clips with --stores", [NETWORK, "--stores=[movies.h5]"]),
    ):
        assert main(["check", optimum, *options, f"--output={tmp_path}"]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_page_shows_what_explain_and_check_found(optimum: str, tmp_path: Path) -> None:
    network = ["--network.extent=5"]
    assert main(["explain", optimum, *network, f"--output={tmp_path / 'why'}"]) == 0
    assert main(["check", optimum, *network, f"--output={tmp_path / 'trust'}"]) in (0, 1)
    results = [optimum, str(tmp_path / "why/explained.h5"), str(tmp_path / "trust/checked.h5")]
    assert main(["page", *results, f"--output={tmp_path / 'page'}"]) == 0
    data = tmp_path / "page" / "data"
    index = (data / "index.js").read_text(encoding="utf-8")
    # The explanation and the checks are no cells of their own.
    assert index.count('"file":') == 1 and '"extra":["fails"]' in index
    item = (data / "0000.js").read_text(encoding="utf-8")
    assert "Why T4c" in item and "How far to trust T4c" in item and "Mi1" in item
    assert (data / "0000-0.png").read_bytes().startswith(b"\x89PNG")
