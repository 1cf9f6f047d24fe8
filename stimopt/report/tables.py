"""Tables for the terminal."""

from __future__ import annotations

import math

from rich.box import SIMPLE
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from stimopt.plotting import style
from stimopt.report.optima_tuning import TuningText
from stimopt.results.result import NOT_STABLE, Result
from stimopt.results.three_optima import KINDS, ItemOptima, ThreeOptima

SCENE = "scene"
WIDTH = 120
"""Columns of a table where the output is no terminal and has no width of its own."""


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or wide enough where the output is none."""
    console = Console()
    wide = console if console.is_terminal else Console(width=WIDTH)
    wide.print(table)


def winners_table(result: Result, ranks: int = 1) -> Table:
    """Each cell type's best clips and where they come from.

    Args:
        result: of a search.
        ranks: how many of the top k to show.
    """
    several = len(set(result["network"].tolist())) > 1
    table = Table(title="Clip that drives each cell type most", title_justify="left")
    for name, justify in _columns(several, ranks > 1):
        # In a narrow terminal only the scenes' names wrap, no number does.
        table.add_column(name, justify=justify, no_wrap=name != SCENE, overflow="fold")
    for i, cell_type in enumerate(result["cell_type"]):
        for rank in range(min(ranks, result["sample"].shape[1])):
            if result["sample"][i, rank] >= 0:
                row = [_marked(str(cell_type), result, i)]
                row += [result.network_names[result["network"][i]]] if several else []
                row += [str(rank + 1)] if ranks > 1 else []
                table.add_row(*row, *_clip(result, i, rank))
    return table


def optima_table(optima: ThreeOptima) -> Table:
    """Peak responses of the three optima of each item, and the tuning to the artificial one.

    Where the ceiling is known, each peak is followed by how far it is on the way there from grey.
    DSI is the direction selectivity index; directions of cells with 0.2 and less are in brackets.
    """
    title = "Peak responses of the three optimal stimuli"
    # Fits a terminal of 80 columns.
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 0), pad_edge=False)
    table.add_column("cell type", no_wrap=True)
    ceilings = ["ceiling"] if any(item.span.known for item in optima) else []
    for name in (*ceilings, "clip", *KINDS[1:], "direction", "DSI", "ON/OFF"):
        table.add_column(name, justify="right", no_wrap=True)
    for i, item in enumerate(optima):
        tuning = TuningText.of_item(optima.artificial, i)
        table.add_row(
            _marked(item.label, optima.artificial, i),
            *[style.number(item.span.ceiling) for _ in ceilings],
            *[_peak(item, optimum.peak) for optimum in item.optima.values()],
            tuning.direction_text,
            tuning.selectivity_text,
            tuning.polarity_text,
        )
    return table


def _peak(item: ItemOptima, response: float) -> str:
    fraction = item.span.fraction(response)
    shown = "" if math.isnan(fraction) else f" ({style.percent(fraction)})"
    return f"{style.number(response)}{shown}"


def _marked(label: str, result: Result, i: int) -> str:
    """A label, and whether its network is not stable."""
    return escape(label if result.is_stable(i) else f"{label} ({NOT_STABLE})")


def _columns(several_networks: bool, several_ranks: bool) -> list[tuple[str, JustifyMethod]]:
    columns: list[tuple[str, JustifyMethod]] = [("cell type", "left")]
    columns += [("network", "left")] if several_networks else []
    columns += [("rank", "right")] if several_ranks else []
    return [
        *columns,
        ("response", "right"),
        ("at ms", "right"),
        ("sample", "right"),
        (SCENE, "left"),
        ("view", "right"),
        ("frames", "right"),
        ("mirrored", "left"),
        ("rotated", "right"),
    ]


def _clip(result: Result, i: int, rank: int) -> list[str]:
    def value(name: str) -> object:
        return result[name][i, rank]

    peak_ms = 1000 * result.protocol.seconds(int(result["peak_frame"][i, rank]))
    mirroring, rotation = int(result["mirroring"][i, rank]), int(result["rotation"][i, rank])
    return [
        f"{value('peak_response'):.3f}",
        f"{peak_ms:.0f}",
        str(value("sample")),
        escape(str(value(SCENE))),
        str(value("view")),
        f"{value('first_frame')}-{value('last_frame')}",
        f"axis {mirroring}" if mirroring else "no",
        f"{60 * rotation}°",
    ]
