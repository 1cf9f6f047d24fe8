"""Help texts: short, fast, and true of the real parsers."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from stimopt.cli import COMMANDS, help_text, main
from stimopt.storage.identity import function_name

OPTION = re.compile(r"^  (--[\w.]+) \S+(?: |$)(.*(?:\n {30,}\S.*)*)", re.MULTILINE)


def parser_of(command: str, arguments: list[str] | None = None) -> ArgumentParser:
    module = importlib.import_module(f"stimopt.commands.{command}")
    parser: ArgumentParser = module.parser(arguments or [])
    return parser


def examples(command: str) -> list[list[str]]:
    lines = re.findall(rf"^  stimopt {command}(.*)$", help_text(command), re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("name", ["stimopt", *COMMANDS])
def test_fits_two_screens(name: str) -> None:
    lines = help_text(name).splitlines()
    assert len(lines) < 60 and max(map(len, lines)) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_names_options_and_defaults_as_the_parser_does(command: str) -> None:
    defaults = parser_of(command).get_defaults()
    options = OPTION.findall(help_text(command))
    assert len(options) >= min(9, len(list(defaults.keys())) - 1)
    for option, text in options:
        default = defaults[option.removeprefix("--")]
        stated = re.search(r"\[(.*)\]$", " ".join(text.split()))
        # An option without a default says in words what happens without it.
        assert (stated is None) == (default is None), option
        assert stated is None or yaml.safe_load(stated[1]) == plain(default), option


def plain(value: Any) -> Any:
    if callable(value):
        return function_name(value)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("command", COMMANDS)
def test_gives_at_least_five_examples_that_the_parser_accepts(
    command: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)  # examples name files of configs/
    assert len(examples(command)) >= 5
    for arguments in examples(command):
        parser_of(command, arguments).parse_args(arguments)


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert all(re.search(rf"^  {command} ", printed, re.MULTILINE) for command in COMMANDS)


def test_all_options_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["regularize", "--method", "penalized", "--help", "all"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    for option in ("--model.activity_weight", "--trainer.precision", "--protocol.t_fade_in"):
        assert option in printed
    assert "--model.tolerance" not in printed  # of the other method
    # With texts and defaults, which the outline of the options does not have.
    assert "of the squared deviation" in printed and "default: 1.0" in printed


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]])
def test_needs_neither_torch_nor_lightning(arguments: list[str]) -> None:
    script = (
        "import sys; from stimopt.cli import main; main(sys.argv[1:]); "
        "sys.exit(any(name in sys.modules for name in ('lightning', 'torch', 'jsonargparse')))"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)
    # 0.3 s on an idle machine; loading torch takes several times as long as this allows.
    assert time.perf_counter() - start < 1.5
