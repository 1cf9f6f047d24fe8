"""`stimopt page`: results of every kind, by their files or the folder of a campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from stimopt.cli import main
from stimopt.networks.frozen import FrozenNetwork
from tests.results.cases import random_optima, random_result
from tests.whole.commandline import refusal


def test_results_of_several_files_come_together(
    small_network: FrozenNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optima = random_optima(small_network).write(tmp_path / "optima.h5")
    more = random_result(small_network, seeds=3).write(tmp_path / "result.h5")
    output = tmp_path / "page"
    assert main(["page", str(optima), str(more), f"--output={output}", "--title=Two"]) == 0
    assert capsys.readouterr().out.strip() == str(output / "index.html")
    index = (output / "data" / "index.js").read_text(encoding="utf-8")
    assert '"title":"Two"' in index and '"artificial seed7"' in index
    assert sorted(path.name for path in (output / "data").glob("????.js")) == [
        "0000.js",
        "0001.js",
    ]


def test_a_file_that_is_no_result_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page"
    line = refusal(["page", str(tmp_path / "none.h5"), f"--output={output}"], capsys)
    assert "none.h5" in line and not output.exists()
    assert "results" in refusal(["page", f"--output={output}"], capsys)
