"""The optima of many cell types on one static page, which needs nothing from outside its folder."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from stimopt.analysis.summary import SELECTIVE
from stimopt.lattice import HexLattice
from stimopt.plotting import animate, hex_frame, save_figure, strip_frames
from stimopt.plotting.style import STIMULUS_CMAP, number
from stimopt.results.three_optima import KINDS, OptimalStimulus, Walk, WalkItem
from stimopt.storage.files import replace_text

THUMBNAIL_FRAMES = 4
NOTHING = "\N{EN DASH}"
"""Stands where nothing can be said."""
_THUMBNAIL_INCHES, _THUMBNAIL_DPI = 0.6, 150
_PAPER = "#d5e3f2"
"""No grey, so that white columns are seen on it and black ones too."""
_FIGURE_DPI = 130
"""A figure 8.2 inches wide fills a usual screen."""


def write_gallery(walk: Walk, folder: str | Path) -> list[Path]:
    """Write the page, with a full figure and three thumbnails of every item.

    Pictures are written before the page that shows them, each whole or not at all.

    Args:
        walk: with `Walk.with_tuning` it has directions and polarities too.
        folder: gets `index.html`, `figures/` and `thumbnails/`.

    Returns:
        The page, then the figures, in the order of the items.
    """
    folder = Path(folder)
    names = safe_names([item.label for item in walk])
    figures = []
    for name, item in zip(names, walk, strict=True):
        path = folder / "figures" / f"{name}.png"
        figures.append(save_figure(item.figure(walk.lattice, walk.dt), path, dpi=_FIGURE_DPI))
        for kind, optimum in item.optima.items():
            picture = thumbnail(optimum, walk.lattice, walk.dt)
            path = folder / "thumbnails" / f"{name}_{kind}.png"
            save_figure(picture, path, dpi=_THUMBNAIL_DPI)
    replace_text(folder / "index.html", page(walk, names))
    return [folder / "index.html", *figures]


def write_animations(walk: Walk, folder: str | Path) -> list[Path]:
    """Write a film of every optimum as GIF, `<item>_<kind>.gif`; gives their paths."""
    return [
        animate(
            optimum.stimulus,
            optimum.response,
            walk.lattice,
            walk.dt,
            Path(folder) / f"{name}_{kind}.gif",
            title=f"{item.label}, {kind}",
            max_extent=6,
        )
        for name, item in zip(safe_names([item.label for item in walk]), walk, strict=True)
        for kind, optimum in item.optima.items()
    ]


def safe_names(labels: Sequence[str]) -> list[str]:
    """File names for labels such as CT1(Lo1): letters, digits, `.`, `_` and `-`, all different."""
    names: list[str] = []
    for label in labels:
        # No dot first, so that none is hidden or leads out of the folder.
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", label).strip("._") or "item"
        unique, i = name, 2
        # Some file systems do not tell upper case from lower.
        while unique.lower() in {other.lower() for other in names}:
            unique, i = f"{name}-{i}", i + 1
        names.append(unique)
    return names


def thumbnail(optimum: OptimalStimulus, lattice: HexLattice, dt: float) -> Figure:
    """The stimulus in the last 200 ms before the peak, a few frames side by side."""
    frames = strip_frames(optimum.peak_frame, dt, 0.2, THUMBNAIL_FRAMES)
    size = (THUMBNAIL_FRAMES * _THUMBNAIL_INCHES, 1.06 * _THUMBNAIL_INCHES)
    fig = Figure(figsize=size, facecolor=_PAPER)
    first = THUMBNAIL_FRAMES - len(frames)  # an early peak leaves room at the left
    for i, frame in enumerate(frames):
        ax = fig.add_axes(((first + i) / THUMBNAIL_FRAMES, 0, 1 / THUMBNAIL_FRAMES, 1))
        values = optimum.stimulus[frame]
        hex_frame(ax, lattice, values, vmin=0.0, vmax=1.0, cmap=STIMULUS_CMAP)
    return fig


def walk_table(walk: Walk) -> Table:
    """A table for people: responses of the three optima, and what the artificial one says."""
    table = Table(title="Peak responses of the three optimal stimuli", title_justify="left")
    table.add_column("cell type", no_wrap=True)
    for kind in KINDS:
        table.add_column(kind, justify="right", no_wrap=True)
    for name in ("direction", "selectivity", "polarity"):
        table.add_column(name, justify="right", no_wrap=True)
    for i, item in enumerate(walk):
        said = _tuning(walk, i)
        peaks = [number(optimum.peak) for optimum in item.optima.values()]
        label = item.label.replace("[", "\\[")  # brackets in a name are no mark-up
        table.add_row(label, *peaks, said["direction"], said["selectivity"], said["polarity"])
    return table


def page(walk: Walk, names: Sequence[str]) -> str:
    """The page as HTML; names of files are those of `safe_names`."""
    networks = ", ".join(walk.artificial.network_names)
    protocol = walk.artificial.protocol
    settings = (
        f"{len(walk)} optima of each kind · network {networks} · hash "
        f"{walk.artificial.network_hash[:12]} · {walk.lattice.n_columns} columns · "
        f"{1000 * walk.dt:g} ms a frame, {protocol.t_pre:g} s of grey before the stimulus"
    )
    rows = "\n".join(_row(walk, i, name) for i, name in enumerate(names))
    versions = ", ".join(f"{k} {v}" for k, v in walk.artificial.versions.items())
    return _PAGE.format(
        settings=html.escape(settings),
        rows=rows,
        selective=SELECTIVE,
        versions=html.escape(versions),
        style=_STYLE,
        script=_SCRIPT,
    )


def _row(walk: Walk, i: int, name: str) -> str:
    item: WalkItem = walk[i]
    said = _tuning(walk, i)
    label = html.escape(item.label)
    figure = f"figures/{name}.png"
    several = len(set(walk.artificial["network"].tolist())) > 1
    detail = html.escape(walk.artificial.network_names[item.network]) if several else ""
    cells = [
        f'<th scope="row" data-value="{html.escape(item.label.lower())}">'
        f'<a href="{figure}">{label}</a><small>{detail}</small></th>'
    ]
    clip = item.naturalistic.peak
    for kind, optimum in item.optima.items():
        share = f"{100 * optimum.peak / clip:.0f} %" if clip > 0 and kind != "naturalistic" else ""
        note = "" if kind != "regularized" or _tolerance_met(walk, item) else _MISSED
        cells.append(
            f'<td data-value="{optimum.peak:.9g}"><a href="{figure}"><img loading="lazy" '
            f'src="thumbnails/{name}_{kind}.png" alt="{kind} optimum of {label}"></a>'
            f"<span><b>{number(optimum.peak)}</b> <small>{share}</small>{note}</span></td>"
        )
    angle = said["angle"]
    arrow = (
        f'<i class="arrow" style="transform:rotate({-angle:.0f}deg)">➜</i>'
        if not math.isnan(angle)
        else ""
    )
    # A cell that answers to all directions alike has none, whatever the arithmetic says.
    faint = "" if said["index"] > SELECTIVE else ' class="faint"'
    cells += [
        f'<td data-value="{_sortable(angle)}"{faint}>{arrow}{said["direction"]}</td>',
        f'<td data-value="{_sortable(said["index"])}">{said["selectivity"]}</td>',
        f'<td data-value="{_sortable(said["contrast"])}">'
        f'<span class="{said["polarity"].lower()}">{said["polarity"]}</span></td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _tuning(walk: Walk, i: int) -> dict[str, Any]:
    """Direction, selectivity and polarity of an item as numbers and as text."""
    held = walk.artificial.variables
    if "preferred_direction_deg" not in held:
        nothing = math.nan
        said = {"direction": NOTHING, "selectivity": NOTHING, "polarity": NOTHING}
        return {**said, "angle": nothing, "index": nothing, "contrast": nothing}
    angle = float(held["preferred_direction_deg"].values[i])
    index = float(held["direction_selectivity"].values[i])
    polarity = int(held["polarity"].values[i])
    return {
        "angle": angle,
        "index": index,
        "contrast": float(held["polarity_index"].values[i]),
        "direction": NOTHING if math.isnan(angle) else f"{round(angle) % 360}°",
        "selectivity": NOTHING if math.isnan(index) else f"{index:.2f}",
        "polarity": {1: "ON", -1: "OFF"}.get(polarity, NOTHING),
    }


def _tolerance_met(walk: Walk, item: WalkItem) -> bool:
    result = walk.regularized
    if "tolerance_met" not in result.variables:
        return True  # a regularization without one
    for k, name in enumerate(result["cell_type"]):
        if (str(name), int(result["network"][k])) == (item.cell_type, item.network):
            return bool(result["tolerance_met"][k])
    return True


def _sortable(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"


_MISSED = (
    ' <em title="no stimulus within the tolerance was found; the start stands as it was">'
    "tolerance missed</em>"
)

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1c1f23;
  background: #f4f5f6; margin: 0 auto; max-width: 76rem; padding: 1.6rem 1.2rem 3rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
p { margin: .3rem 0; max-width: 62rem; }
p.quiet, footer { color: #5b626b; font-size: .87rem; }
table { border-collapse: collapse; background: #fff; margin: 1.1rem 0; width: 100%;
  box-shadow: 0 1px 3px rgb(0 0 0 / 14%); border-radius: 6px; overflow: hidden; }
thead th { background: #24292f; color: #fff; text-align: left; font-weight: 600; font-size: .87rem;
  padding: .55rem .7rem; white-space: nowrap; }
thead button { all: unset; cursor: pointer; }
thead button:focus-visible { outline: 2px solid #fff; outline-offset: 2px; }
thead th[aria-sort="ascending"] button::after { content: " ▲"; }
thead th[aria-sort="descending"] button::after { content: " ▼"; }
tbody th, td { padding: .5rem .7rem; border-top: 1px solid #e4e7ea; text-align: left;
  vertical-align: middle; white-space: nowrap; font-variant-numeric: tabular-nums; }
tbody tr:hover { background: #f0f6fc; }
tbody th { font-size: 1.05rem; }
tbody th small { display: block; font-weight: 400; color: #5b626b; }
td img { display: block; width: 190px; height: auto; margin-bottom: .15rem; }
td img { border-radius: 4px; }
td.faint, td.faint .arrow { color: #a2a9b1; }
td small { color: #5b626b; }
td em { color: #9a3412; font-style: normal; font-size: .82rem; }
a { color: #0550ae; text-decoration: none; }
a:hover { text-decoration: underline; }
.arrow { display: inline-block; font-style: normal; margin-right: .4rem; color: #0072b2; }
.on, .off { border-radius: 1rem; padding: .1rem .6rem; font-size: .85rem; font-weight: 600;
  border: 1px solid #24292f; }
.on { background: #fff; } .off { background: #24292f; color: #fff; }
"""

