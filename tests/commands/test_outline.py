"""Mistakes in options show before torch is imported, in the words of the parser itself."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentError
from pathlib import Path

import pytest

from stimopt.cli import COMMANDS
from stimopt.commands.outline import FILE, check, outline_of
from tests.commands.test_help import examples, parser_of


def test_the_file_tells_what_the_parsers_offer() -> None:
    message = "run python -m stimopt.commands.outline, which writes it anew"
    offered = json.loads(json.dumps(outline_of(COMMANDS)))
    assert json.loads(FILE.read_text(encoding="utf-8")) == offered, message


@pytest.mark.parametrize("command", COMMANDS)
def test_accepts_what_the_help_shows(
    command: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)
    for arguments in examples(command):
        check(command, arguments)


ACCEPTED = [
    [
        "generate",
        "--method=weighted",
        "--model.optimizer=torch.optim.Adam",
        "--model.optimizer.lr=1",
    ],
    ["generate", "--method=weighted", "--model.penalties.grey", "2000", "--model.u", "-1"],
    ["generate", "--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.every_n_epochs=2"],
    ["generate", "--network.path+=flow/0000/000", "--network.path+", "flow/0000/001"],
    ["generate", "--model.patience=null", "--protocol.dt=1e-2", "--model={u: 1}"],
    ["generate", "--config={model: {u: 1}}"],
    ["generate", "--print_config", "--no_such=1"],
    ["generate", "--trainer.callbacks.help=ModelCheckpoint"],
    ["optima", "T4c", "T5c", "--generate.method=weighted", "--generate.penalties={grey: 1}"],
    ["export", "result.h5", "--to=g6", "--display.name=G6 2x10", "--fit_to_rig"],
    ["campaign", "--command=search", "--items_per_chunk=2"],
]


@pytest.mark.parametrize("arguments", ACCEPTED, ids=" ".join)
def test_accepts_options_that_only_the_parser_can_check(arguments: list[str]) -> None:
    check(arguments[0], arguments[1:])


MISTAKES = [
    ["generate", "--model.no_such=1"],
    ["generate", "--model.no_such", "1"],
    ["generate", "--method=efficient", "--model.penalties={grey: 1}"],
    ["generate", "--model.t_stim=long"],
    ["generate", "--model.u=0.5"],
    ["generate", "--network.unstable=perhaps"],
    ["generate", "--config=none.yaml"],
    ["generate", "T4c"],
    ["regularize", "--trainer.max_steps=many"],
    ["optima", "--generate.method=weighted", "--generate.fraction=0.8"],
    ["search", "--trainer.max_steps=3"],
    ["render", "movies"],
    ["export", "result.h5", "--to=npz", "--format.panel_hz=3"],
    ["campaign", "--command=search", "--model.seeds=1"],
]


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_refuses_a_mistake_in_the_words_of_the_parser(arguments: list[str]) -> None:
    command, *rest = arguments
    with pytest.raises(ArgumentError) as early:
        check(command, rest)
    with pytest.raises(ArgumentError) as late:
        parser_of(command, rest).parse_args(rest)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("model: {no_such: 1}", "no_such"),
        ("trainer: {max_steps: many}", "max_steps"),
        ("a: [", "config"),
    ],
)
def test_refuses_a_mistake_in_a_config(content: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ArgumentError, match=named):
        check("generate", ["--config", str(path)])


def test_refuses_a_method_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"expected --generate.method as one of .* did you mean"):
        check("optima", ["--generate.method=efficent"])


def test_needs_neither_torch_nor_lightning() -> None:
    script = (
        "import sys; from stimopt.cli import main; code = main(['generate', '--no_such=1']); "
        "sys.exit(code != 2 or 'torch' in sys.modules or 'lightning' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
