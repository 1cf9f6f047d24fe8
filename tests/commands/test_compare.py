"""`stimopt compare`: tables and figures of several networks."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from stimopt.cli import main
from stimopt.networks.opening import builtin_network
from stimopt.optimize.ceiling import ResponseRange
from stimopt.runs.trainer import fit

NETWORK = ["--network.extent=3", "--network.lesions=Mi9,Mi4", "--speeds=[19.0]"]
NAMES = ["builtin", "builtin without Mi9", "builtin without Mi4"]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def optima(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = builtin_network(extent=3).lesion("Mi9,Mi4")
    result = fit(ResponseRange(network, ["T4c", "T5a"], t_stim=0.1), steps=5)
    return result.write(tmp_path_factory.mktemp("optima") / "result.h5")


def test_writes_tables_and_figures(
    optima: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="groups need the extra 'groups'")
    options = [f"--optima={optima}", "--groups=true", "--resamples=5", "--min_score=-1"]
    assert main(["compare", *NETWORK, *options, f"--output={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "builtin without Mi9" in printed and "polarity" in printed
    networks = rows(tmp_path / "networks.csv")
    assert [(row["network"], row["source"]) for row in networks] == [
        (name, source) for source in ("probes", "optima") for name in NAMES
    ]
    assert all(row["stable"] == "True" for row in networks)
    transfer = rows(tmp_path / "transfer.csv")
    assert len(transfer) == 3 * 3 * 2
    own = [float(row["response"]) for row in transfer if row["made_for"] == row["shown_to"]]
    assert own == pytest.approx([1.0] * 6, abs=1e-4)
    tuning = sorted(path.name for path in (tmp_path / "tuning").iterdir())
    assert tuning == [f"{name.replace(' ', '_')}.png" for name in sorted(NAMES)]
    assert (tmp_path / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert {"T4c", "T2"} & {row["cell_type"] for row in rows(tmp_path / "cells.csv")} == {"T4c"}
    assert {row["cell_type"] for row in rows(tmp_path / "groups.csv")} >= {"T4c", "Mi1"}
    assert all(row["polarity"] in ("-1", "0", "1") for row in rows(tmp_path / "predictions.csv"))


def test_a_consensus_is_shown_to_the_networks_left_out(
    optima: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = builtin_network(extent=3).lesion("Mi9,Mi4")
    made = {"pool": f"normalized:{optima}", "consensus": True, "t_stim": 0.1}
    paths = []
    for k, used in enumerate(([0, 1], [2])):
        options = made if len(used) > 1 else {"t_stim": 0.1}
        result = fit(ResponseRange(network, "T4c,T5a", networks=used, **options), steps=5)
        paths.append(str(result.write(tmp_path / f"{k}.h5")))
    several = [f"--optima={optima}", f"--consensus=[{', '.join(paths)}]"]
    assert main(["compare", *NETWORK, *several, f"--output={tmp_path}"]) == 0
    assert "better than the median single optimum in" in capsys.readouterr().out
    table = rows(tmp_path / "consensus.csv")
    assert [(row["left_out"], row["cell_type"], row["made_for"]) for row in table] == [
        *((NAMES[2], "T4c", "2"), (NAMES[2], "T5a", "2")),
        *((name, cell_type, "1") for cell_type in ("T4c", "T5a") for name in NAMES[:2]),
    ]
    transfer = {
        (row["made_for"], row["shown_to"], row["cell_type"]): float(row["response"])
        for row in rows(tmp_path / "transfer.csv")
    }
    for row in table:
        makers = NAMES[:2] if row["made_for"] == "2" else NAMES[2:]
        single = [transfer[name, row["left_out"], row["cell_type"]] for name in makers]
        assert float(row["median_single"]) == pytest.approx(sum(single) / len(single))
        assert float(row["best_single"]) == max(single)
        # What is made for one network alone is its own optimum.
        if row["made_for"] == "1":
            assert float(row["consensus"]) == pytest.approx(single[0], abs=1e-4)
    assert (tmp_path / "consensus.png").read_bytes().startswith(b"\x89PNG")


def test_probes_alone_need_no_optima(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *NETWORK, "--min_score=2", f"--output={tmp_path}"]) == 0
    assert "no network scores 2 or more" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cells.csv",
        "networks.csv",
        "tuning",
    ]


def test_refuses_ranges_alone_and_optima_of_other_networks(
    optima: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for message, options in (
        ("expected --optima with --ranges, got none; give both", [f"--ranges={optima}"]),
        ("--optima and --ranges with --consensus, got none", [f"--consensus=[{optima}]"]),
        ("load that network", [f"--optima={optima}", "--network.lesions=Mi9"]),
    ):
        assert main(["compare", *NETWORK, *options, f"--output={tmp_path}"]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
