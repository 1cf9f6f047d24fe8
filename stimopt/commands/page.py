"""`stimopt page`: results in a folder that opens in a browser."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from stimopt.commands.parsers import command_parser
from stimopt.report.page import CHECKED, EXPLAINED, evidence, write_page
from stimopt.results import Result, read


def parser(arguments: Sequence[str] = ()) -> ArgumentParser:
    """The options."""
    text = "Show results of any kind in a page that needs no server and no network."
    parser = command_parser(ArgumentParser, "page", text)
    add = parser.add_argument
    add(
        "results",
        nargs="+",
        type=str,
        help="result.h5, optima.h5, folders of campaigns; explained.h5 and checked.h5 add to them",
    )
    add("--title", type=str, default="Optimal stimuli", help="heading of the page")
    add("--output", type=str, default="logs/page", help="folder of the page")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Write the page and print the path of the file to open."""
    config = parser().parse_args(list(arguments))
    results = [read(path) for path in config.results]
    known = [r for r in results if isinstance(r, Result) and r.kind in (EXPLAINED, CHECKED)]
    shown = [r for r in results if not any(r is each for each in known)]
    print(write_page(shown, config.output, evidence(known), title=config.title))
    return 0
