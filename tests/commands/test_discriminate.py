"""`stimopt discriminate`: stimuli, experiment, tables and figure."""

from __future__ import annotations

import csv
import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stimopt.analysis.discriminate import Round, judge
from stimopt.analysis.edge_tuning import moving_edge, moving_edges
from stimopt.analysis.flyvis_probes import ANGLES_DEG
from stimopt.cli import main
from stimopt.commands.discriminate import SPEEDS, _Experiment
from stimopt.networks.opening import builtin_network
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.limited import discriminating
from stimopt.plotting.identification import plot_identification
from stimopt.protocol import Protocol
from stimopt.runs.trainer import fit
from tests.search.cases import two_networks

SHORT = ["--t_stim=0.1", "--steps=4", "--data.stop_sample=2", "--trials=6", "--draws=40"]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_lesioned_copies_play_the_fly(
    trained_folder: Path, connectome_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = [
        f"--network.path=[{trained_folder / '000'}, {trained_folder / '001'}]",
        f"--network.connectome={connectome_file}",
        "--network.extent=3",
        "--network.lesions=Mi9",
    ]
    options = ["--cell_types=T4c", *SHORT, f"--output={tmp_path}"]
    assert main(["discriminate", *network, *options]) == 0
    printed = capsys.readouterr().out
    assert "named right after 4 trials" in printed and re.search(r"edges +\d+ % \(.*\d+ %", printed)
    table = rows(tmp_path / "identification.csv")
    sets = ["discriminating", "clips", "edges", "flashes"]
    assert [
        row["set"] for row in table if row["cell_type"] == "T4c" and row["trials"] == "1"
    ] == sets
    for row in table:
        assert 0 <= float(row["low"]) <= float(row["fraction"]) <= float(row["high"]) <= 1
    made = [row for row in rows(tmp_path / "questions.csv") if row["set"] == "discriminating"]
    assert {row["stimulus"] for row in made} == {"000 over 001", "001 over 000"}
    for key, words in (
        ("clips", r"sample \d"),
        ("edges", r"(ON|OFF) to \d+ degrees, [\d.]+ columns/s"),
        ("flashes", r"(black|white), within [136] columns"),
    ):
        named = [row["stimulus"] for row in rows(tmp_path / "questions.csv") if row["set"] == key]
        assert named and all(re.fullmatch(words, text) for text in named)
    assert (tmp_path / "identification.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "fits" / "lesions").glob("*/result.h5"))) == 2


def test_a_network_left_out_is_named_by_its_twin(
    trained_folder: Path, connectome_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two networks and a copy of each that hardly differs are two groups of two."""
    pytest.importorskip("scipy", reason="groups need the extra 'groups'")
    for name, source in (("a", "000"), ("b", "001"), ("c", "000"), ("d", "001")):
        path = trained_folder / source / "best_chkpt"
        stored = torch.load(path, map_location="cpu", weights_only=False)
        stored["network"]["nodes_bias"] += 1e-4 if name in "cd" else 0.0
        (tmp_path / name).mkdir()
        torch.save({"network": stored["network"]}, tmp_path / name / "best_chkpt")
        shutil.copy(trained_folder / source / "_meta.yaml", tmp_path / name)
    network = [
        f"--network.path=[{', '.join(str(tmp_path / name) for name in 'abcd')}]",
        f"--network.connectome={connectome_file}",
        "--network.extent=3",
    ]
    options = ["--cell_types=T4c", "--noise=0.02", *SHORT, f"--output={tmp_path / 'out'}"]
    assert main(["discriminate", *network, *options]) == 0
    assert "discriminating   100 %" in capsys.readouterr().out
    asked = rows(tmp_path / "out" / "questions.csv")
    assert list(dict.fromkeys(Path(row["flies"]).name for row in asked)) == list("abcd")
    made = [row["stimulus"] for row in asked if row["set"] == "discriminating"]
    assert set(made[:2]) == {"b+d over c", "c over b+d"}


def test_edges_and_flashes_are_named_in_the_order_in_which_they_are_shown() -> None:
    network, protocol = two_networks(extent=6), Protocol()
    experiment = _Experiment.__new__(_Experiment)
    experiment.network = network
    edges = [moving_edges(network.lattice, ANGLES_DEG, speed, protocol) for speed in SPEEDS]
    numbers = itertools.product(SPEEDS, (1, 0), ANGLES_DEG)
    for k, (speed, shade, angle) in enumerate(numbers):
        name = f"{'ON' if shade else 'OFF'} to {angle:g} degrees, {speed:g} columns/s"
        assert experiment.named("edges", k, []) == name
        group, place = divmod(k, 2 * len(ANGLES_DEG))
        wanted = moving_edge(network.lattice, angle, 2 * shade - 1, speed, protocol)
        np.testing.assert_array_equal(edges[group][place], wanted)
    assert experiment.named("flashes", 1, []) == "white, within 1 columns"
    assert experiment.named("flashes", 4, []) == "black, within 6 columns"


def test_chance_is_that_of_the_classes_of_each_cell_type() -> None:
    two = Round(("T4c",), {0: 0, 1: 1}, {2: 0})
    three = Round(("T5c",), {0: 0, 1: 1, 2: 2}, {3: 0})
    chance = _Experiment.chance(_Experiment.__new__(_Experiment), [two, three])
    assert chance == pytest.approx({"all cell types": 5 / 12, "T4c": 1 / 2, "T5c": 1 / 3})
    curves = {name: {"edges": ([0.5], [0.4], [0.6])} for name in ("T4c", "T5c")}
    lines = [ax.lines[-1].get_ydata() for ax in plot_identification(curves, chance).axes]
    assert [float(line[0]) for line in lines] == pytest.approx([1 / 2, 1 / 3])


def test_says_what_can_play_a_fly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--network.extent=3", *SHORT, f"--output={tmp_path / 'out'}"]
    assert main(["discriminate", *options]) == 2
    line = capsys.readouterr().err
    assert "expected networks to play a fly, got 1 networks" in line and "--network.lesions" in line
    assert not (tmp_path / "out").exists()


def test_says_that_ceilings_are_of_other_networks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fit(ResponseRange(builtin_network(extent=3), "T4c", t_stim=0.1), steps=2).write(
        tmp_path / "ranges.h5"
    )
    options = ["--network.extent=3", "--network.lesions=Mi9,Mi4,Tm3", *SHORT, f"--ranges={path}"]
    assert main(["discriminate", *options, f"--output={tmp_path / 'out'}"]) == 2
    assert "expected the network of the result" in capsys.readouterr().err


def test_stimuli_for_a_pair_name_the_candidates_themselves() -> None:
    network = two_networks(extent=3)
    ranges = fit(ResponseRange(network, "T4c", t_stim=0.1), steps=15)
    chosen = Round(("T4c",), {0: 0, 1: 1}, {0: 0, 1: 1})
    options: dict[str, Any] = {"noise": 0.1, "t_stim": 0.1, "rms_contrast": 0.2}
    made = [
        fit(discriminating(network, "T4c", [one], [other], ranges, **options), steps=10)
        for one, other in chosen.pairs
    ]
    assert all(result["rms_contrast"][0] <= 0.2001 for result in made)
    last = np.array([result["reading_response"][0, :, -1] for result in made])
    # Responses to the two stimuli, in the order of the pairs; the second reads the networks turned.
    last[1] = last[1, ::-1]
    grey, span = (
        np.array([float(ranges[name][ranges["network"] == k][0]) for k in (0, 1)])
        for name in ("grey_objective", "objective")
    )
    answers = ((last - grey) / (span - grey)).T[:, :, None]
    judged = judge(chosen, {"made": answers}, noise=0.1, number=2, trials=40, draws=100)
    assert judged["made"].fractions.shape == (2, 40)
    assert (judged["made"].fractions[:, -1] > 0.9).all()
    with pytest.raises(ValueError, match="expected stimuli in clips, got none"):
        judge(chosen, {"clips": answers[:, :0]}, noise=0.1, number=2)
