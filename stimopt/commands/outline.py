"""Options of the commands by name and plain type, so that mistakes show before torch is loaded.

The parsers read their options from the signatures of classes, and importing these takes seconds.
`outline.json` lists what the parsers of all commands and methods offer. It is written by

    python -m stimopt.commands.outline

and a test fails while it differs from the parsers. It is a tree: an option that has choices, such
as `--method`, decides which other options there are.

    {"options": [[name, type], ...], "commands": {command: node}}
    node:  {"by": option, "default": choice, "of": {choice: node}}, or positions of its options
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from stimopt import expect
from stimopt.commands.early import early_options
from stimopt.commands.parsers import command_parser

FILE = Path(__file__).with_suffix(".json")
FREE, GROUP = "any", "group"
"""Types of options that only the parser of the command can check."""
TYPES: dict[str, Any] = {
    "bool": bool,
    "bool or null": bool | None,
    "float": float,
    "float or null": float | None,
    "int": int,
    "int or null": int | None,
    "ints": int | list[int],
    "str": str,
    "str or null": str | None,
}

Row = tuple[str, str | list[Any]]
"""Name of an option, and its type or what it may be."""


def check(command: str, arguments: Sequence[str]) -> None:
    """Find mistakes in names, plain values and config files.

    Raises:
        ArgumentError: as the parser of the command would.
        ValueError: for a method that there is not.
    """
    outline = json.loads(FILE.read_text(encoding="utf-8"))
    node = outline["commands"].get(command)
    if node is None or any(_asks_for_help(argument) for argument in arguments):
        return
    while isinstance(node, dict):
        name = node["by"]
        choice = early_options(arguments, [name]).get(name) or node["default"]
        expect.one_of(f"--{name}", choice, node["of"])
        node = node["of"][choice]
    rows = [outline["options"][position] for position in node]
    parser = command_parser(ArgumentParser, command)
    for name, kind in rows:
        if kind != GROUP:
            parser.add_argument(name, **_argument(name, kind))
    parser.parse_args(list(_checkable(arguments, rows)))


def _asks_for_help(argument: str) -> bool:
    name = argument.partition("=")[0]
    return name in ("-h", "--help") or name.startswith("--print_config") or name.endswith(".help")


def _argument(name: str, kind: str | list[Any]) -> dict[str, Any]:
    if isinstance(kind, list):
        return {"type": Literal[tuple(kind)]}
    if kind.endswith(("*", "+")):
        return {"type": TYPES[kind[:-1]], "nargs": kind[-1]}
    return {"type": TYPES.get(kind, Any)}


def _checkable(arguments: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """The arguments without options of other types and options of these, with their values."""
    exact = {name for name, kind in rows if kind in (FREE, GROUP)}
    nested = tuple(f"{name}." for name, kind in rows if kind == FREE and name.startswith("-"))
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, _ = argument.partition("=")
        name = name.removesuffix("+")
        if name not in exact and not name.startswith(nested):
            yield argument
        elif not equals and rest and not rest[0].startswith("--"):
            rest.pop(0)


# -- writing it -----------------------------------------------------------------------------------


def outline_of(commands: Sequence[str]) -> dict[str, Any]:
    """What the parsers offer, which takes their imports and some seconds."""
    options: list[Row] = []
    nodes = {command: _node(command, {}, options) for command in commands}
    return {"options": [list(row) for row in options], "commands": nodes}


def _node(command: str, chosen: dict[str, str], options: list[Row]) -> dict[str, Any] | list[int]:
    arguments = [f"--{name}={choice}" for name, choice in chosen.items()]
    parser = importlib.import_module(f"stimopt.commands.{command}").parser(arguments)
    for action in parser._actions:
        if action.choices and action.dest not in chosen:
            of = {
                choice: _node(command, {**chosen, action.dest: choice}, options)
                for choice in action.choices
            }
            return {"by": action.dest, "default": action.default, "of": of}
    rows = list(_rows(parser))
    options += [row for row in rows if row not in options]
    return [options.index(row) for row in rows]


def _rows(parser: ArgumentParser) -> Iterator[Row]:
    for action in parser._actions:
        # `check` adds --config itself; those for help have 0 or 1 arguments.
        if action.dest == "config" or action.nargs in (0, 1):
            continue
        names = [name for name in action.option_strings if not name.endswith(("+", ".help"))]
        for name in names if action.option_strings else [action.dest]:
            yield name, _kind(action)


def _kind(action: Any) -> Any:
    wanted = getattr(action, "_typehint", action.type)
    if type(action).__name__ == "_ActionConfigLoad":
        return GROUP
    if action.choices:
        return "str"  # as early options are checked before
    if getattr(wanted, "__origin__", None) is Literal:
        return list(wanted.__args__)
    name = next((name for name, known in TYPES.items() if known == wanted), FREE)
    return FREE if action.nargs == "?" else name + (action.nargs or "")


def _text(outline: dict[str, Any]) -> str:
    """JSON with an option to a line, and a leaf of the tree to a line."""
    options = ",\n".join(json.dumps(row) for row in outline["options"])
    commands = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(node)}" for name, node in outline["commands"].items()
    )
    return f'{{"options": [\n{options}\n],\n"commands": {{\n{commands}\n}}}}\n'


if __name__ == "__main__":
    from stimopt.cli import COMMANDS

    FILE.write_text(_text(outline_of(COMMANDS)), encoding="utf-8")
