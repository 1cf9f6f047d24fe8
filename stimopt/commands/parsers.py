"""The parser that a command begins with; it is quick to import."""

from __future__ import annotations

from typing import TypeVar

from jsonargparse import ArgumentParser

Parser = TypeVar("Parser", bound=ArgumentParser)


def command_parser(kind: type[Parser], command: str, description: str = "") -> Parser:
    """A parser that reads config files and raises its errors.

    Args:
        kind: class of the parser.
        command: name of the command.
        description: what the command does, in a sentence.
    """
    parser = kind(
        prog=f"stimopt {command}", description=description, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("-c", "--config", action="config", help="options as a YAML file")
    return parser
