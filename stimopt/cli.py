"""The command line: `stimopt COMMAND`, with options that may also stand in YAML configs."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
import warnings
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

COMMANDS = (
    *("generate", "regularize", "search", "render", "optima", "campaign", "export", "compare"),
    *("discriminate", "explain", "check", "page"),
)
USAGE_ERROR = 2
"""Exit code for bad input, as argparse's."""
INTERRUPTED = 130
TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0 done, 2 bad input (with one line that says what was expected; `--debug`
        shows the traceback), 130 interrupted, 143 terminated. Rerunning the command resumes it.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help_text("stimopt"))
        return 0
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        from stimopt import __version__

        print(__version__)
        return 0
    if command not in COMMANDS:
        return _refused(
            "stimopt",
            f"expected a command of {', '.join(COMMANDS)}, got {command!r}; see stimopt --help",
        )
    if "-h" in rest or "--help" in rest:
        if "all" not in rest:
            print(help_text(command))
            return 0
        rest.remove("all")
    threading.excepthook = _end_of_thread
    try:
        return _run(command, rest, debug)
    except KeyboardInterrupt:
        return _stopped(command, "interrupted", INTERRUPTED)
    except _lightning("SIGTERMException"):
        return _stopped(command, "terminated", TERMINATED)
    except ArgumentError as error:
        if debug:
            raise
        return _refused(f"stimopt {command}", f"{_one_line(error)}; see stimopt {command} --help")
    except (
        *(ValueError, TypeError, RuntimeError, OSError, KeyError),
        *_lightning("MisconfigurationException"),
    ) as error:
        if debug:
            raise
        return _refused(f"stimopt {command}", _one_line(error))


def help_text(name: str) -> str:
    """The short help of a command, or of `stimopt` itself.

    It is a text file, because importing torch and Lightning takes seconds.
    """
    return (files("stimopt.commands") / "help" / f"{name}.txt").read_text(encoding="utf-8")


def _run(command: str, arguments: list[str], debug: bool) -> int:
    # Mistakes in options show before torch and Lightning are imported, which takes seconds.
    importlib.import_module("stimopt.commands.outline").check(command, arguments)
    module = importlib.import_module(f"stimopt.commands.{command}")
    with contextlib.nullcontext() if debug else _one_line_warnings(command):
        exit_code: int = module.run(arguments)
    return exit_code


@contextlib.contextmanager
def _one_line_warnings(command: str) -> Iterator[None]:
    """Show warnings as errors are shown, without the code that they are from."""
    before = warnings.formatwarning

    def one_line(message: Warning | str, *_: Any, **__: Any) -> str:
        return f"stimopt {command}: warning: {' '.join(str(message).split())}\n"

    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = before


def _lightning(name: str) -> tuple[Any, ...]:
    """One of Lightning's exceptions, to be caught; none if Lightning was not imported yet."""
    exceptions = sys.modules.get("lightning.pytorch.utilities.exceptions")
    return () if exceptions is None else (getattr(exceptions, name),)


def _end_of_thread(ended: threading.ExceptHookArgs) -> None:
    """Stay silent when a thread of TensorBoard cannot write: the main thread reports it."""
    if not (ended.exc_type and issubclass(ended.exc_type, OSError)):
        threading.__excepthook__(ended)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"expected to read or write {error.filename or 'files'}, got {error.strerror}; files "
            "written earlier are intact: fix the problem and rerun the command"
        )
    if isinstance(error, KeyError) and error.args:
        error = ValueError(*error.args)  # a KeyError puts its text in quotes
    return " ".join(str(error).split()) or type(error).__name__


def _refused(name: str, reason: str) -> int:
    print(f"{name}: error: {reason}", file=sys.stderr)
    return USAGE_ERROR


def _stopped(command: str, how: str, code: int) -> int:
    again = "resume from its last checkpoint, if it wrote one"
    if command in ("compare", "explain", "check", "page"):
        again = "do it from the start"
    elif command == "export":
        again = "replace what it has written, with --overwrite true"
    print(f"stimopt: {how}; rerun the command to {again}", file=sys.stderr)
    return code
