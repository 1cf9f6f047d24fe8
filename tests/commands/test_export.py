"""`stimopt export`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from stimopt.commands.export import FORMATS, run
from stimopt.commands.export import parser as export_parser
from stimopt.export import g6
from stimopt.networks.frozen import FrozenNetwork
from stimopt.optimize.generate import StimulusGenerator
from stimopt.protocol import Protocol
from stimopt.results import Variable
from stimopt.results.campaign import write_manifest
from stimopt.runs.trainer import fit
from tests.results.cases import random_optima, random_result

NETWORK = "--network.extent=4"
SHORT = ["--timing.grey_before=0.1", "--outside=dark"]


@pytest.fixture
def result(small_network: FrozenNetwork, tmp_path: Path) -> Path:
    return random_result(small_network).write(tmp_path / "result.h5")


def test_exports_all_items(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run([str(result), "--to=g6", f"--output={out}", *SHORT]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    patterns = sorted(path.name for path in (out / "patterns").iterdir())
    assert patterns == ["001_T4c.pat", "002_T5a.pat"]
    header, frames = g6.decode((out / "patterns" / "001_T4c.pat").read_bytes())
    assert header.arena_id == 1 and frames.shape == (40, 40, 200)
    card = json.loads((out / "T4c.json").read_text())
    assert card["provenance"]["result"] == "result.h5" and card["light"]["white_level"] == 14
    assert run([str(result), "--to=npz", f"--output={out}", "--overwrite=true", *SHORT]) == 0
    assert sorted(p.name for p in out.glob("*.npz")) == ["T4c.npz", "T5a.npz"]


def test_a_fade_in_is_shown_as_grey(
    small_network: FrozenNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faded = dataclasses.replace(
        random_result(small_network), protocol=Protocol(t_pre=0.1, t_fade_in=0.2)
    )
    path, out = faded.write(tmp_path / "faded.h5"), tmp_path / "out"
    assert run([str(path), f"--output={out}", "--items=T5a", "--outside=dark"]) == 0
    assert "grey is shown in place of the fade-in of 0.2 s" in capsys.readouterr().out
    card = json.loads((out / "T5a.json").read_text())
    assert card["provenance"]["protocol"]["t_fade_in"] == 0.2
    timing = card["timing"]
    assert timing["refreshes_of_grey_before"] / timing["refresh_hz"] == pytest.approx(0.3)


@pytest.mark.parametrize("to", [name for name in FORMATS if name != "nwb"])
def test_every_format_by_its_name(result: Path, tmp_path: Path, to: str) -> None:
    out = tmp_path / "out"
    assert run([str(result), f"--to={to}", f"--output={out}", "--items=T5a", *SHORT]) == 0
    session = json.loads((out / "session.json").read_text())
    assert session["stimuli"]["T5a"]["format"] == to
    assert (out / session["stimuli"]["T5a"]["file"]).exists()


def test_kinds_and_controls_of_the_three_optima(
    small_network: FrozenNetwork, tmp_path: Path
) -> None:
    path = random_optima(small_network).write(tmp_path / "optima.h5")
    out = tmp_path / "out"
    arguments = ["--items=T4c", "--kinds=[naturalistic, regularized]", "--controls=grey,grey"]
    arguments += ["--display_type=screen", "--display.width_px=40", "--display.height_px=30"]
    arguments += ["--order.repeats=2", "--order.pause=0.1", f"--output={out}", *SHORT]
    assert run([str(path), *arguments]) == 0
    session = json.loads((out / "session.json").read_text())
    assert {*session["stimuli"]} == {"T4c_naturalistic", "T4c_regularized", "grey", "pause"}
    with np.load(out / "grey.npz") as archive:
        assert archive["pixels"].shape[1:] == (30, 40)


def test_seen_back_and_fitted_to_the_rig(
    small_network: FrozenNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = StimulusGenerator(
        small_network, "T4c", Protocol(t_pre=0.2), t_stim=0.2, penalties={"grey": 1.0}
    )
    path = tmp_path / "result.h5"
    fit(generator, steps=25, enable_progress_bar=False, logger=False).write(path)
    out = tmp_path / "out"
    arguments = [str(path), "--to=g4", f"--output={out}", *SHORT, NETWORK]
    arguments += ["--eye.acceptance=9"]
    assert run([*arguments, "--seen_back=true"]) == 0
    assert "T4c: on this rig" in capsys.readouterr().out
    seen = json.loads((out / "seen.json").read_text())
    assert [*seen] == ["T4c"] and 0 < seen["T4c"]["left"] < 1
    assert run([*arguments, "--overwrite=true", "--fit-to-rig", "20"]) == 0
    assert "the fit regained" in capsys.readouterr().out
    fitted = json.loads((out / "seen.json").read_text())
    assert [*fitted] == ["T4c", "T4c_fit_to_rig"]
    assert fitted["T4c"]["left"] == pytest.approx(seen["T4c"]["left"], abs=1e-4)
    assert fitted["T4c_fit_to_rig"]["regained"] > 0
    assert (out / "T4c_fit_to_rig.json").exists()


def test_a_fit_that_regains_nothing_is_not_exported(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noise excites more than what flyvis's penalty, which such a result falls back on, allows."""
    out = tmp_path / "out"
    arguments = [str(result), "--to=npz", "--items=T5a", f"--output={out}", *SHORT, NETWORK]
    assert run([*arguments, "--fit-to-rig=60"]) == 0
    assert "T5a: the fit regained nothing" in capsys.readouterr().out
    assert [*json.loads((out / "seen.json").read_text())] == ["T5a"]