_SCRIPT = """
document.querySelectorAll("thead button").forEach((button, column) => {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = document.querySelector("tbody");
    const down = head.getAttribute("aria-sort") === "ascending";
    document.querySelectorAll("thead th").forEach(th => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.children[column].dataset.value;
    const order = (a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
      const found = column === 0 ? key(a).localeCompare(key(b), undefined, {numeric: true})
        : key(a) - key(b);
      return down ? -found : found;
    };
    [...body.rows].sort(order).forEach(row => body.append(row));
  });
});
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Optimal stimuli</title>
<style>{style}</style>
</head>
<body>
<h1>Optimal stimuli</h1>
<p class="quiet">{settings}</p>
<p>For each cell type the clip of the movies that drives it most (naturalistic), that clip pulled
to grey while its response stays (regularized), and a stimulus grown from noise (artificial).
Thumbnails end with the frame of the peak, 50 ms from frame to frame; numbers are peak responses of
the central cell, percentages relate them to the clip's. A click opens the full figure, a click on a
heading sorts.</p>
<table>
<thead><tr>
<th><button>cell type</button></th>
<th><button>naturalistic</button></th>
<th><button>regularized</button></th>
<th><button>artificial</button></th>
<th><button title="of the artificial optimum; 0° moves right, 90° up">direction</button></th>
<th><button title="of the artificial optimum under rotation, 0 to 1">selectivity</button></th>
<th><button title="brightening (ON) or darkening (OFF)">polarity</button></th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
<footer>Direction, selectivity and polarity are those of the artificial optimum: from the responses
to it rotated by multiples of 60°, mirrored, contrast-inverted and reversed in time. Where the
selectivity is below {selective} the direction is printed pale. {versions}</footer>
<script>{script}</script>
</body>
</html>
"""
