"""The command line: `stimopt COMMAND`, each a LightningCLI with YAML configs."""

from __future__ import annotations

import sys
import threading
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from typing import Any

COMMANDS = {
    "generate": "grow the stimulus that drives a cell type most, from noise",
    "regularize": "pull a stimulus to grey while the response stays",
    "search": "find the clip of a movie set that drives each cell type most",
    "render": "render movies on the lattice into a store",
    "optima": "all three for a cell type: search, regularize, generate, one figure",
}
USAGE_ERROR = 2
"""Exit code for bad input, as argparse's."""
INTERRUPTED = 130
TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code.

    0 done, 2 bad input (one line says what was expected; `--debug` shows the traceback),
    130 interrupted, 143 terminated; an interrupted command goes on when given again.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        from stimopt import __version__

        print(__version__)
        return 0
    if command not in COMMANDS:
        print(
            f"stimopt: error: expected a command of {', '.join(COMMANDS)}, got {command!r}; "
            "see stimopt --help",
            file=sys.stderr,
        )
        return USAGE_ERROR
    threading.excepthook = _end_of_thread
    try:
        return _command(command)(rest)
    except KeyboardInterrupt:
        return _stopped("interrupted", INTERRUPTED)
    except _lightning("SIGTERMException"):
        return _stopped("terminated", TERMINATED)
    except ArgumentError as error:
        if debug:
            raise
        print(
            f"stimopt {command}: error: {_one_line(error)}; see stimopt {command} --help",
            file=sys.stderr,
        )
        return USAGE_ERROR
    except (
        *(ValueError, TypeError, RuntimeError, OSError),
        *_lightning("MisconfigurationException"),
    ) as error:
        if debug:
            raise
        print(f"stimopt {command}: error: {_one_line(error)}", file=sys.stderr)
        return USAGE_ERROR


def _command(name: str) -> Callable[[list[str]], int]:
    """Imported when asked for: torch and lightning take seconds that --help need not."""
    import importlib

    run: Callable[[list[str]], int] = importlib.import_module(f"stimopt.commands.{name}").run
    return run


def _lightning(name: str) -> tuple[Any, ...]:
    """One of Lightning's exceptions, to be caught; none where Lightning was not imported yet."""
    exceptions = sys.modules.get("lightning.pytorch.utilities.exceptions")
    return () if exceptions is None else (getattr(exceptions, name),)


def _end_of_thread(ended: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread fails as the disk does, and the main thread will say so itself."""
    if not (ended.exc_type and issubclass(ended.exc_type, OSError)):
        threading.__excepthook__(ended)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: stimopt COMMAND [OPTIONS]",
            "",
            "The stimulus that excites a neuron most, in a connectome-constrained network.",
            "",
            *lines,
            "",
            "stimopt COMMAND --help lists a command's options; --config FILE.yaml reads them from",
            "a file; --debug shows the traceback of an error. The same command given again goes on",
            "where it was stopped.",
        ]
    )


def _one_line(error: Exception) -> str:
    # jsonargparse wraps what a linked option raises in words about its own workings.
    while str(error).startswith("Call to compute_fn of link") and error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"expected to read or write {error.filename or 'files'}, got {error.strerror}; what "
            "was whole before is as it was: mend that, and give the same command again"
        )
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _stopped(how: str, code: int) -> int:
    print(f"stimopt: {how}; the same command goes on from the last checkpoint", file=sys.stderr)
    return code
