"""`stimopt generate` and `stimopt regularize`, from options and configs to files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stimopt.cli import main
from stimopt.networks.opening import builtin_network
from stimopt.results.result import Result, read
from tests.search.cases import noise_store
from tests.whole.commandline import EXTENT, generate_command, refusal, regularize_command

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]

# A handful of steps finds no greyer stimulus.
pytestmark = pytest.mark.filterwarnings("ignore:expected a greyer stimulus")


def result_of(arguments: list[str], output: Path) -> Result:
    assert main(arguments) == 0
    return read(output / "result.h5")


def with_config(folder: Path, **config: Any) -> str:
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return f"--config={path}"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a search."""
    folder = tmp_path_factory.mktemp("clips")
    store = noise_store(folder, EXTENT)
    search = ["search", f"--data.stores={store}", f"--network.extent={EXTENT}"]
    assert main([*search, f"--output={folder}", "--trainer.accelerator=cpu"]) == 0
    return folder / "result.h5"


def test_a_run_leaves_and_prints_its_files(tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "a run with späces"
    result = result_of(generate_command(output, "--model.cell_types=T4c,T5a"), output)
    assert list(result["cell_type"]) == ["T4c", "T5a"] and result["losses"].shape == (5, 2)
    assert result.check(builtin_network(EXTENT)) <= 1e-6
    printed = capsys.readouterr().out.splitlines()
    names = ("result.h5", "T4c.png", "T5a.png", "")
    assert printed == [str(output / name) for name in names]
    assert (output / "T5a.png").read_bytes().startswith(b"\x89PNG")
    assert not list(output.rglob("*.part-*"))


def test_a_run_says_that_only_its_first_stimuli_are_drawn(tmp_path: Path, capsys: Capture) -> None:
    types = "T4a,T4b,T4c,T4d,T5a,T5b,T5c,T5d,Mi1"
    result_of(generate_command(tmp_path, f"--model.cell_types={types}"), tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 8
    line = f"8 of 9 stimuli are drawn; stimopt page {tmp_path / 'result.h5'} shows all"
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_the_config_beside_a_run_gives_the_same_run(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    more = ["--protocol_preset=flyvis_search", "--protocol.dt=0.02", "--model.penalties.grey=20"]
    result = result_of(generate_command(first, *more), first)
    # Options beside the preset change it.
    assert (result.protocol.t_fade_in, result.protocol.dt) == (2.0, 0.02)
    arguments = ["generate", f"--config={first / 'config.yaml'}", f"--output={again}"]
    np.testing.assert_array_equal(result_of(arguments, again)["losses"], result["losses"])


def test_a_refused_run_leaves_the_config_of_the_run_before(tmp_path: Path, capsys: Capture) -> None:
    assert main(generate_command(tmp_path)) == 0
    before = (tmp_path / "config.yaml").read_bytes()
    refusal(generate_command(tmp_path, "--model.sign=-1", "--trainer.max_steps=8"), capsys)
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert main(generate_command(tmp_path, "--trainer.max_steps=8")) == 0
    assert b"\n  max_steps: 8\n" in (tmp_path / "config.yaml").read_bytes()


def test_optimizer_schedule_and_callbacks_from_a_config(tmp_path: Path) -> None:
    steps = {"step_size": 2, "gamma": 0.1}
    schedule = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": steps}
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}
    stopper = {"class_path": "EarlyStopping", "init_args": {"monitor": "loss/total", "patience": 5}}
    csv_logger = {
        "class_path": "CSVLogger",
        "init_args": {"save_dir": str(tmp_path / "log"), "name": "", "version": ""},
    }
    config = with_config(
        tmp_path,
        model={"optimizer": optimizer, "lr_scheduler": schedule},
        trainer={"log_every_n_steps": 1, "callbacks": [stopper], "logger": csv_logger},
    )
    output = tmp_path / "run"
    result = result_of(generate_command(output, config, "--trainer.max_steps=60"), output)
    assert len(result["losses"]) < 61, "stopped early"
    header, *rows = (tmp_path / "log" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("optimizer/learning_rate")
    rates = [float(row.split(",")[column]) for row in rows if row.split(",")[column]]
    assert rates[:5] == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005])


def test_a_callback_without_a_list_around_it(tmp_path: Path) -> None:
    one = "--trainer.callbacks=LambdaCallback"
    assert len(result_of(generate_command(tmp_path / "fit", one), tmp_path / "fit")["losses"]) == 5
    search = ["search", f"--network.extent={EXTENT}", "--data.stop_sample=1", one]
    result_of([*search, f"--output={tmp_path / 'search'}"], tmp_path / "search")


def test_a_missing_checkpoint_is_told_before_a_ceiling_is_sought(
    tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "fit"
    arguments = generate_command(output, "--method=efficient", "--ckpt_path=none.ckpt")
    assert "a checkpoint at none.ckpt, got no file" in refusal(arguments, capsys)
    assert not output.exists()


def test_a_fit_that_its_time_ended_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"max_time was over after \d of 4 steps; rerun"):
        result_of(generate_command(tmp_path, "--trainer.max_time=00:00:00:00"), tmp_path)


# -- functions of the user ------------------------------------------------------------------------

MY_LAB = """
import torch

def onset(traces):
    return traces[:, -3:].mean(dim=1)

def smooth(luminance):
    return luminance.diff(dim=1).square().mean(dim=(1, 2))
"""


@pytest.fixture
def my_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lab.py").write_text(MY_LAB, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("my_lab")
def test_objective_and_penalties_by_dotted_path(tmp_path: Path, capsys: Capture) -> None:
    line, file = tmp_path / "line", tmp_path / "file"
    penalties = {"grey": 2.0, "my_lab.smooth": 0.5}
    options = ["--model.objective=my_lab.onset", f"--model.penalties={yaml.dump(penalties)}"]
    result = result_of(generate_command(line, *options), line)
    config = with_config(tmp_path, model={"objective": "my_lab.onset", "penalties": penalties})
    same = result_of(generate_command(file, config), file)
    np.testing.assert_array_equal(same["losses"], result["losses"])
    assert result.config["objective"] == "my_lab.onset"
    # The terms are recorded by the names of their functions.
    terms = sum(result[name][:, 0] for name in ("loss_activity", "loss_grey", "loss_smooth"))
    np.testing.assert_allclose(result["losses"][:, 0], terms, rtol=1e-5)
    # Another function is another run.
    refused = refusal(generate_command(line, *options[1:], "--trainer.max_steps=8"), capsys)
    assert "objective = 'my_lab.onset'" in refused
    assert "my_lab.offset" in refusal(
        generate_command(tmp_path / "none", "--model.objective=my_lab.offset"), capsys
    )


def test_one_penalty_is_changed_by_its_name(tmp_path: Path) -> None:
    result = result_of(generate_command(tmp_path, "--model.penalties.grey=7"), tmp_path)
    assert result.config["penalties.grey"][0] == 7.0


# -- steps and methods ----------------------------------------------------------------------------


@pytest.mark.parametrize("by_config", [False, True])
def test_a_method_brings_its_options(
    by_config: bool, clips: Path, tmp_path: Path, capsys: Capture
) -> None:
    method = with_config(tmp_path, method="penalized") if by_config else "--method=penalized"
    arguments = regularize_command(clips, tmp_path / "out", method, "--model.grey_weight=0.5")
    result = result_of(arguments, tmp_path / "out")
    assert result.kind == "regularized" and result.config["grey_weight"] == 0.5
    line = refusal([*arguments, "--model.tolerance=0.1"], capsys)
    assert "--model.tolerance=0.1" in line
    line = refusal(regularize_command(clips, tmp_path / "out", "--model.grey_weight=1"), capsys)
    assert "--model.grey_weight=1" in line


def test_an_unknown_method(clips: Path, tmp_path: Path, capsys: Capture) -> None:
    line = refusal(regularize_command(clips, tmp_path, "--method=penalised"), capsys)
    assert re.fullmatch("expected --method .* got 'penalised'; did you mean 'penalized'.", line)


def test_several_tolerances_draw_a_trade_off(clips: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = regularize_command(
        clips, tmp_path, "--model.tolerance=[0.02, 0.1]", "--trainer.max_steps=30"
    )
    result = result_of(arguments, tmp_path)
    assert result["tolerance"].tolist() == pytest.approx([0.02, 0.1])
    assert str(tmp_path / "tradeoff-T4c.png") in capsys.readouterr().out.splitlines()


# -- stimuli at a level ---------------------------------------------------------------------------


def at_level(output: Path, method: str, *more: str) -> Result:
    small = ["--network.extent=2", "--trainer.accelerator=cpu", "--model.t_stim=0.1"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", f"--output={output}"]
    return result_of(["generate", f"--method={method}", *small, *quiet, *more], output)


def test_methods_that_need_the_ceiling_seek_it_first(tmp_path: Path, capsys: Capture) -> None:
    efficient = at_level(tmp_path / "efficient", "efficient", "--model.fraction=0.8")
    ceiling = read(tmp_path / "efficient" / "ceiling" / "result.h5")
    assert efficient["ceiling"][0] == ceiling["objective"][0]
    assert 0.8 - 1e-5 <= efficient["fraction_reached"][0] < 0.83
    given = f"--model.ceiling={tmp_path / 'efficient' / 'ceiling' / 'result.h5'}"
    levels = at_level(tmp_path / "ladder", "ladder", "--model.levels=[0.5, 1.0]", given)
    assert levels["level_met"].all() and not (tmp_path / "ladder" / "ceiling").exists()
    assert str(tmp_path / "ladder" / "ladder-T4c.png") in capsys.readouterr().out
    varied = at_level(tmp_path / "varied", "varied", "--model.stimuli=2", given)
    assert len(varied["label"]) == 3 and 0 <= varied["diversity"][0] <= 1
    minimal = at_level(tmp_path / "minimal", "minimal", given)
    assert 0 < minimal["columns_used"][0] < 19 and minimal["level_met"][0]
    assert refusal(
        ["generate", "--network.extent=2", "--model.fraction=1.5", f"--output={tmp_path / 'no'}"],
        capsys,
    ).startswith("expected a finite fraction > 0 and <= 1")
    assert not (tmp_path / "no" / "ceiling").exists()


def test_a_bandwidth_filters_the_stimulus_and_its_ceiling(tmp_path: Path) -> None:
    free = at_level(tmp_path / "free", "ceiling")
    held = at_level(tmp_path / "held", "ceiling", "--model.bandwidth.t_hold=0.05")
    assert held["objective"][0] < free["objective"][0]
    # Ten frames of 10 ms are two holds of five.
    assert np.ptp(held["stimulus"][0, :5], axis=0).max() < 1e-6
    assert np.ptp(held["stimulus"][0, 5:], axis=0).max() < 1e-6
