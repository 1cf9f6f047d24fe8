"""Exit codes and the one line that a person reads when something is wrong."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from stimopt import __version__
from stimopt.cli import _one_line, main
from stimopt.results import read
from tests.commands.processes import STIMOPT, started, wait_for
from tests.whole.commandline import SMALL, generate_command, refusal
from tests.whole.forked import Forks


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create"]) == 2
    assert capsys.readouterr().err == (
        "stimopt: error: expected a command of generate, regularize, search, render, optima, "
        "campaign, export, compare, discriminate, explain, check, page, got 'create'; "
        "see stimopt --help\n"
    )


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(generate_command(tmp_path, "--model.cell_types=t4C"), capsys)
    assert "did you mean" in line or "nearest" in line
    # The parser's own words, with the way to the options.
    line = refusal(generate_command(tmp_path, "--model.no_such=1"), capsys)
    assert "--model.no_such=1" in line and line.endswith("see stimopt generate --help")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="T4c"):
        main(generate_command(tmp_path, "--model.cell_types=t4C", "--debug"))


def test_a_warning_is_one_line_without_the_code_it_is_from(tmp_path: Path, forks: Forks) -> None:
    # In one frame light reaches the photoreceptor alone.
    options = ["--model.cell_types=R1,T4c", "--model.t_stim=0.01"]
    log = tmp_path / "printed.txt"
    assert forks.run(generate_command(tmp_path / "run", *options), to=log).status == 0
    warning, *files = log.read_text(encoding="utf-8").splitlines()
    assert warning.startswith("stimopt generate: warning: expected a gradient")
    assert all(Path(file).exists() for file in files)


def test_an_error_of_the_disk_names_the_file() -> None:
    line = _one_line(OSError(errno.ENOSPC, "No space left on device", "run/last.ckpt"))
    assert line.startswith("expected to read or write run/last.ckpt, got No space left on device;")


INTERRUPTED = {
    ("generate", signal.SIGTERM): (
        *("--method=weighted", "--model.t_stim=0.1"),
        "--trainer.max_steps=1000000",
    ),
    ("search", signal.SIGTERM): ("--data.batch_size=1", "--data.stop_sample=100"),
    ("optima", signal.SIGINT): ("--regularize.max_steps=1000000", "--data.stop_sample=4"),
}
CHECKPOINT = {"optima": "regularize/checkpoints/last.ckpt"}


@pytest.mark.parametrize(
    ("command", "advice"),
    [("check", "to do it from the start"), ("export", "written, with --overwrite true")],
)
def test_what_has_no_checkpoint_is_not_said_to_resume(
    command: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("stimopt.cli._run", interrupted)
    assert main([command, "result.h5"]) == 130
    assert capsys.readouterr().err.endswith(f"{advice}\n")


@pytest.mark.parametrize(("command", "by"), INTERRUPTED)
def test_an_interrupted_run_ends_with_its_code(
    command: str, by: signal.Signals, tmp_path: Path, forks: Forks
) -> None:
    fits = [] if command == "search" else ["--checkpoint_every_n_steps=5"]
    arguments = [command, *SMALL, *INTERRUPTED[command, by], *fits, f"--output={tmp_path}"]
    checkpoint = tmp_path / CHECKPOINT.get(command, "checkpoints/last.ckpt")
    if command == "generate":
        with started(*STIMOPT, *arguments) as process:
            wait_for(checkpoint, process)
            process.send_signal(by)
            _, err = process.communicate(timeout=60)
        ended = process.returncode
    else:

        def interrupt(process: int) -> None:
            wait_for(checkpoint)
            os.kill(process, by)

        log = tmp_path / "printed.txt"
        ended = forks.run(arguments, after=260, to=log, meanwhile=interrupt).status
        err = log.read_text(encoding="utf-8")
    code, how = (130, "interrupted") if by == signal.SIGINT else (143, "terminated")
    assert ended == code, err
    assert err.endswith(
        f"stimopt: {how}; rerun the command to resume from its last checkpoint, if it wrote one\n"
    )
    assert "Traceback" not in err
    if command == "search":
        assert main(arguments) == 0
        assert read(tmp_path / "result.h5").config["samples"] == 100