def test_the_rung_of_a_ladder_at_grey_is_exported_without_a_fit(
    small_network: FrozenNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder = random_result(small_network)
    ladder.variables["fraction"] = Variable(("item",), np.array([0.0, 0.5]))
    path = ladder.write(tmp_path / "result.h5")
    arguments = ["--to=npz", "--items=T4c", f"--output={tmp_path / 'out'}", *SHORT, NETWORK]
    assert run([str(path), *arguments, "--fit-to-rig=2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("T4c: is at grey") and "regained" not in printed
    assert (tmp_path / "out" / "T4c.json").exists()


def test_the_number_of_steps_may_be_left_out() -> None:
    for option in ("--fit-to-rig", "--fit_to_rig"):
        assert export_parser().parse_args(["result.h5", option]).fit_to_rig == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to=avi"], "expected format"),
        (["--to=g4", "--display.name=G4 1x12"], "before all 61 columns, got Arena"),
        (["--to=npz", "--items=T9"], "item"),
        (["--to=npz", "--light.levels=3"], "levels"),
        (["--to=g4", "--outside=dark", "--light.levels=256"], "levels of g4"),
        (["--to=npz", "--timing.refresh=60"], "a multiple of 100 Hz"),
        (["--to=npz", "--seen_back=true", "--network.extent=3"], "the network of the result"),
        (["--to=npz", "--controls=[backwards]"], "control"),
        (["--to=npz", "--kinds=best"], "kind of optimum as one of .* got 'best'"),
        (["--to=npz", "--fit_to_rig=-3"], "fit_to_rig"),
    ],
)
def test_bad_input_is_refused(result: Path, tmp_path: Path, arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run([str(result), f"--output={tmp_path / 'out'}", *arguments])
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["result.h5"]


def test_a_damaged_result_is_refused(result: Path, tmp_path: Path) -> None:
    result.write_bytes(result.read_bytes()[:1000])
    with pytest.raises(ValueError, match="a damaged or foreign file"):
        run([str(result), f"--output={tmp_path / 'out'}"])


def test_no_kind_is_refused(small_network: FrozenNetwork, tmp_path: Path) -> None:
    path = random_optima(small_network).write(tmp_path / "optima.h5")
    with pytest.raises(ValueError, match="at least one kind"):
        run([str(path), "--kinds=[]", f"--output={tmp_path / 'out'}"])


def test_an_item_without_a_response_leaves_the_others(
    small_network: FrozenNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the grey item there is nothing to compare; those before and after are told of."""
    made = random_result(
        small_network, cell_types="T5a", seeds=[0, 7, 8], protocol=Protocol(t_pre=3.0)
    )
    made["stimulus"][made["label"] == "T5a-seed7"] = 0.5
    path, out = made.write(tmp_path / "result.h5"), tmp_path / "out"
    arguments = [str(path), "--to=npz", f"--output={out}", "--outside=grey", NETWORK]
    assert run([*arguments, "--seen_back=true"]) == 0
    assert "a response to T5a-seed7" in capsys.readouterr().out
    told = [*json.loads((out / "seen.json").read_text())]
    assert told == ["T5a-seed0", "T5a-seed8"]
    assert (
        run([*arguments, "--fit_to_rig=2", "--overwrite=true", "--items=T5a-seed7,T5a-seed8"]) == 0
    )
    assert "T5a-seed7" in (out / "session.json").read_text()


def test_bad_input_is_refused_before_a_long_fit(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*arguments: object, **options: object) -> None:
        raise AssertionError("a fit has begun")

    monkeypatch.setattr("stimopt.commands.export.fit", begun)
    arguments = [str(result), "--to=npz", f"--output={tmp_path / 'out'}", *SHORT, NETWORK]
    with pytest.raises(ValueError, match="control"):
        run([*arguments, "--items=T5a", "--fit_to_rig=5", "--controls=[backwards]"])


def test_a_campaign_is_exported_by_its_folder(small_network: FrozenNetwork, tmp_path: Path) -> None:
    folder, out = tmp_path / "campaign", tmp_path / "out"
    for i, cell_type in enumerate(("T4c", "T5a")):
        (folder / "chunks" / str(i)).mkdir(parents=True)
        chunk = random_result(small_network, cell_types=cell_type)
        chunk.write(folder / "chunks" / str(i) / "result.h5")
    write_manifest(folder, {}, ["0", "1"])
    assert run([str(folder), "--to=npz", f"--output={out}", *SHORT]) == 0
    assert sorted(p.name for p in out.glob("*.npz")) == ["T4c.npz", "T5a.npz"]
