"""Write the folder of the page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from stimopt import expect
from stimopt.analysis.indices import SELECTIVE_FROM
from stimopt.plotting import Figure, save_figure, style
from stimopt.report.page.agreement import agreement, likeness_vector
from stimopt.report.page.encoding import packed_panel, packed_picture
from stimopt.report.page.items import PageItem, Panel, page_items
from stimopt.results.result import Result
from stimopt.results.three_optima import ThreeOptima
from stimopt.storage.files import replace_bytes, replace_text

_FILES = ("page.css", "drawing.js", "page.js", "icon.svg", "index.html")
_OWN_DATA = re.compile(r"\d+(-small)?\.js|\d+-\d+\.png")
Value = float | str | None


@dataclass(frozen=True)
class Table:
    """A table of text and numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True)
class Section:
    """A part of a cell's view, with a title.

    Args:
        title: heading.
        text: a paragraph; empty for none.
        tables: below it.
        figures: below these, by the text that stands for them where they are not seen.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Addition:
    """What else is known of a cell.

    Args:
        columns: of the table of all cells, by name.
        sections: below the player.
    """

    columns: Mapping[str, Value] = field(default_factory=dict)
    sections: Sequence[Section] = ()


def write_page(
    results: Result | ThreeOptima | Iterable[Result | ThreeOptima],
    folder: str | Path,
    add: Callable[[PageItem], Addition | None] | None = None,
    *,
    title: str = "Optimal stimuli",
) -> Path:
    """Write a page of results of any kind, and return the path of its `index.html`.

    Each file is written whole or not at all. Cells are read one at a time.

    Example:
        >>> optima = stimopt.read("logs/optima_T4c/optima.h5")  # doctest: +SKIP
        >>> write_page(optima, "page")  # doctest: +SKIP

    Args:
        results: one or several; stimuli of one cell are shown together.
        folder: to write to; other files in it stay.
        add: called for each cell; adds columns to the table and sections to the cell.
        title: heading.
    """
    folder = Path(folder)
    # The three optima are a sequence, too.
    if isinstance(results, (Result, ThreeOptima)):
        results = [results]
    items = page_items(results)
    expect.that(items, "results with items", "none", "pass results of a search or fit")
    names = list(dict.fromkeys(source.name for item in items for source in item.sources))
    files = [f"{i:04d}" for i in range(len(items))]
    rows, vectors, additions = [], [], []
    for file, item in zip(files, items, strict=True):
        panels, addition = item.panels(), (add(item) if add else None) or Addition()
        _write_item(folder, file, names, item, panels, addition)
        rows.append(_row(file, names, item, panels))
        vectors.append(likeness_vector(panels) if item.stable else None)
        additions.append(addition)
    extra = list(dict.fromkeys(name for each in additions for name in each.columns))
    for row, addition, value in zip(rows, additions, agreement(items, vectors), strict=True):
        row.update(extra=[addition.columns.get(name) for name in extra], agreement=value)
    _write_call(
        folder / "data" / "index.js",
        "index",
        {**_about(items, names), "title": title, "rows": rows, "extra": extra},
    )
    for name in _FILES:
        source = resources.files("stimopt.report.page").joinpath(name)
        replace_bytes(folder / name, source.read_bytes())
    _remove_others(folder / "data", files)
    return folder / "index.html"


def _write_item(
    folder: Path,
    file: str,
    names: Sequence[str],
    item: PageItem,
    panels: Sequence[Panel],
    addition: Addition,
) -> None:
    packed = [
        {**packed_panel(panel), "value": panel.peak, "fraction": item.fraction(panel.peak)}
        for panel in panels
    ]
    sections: list[dict[str, Any]] = []
    n_figures = 0
    for section in addition.sections:
        figures: list[dict[str, str]] = []
        for alt, figure in section.figures.items():
            path = save_figure(figure, folder / "data" / f"{file}-{n_figures}.png")
            figures.append({"file": path.name, "alt": alt})
            n_figures += 1
        tables = [
            {
                "caption": t.caption,
                "columns": list(t.columns),
                "rows": [list(row) for row in t.rows],
            }
            for t in section.tables
        ]
        sections.append(
            {"title": section.title, "text": section.text, "tables": tables, "figures": figures}
        )
    content = {"panels": packed, "sections": sections}
    _write_call(folder / "data" / f"{file}.js", "item", file, content)
    small = [{**packed_picture(panel), "panel": names.index(panel.name)} for panel in panels]
    _write_call(folder / "data" / f"{file}-small.js", "item", f"{file}-small", small)


def _row(
    file: str, names: Sequence[str], item: PageItem, panels: Sequence[Panel]
) -> dict[str, Any]:
    by_name, tuning = {panel.name: panel for panel in panels}, item.tuning
    peaks = [by_name[name].peak if name in by_name else math.nan for name in names]
    span = item.span
    return {
        "file": file,
        "label": item.label,
        "type": item.cell_type,
        "network": item.network,
        "stable": item.stable,
        "grey": span.grey,
        "ceiling": span.ceiling,
        "floor": item.floor,
        "peaks": peaks,
        "fractions": [item.fraction(peak) for peak in peaks],
        "remarks": [by_name[name].remark if name in by_name else "" for name in names],
        "direction": tuning.direction_deg,
        "selectivity": tuning.selectivity,
        "polarity": tuning.polarity,
        "polarity_index": tuning.polarity_index,
    }


def _about(items: Sequence[PageItem], names: Sequence[str]) -> dict[str, Any]:
    networks = list(dict.fromkeys(item.network for item in items))
    result = items[0].sources[0].result
    hashes = dict.fromkeys(item.network_hash[:12] for item in items)
    facts = [
        f"{_counted(len(items), 'cell', 'cells')}, "
        f"{_counted(sum(len(item.sources) for item in items), 'stimulus', 'stimuli')}",
        f"network {networks[0]}" if len(networks) == 1 else f"{len(networks)} networks",
        f"hash {', '.join(hashes)}",
        f"{1000 * result.protocol.dt:g} ms a frame after {result.protocol.t_pre:g} s of grey",
    ]
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    tuning = (
        "Direction, selectivity and polarity are measured with the artificial optimum: rotated by "
        "multiples of 60°, mirrored, contrast-inverted and reversed in time. Directions of cells "
        f"with a selectivity of {SELECTIVE_FROM} and less are pale. "
    )
    tuned = any(not math.isnan(item.tuning.selectivity) for item in items)
    below = "Percentages are of the way from grey to the ceiling, and with a minus to the floor. "
    floors = any(not math.isnan(item.floor) for item in items)
    return {
        "facts": " · ".join(facts),
        "foot": f"{below if floors else ''}{tuning if tuned else ''}{versions}",
        "names": list(names),
        "networks": networks,
        "selective": SELECTIVE_FROM,
        "colors": style.colors(style.RESPONSE_CMAP, 65),
        "series": list(style.SERIES),
    }


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _write_call(path: Path, function: str, *arguments: Any) -> None:
    """A script that passes plain values to a function of the page."""
    values = ",".join(json.dumps(_plain(value), separators=(",", ":")) for value in arguments)
    replace_text(path, f"stimopt.{function}({values});\n")


def _plain(value: Any) -> Any:
    """Plain values; numbers that JSON does not know become null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _remove_others(folder: Path, files: Sequence[str]) -> None:
    """Remove files of an earlier page with more cells."""
    for path in folder.iterdir():
        if _OWN_DATA.fullmatch(path.name) and re.split("[-.]", path.name)[0] not in files:
            path.unlink()
