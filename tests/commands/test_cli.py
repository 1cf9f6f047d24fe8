from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stimopt.cli import main
from stimopt.networks.opening import builtin_network
from stimopt.results import result as results
from stimopt.storage.files import only_run_in

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["--network.extent", "4", "--model.t_stim", "0.12", "--trainer.accelerator", "cpu"]


def generate(output: Path, *more: str, steps: int = 6) -> int:
    return main(
        ["generate", *SMALL, "--output", str(output), "--trainer.max_steps", str(steps), *more]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "a run with späces"
    code = generate(
        output, "--model.cell_types", "T4c,T5a", "--pictures_every", "3", "--checkpoint_every", "4",
        "--trainer.log_every_n_steps", "2",
    )  # fmt: skip
    assert code == 0
    return output


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    result = results.read(finished / "result.h5")
    assert list(result["cell_type"]) == ["T4c", "T5a"]
    assert result["losses"].shape == (7, 2)
    assert result.check(builtin_network(4)) <= 1e-6
    for name in ("T4c.png", "T5a.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")
    config = yaml.safe_load((finished / "config.yaml").read_text(encoding="utf-8"))
    assert config["model"]["cell_types"] == "T4c,T5a" and config["trainer"]["max_steps"] == 6
    assert (finished / "checkpoints" / "last.ckpt").is_file()
    assert not list(finished.rglob("*.part-*"))


def test_tensorboard_reads_scalars_images_and_hyperparameters(finished: Path) -> None:
    board = EventAccumulator(str(finished), size_guidance={"scalars": 0, "images": 0})
    board.Reload()
    tags = board.Tags()
    for name in ("loss/total", "loss/activity", "loss/grey", "response/peak"):
        for item in ("T4c", "T5a"):
            events = board.Scalars(f"{name}/{item}")
            assert [event.step for event in events] == [0, 2, 4, 6]
    assert "optimizer/learning_rate" in tags["scalars"]
    held = results.read(finished / "result.h5")
    logged = [event.value for event in board.Scalars("loss/total/T5a")]
    np.testing.assert_allclose(logged, held["losses"][[0, 2, 4, 6], 1], rtol=1e-6)
    assert [event.step for event in board.Images("stimulus/T4c")] == [3, 6]
    assert board.Images("response/T5a")[0].encoded_image_string.startswith(b"\x89PNG")
    assert any("hparams" in tag for tag in tags["tensors"] or board.summary_metadata)


def test_the_same_command_again_changes_nothing_and_more_steps_go_on(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert generate(whole, steps=8) == 0
    assert generate(parts, "--checkpoint_every", "4", steps=4) == 0
    before = results.read(parts / "result.h5")
    assert generate(parts, "--checkpoint_every", "4", steps=4) == 0
    again = results.read(parts / "result.h5")
    np.testing.assert_array_equal(before["stimulus"], again["stimulus"])
    np.testing.assert_array_equal(before["losses"], again["losses"])
    assert generate(parts, "--checkpoint_every", "4", steps=8) == 0
    a, b = results.read(whole / "result.h5"), results.read(parts / "result.h5")
    np.testing.assert_array_equal(a["last_stimulus"], b["last_stimulus"])
    np.testing.assert_array_equal(a["losses"], b["losses"])


def test_fewer_steps_than_were_done_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(tmp_path, "--checkpoint_every", "4", steps=9) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert generate(tmp_path, "--checkpoint_every", "4", steps=5) == 2
    assert "expected trainer.max_steps of at least 8" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_a_refused_run_leaves_the_config_of_the_one_before(tmp_path: Path) -> None:
    assert generate(tmp_path, "--checkpoint_every", "4", steps=4) == 0
    before = (tmp_path / "config.yaml").read_bytes()
    assert generate(tmp_path, "--checkpoint_every", "4", "--model.grey_weight=7", steps=8) == 2
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert generate(tmp_path, "--checkpoint_every", "4", steps=8) == 0
    assert b"max_steps: 8" in (tmp_path / "config.yaml").read_bytes()


def test_optimizers_and_schedulers_are_chosen_in_a_config(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model": {
                    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}},
                    "lr_scheduler": {
                        "class_path": "torch.optim.lr_scheduler.StepLR",
                        "init_args": {"step_size": 2, "gamma": 0.1},
                    },
                }
            }
        ),
        encoding="utf-8",
    )
    output = tmp_path / "run"
    assert generate(output, "--config", str(config), "--trainer.log_every_n_steps", "1") == 0
    board = EventAccumulator(str(output))
    board.Reload()
    rates = [event.value for event in board.Scalars("optimizer/learning_rate")]
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005, 0.0005])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "--model.cell_types", "t4C"], "nearest: T4c"),
        (["generate", "--network.path", "no/such/folder"], "expected"),
        (["generate", "--protocol.dt", "0"], "expected dt > 0"),
        (["generate", "--model.t_stim", "-1"], "t_stim"),
        (["generate", "--model.objective", "best"], "objective"),
        (["generate", "--ckpt_path", "none.ckpt"], "expected a checkpoint"),
        (["create"], "expected a command"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    output = tmp_path / "run"
    code = main([*arguments, *(["--output", str(output)] if len(arguments) > 1 else [])])
    said_on_stderr = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    lines = [line for line in said_on_stderr if line.startswith("stimopt")]
    assert len(lines) == 1 and said in lines[0]
    assert "Traceback" not in "\n".join(said_on_stderr)
    assert not (output / "result.h5").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nearest: T4c"):
        generate(tmp_path / "run", "--model.cell_types", "t4C", "--debug")


def test_options_that_are_not_there_are_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(tmp_path / "run", "--model.no_such_option", "1") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "no_such_option" in said[0] and "stimopt generate --help" in said[0]
    assert not (tmp_path / "run").exists()


def test_a_fit_without_a_progress_bar(tmp_path: Path) -> None:
    assert generate(tmp_path / "run", "--trainer.enable_progress_bar", "false") == 0


def test_help_names_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(
        name in overview for name in ("generate", "regularize", "search", "render", "optima")
    )
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    text = capsys.readouterr().out
    for option in ("--model.cell_types", "--network.path", "--protocol.dt", "--output"):
        assert option in text
    assert "folder of a trained network" in text


def test_two_runs_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    with only_run_in(output):
        before = sorted(p.name for p in output.iterdir())
        # A lock is a process's own, so the second run is another process.
        done = subprocess.run(
            [sys.executable, "-m", "stimopt", "generate", *SMALL, "--output", str(output)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 2 and "another run is at work" in done.stderr
        assert sorted(p.name for p in output.iterdir()) == before
