"""Options that decide which other options there are, read before a parser is built."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml


def early_options(arguments: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """Values of options that decide which other options there are.

    The parser needs them before it is built. As in the parser itself, they come from the command
    line or from config files, and the last value counts. Dots in a name lead into a config.
    """
    chosen: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if argument.startswith("-c") and argument != "-c":  # In one word, as argparse takes it too.
            option, equals, value = "-c", "=", argument[2:].removeprefix("=")
        if option not in ("-c", "--config", *(f"--{name}" for name in names)):
            continue
        value = value if equals else next(rest, "")
        if option in ("-c", "--config"):
            chosen.update(_from_config(value, names))
        else:
            chosen[option[2:]] = value
    return chosen


def _from_config(path: str, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # the parser says what is wrong with the file
    for name in names:
        value = config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            yield name, value
