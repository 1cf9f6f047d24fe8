"""Options have one name and one default everywhere, so that configs can be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stimopt.cli import COMMANDS
from stimopt.commands.options import early_options
from tests.commands.test_help import parser_of

NAMES = ("method", "protocol_preset", "regularize.method")


def defaults_of(command: str, arguments: list[str] | None = None) -> dict[str, Any]:
    return vars(parser_of(command, arguments).get_defaults().as_flat())


def test_an_option_has_the_same_default_in_every_command() -> None:
    # What a command is: where it starts, by which algorithm, on how many devices, to which folder.
    own = {"model.init", "model.optimizer", "trainer.max_steps", "trainer.devices", "output"}
    # A search of all cell types costs no more than one of a single type; methods have own names.
    own |= {"model.cell_types", "method", "model.objective"}
    seen: dict[str, Any] = {}
    for command in COMMANDS:
        for name, value in defaults_of(command).items():
            assert name in own or seen.setdefault(name, value) == value, name


@pytest.mark.parametrize(
    ("command", "method"),
    [("generate", []), ("regularize", []), ("regularize", ["penalized"])],
)
def test_a_group_of_optima_has_the_options_of_the_command(command: str, method: list[str]) -> None:
    alone = defaults_of(command, [f"--method={name}" for name in method])
    group = defaults_of("optima", [f"--{command}.method={name}" for name in method])
    shared = {"cell_types", "seeds", "networks", "u", "v"}
    shared |= {"init"} if command == "regularize" else {"ceiling"}
    model = {
        name.removeprefix("model."): value
        for name, value in alone.items()
        if name.startswith("model.") and name.removeprefix("model.") not in shared
    }
    stage = {
        name.removeprefix(f"{command}."): value
        for name, value in group.items()
        if name.startswith(f"{command}.") and not name.endswith(".method")
    }
    assert stage == {**model, "max_steps": alone["trainer.max_steps"]}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--method", "a"], {"method": "a"}),
        (["--method=a", "--method=b"], {"method": "b"}),
        (["--model.method=a", "--methods=b", "method", "-c"], {}),
        (["--protocol_preset=flyvis_search"], {"protocol_preset": "flyvis_search"}),
        (["--config", "FILE"], {"method": "c", "regularize.method": "d"}),
        (["-c", "FILE", "--method", "a"], {"method": "a", "regularize.method": "d"}),
        (["--method", "a", "--config=FILE"], {"method": "c", "regularize.method": "d"}),
        (["--config=none.yaml", "--method=a"], {"method": "a"}),
        (["-cFILE"], {"method": "c", "regularize.method": "d"}),
        (["--method=a", "-c=FILE"], {"method": "c", "regularize.method": "d"}),
    ],
)
def test_options_that_decide_which_others_there_are(
    arguments: list[str], expected: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("method: c\nregularize: {method: d}\nmodel: {method: e}\n", encoding="utf-8")
    given = [argument.replace("FILE", str(path)) for argument in arguments]
    assert early_options(given, NAMES) == expected


@pytest.mark.parametrize("content", ["- a list", "method: [a", "method", "\x00"])
def test_leaves_bad_configs_to_the_parser(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    assert early_options(["--config", str(tmp_path / "config.yaml")], NAMES) == {}
