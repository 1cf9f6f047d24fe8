"""The optima of many cell types on one static page, which needs nothing from outside its folder."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from stimopt.analysis.summary import SELECTIVE
from stimopt.plotting import plot_thumbnail, save_figure, style
from stimopt.report.figures import optima_figure, safe_names
from stimopt.report.optima_tuning import TuningText
from stimopt.results.three_optima import ItemOptima, ThreeOptima
from stimopt.storage.files import replace_text

_THUMBNAIL_DPI = 150
_FIGURE_DPI = 130
"""A figure 8.2 inches wide fills a usual screen."""

_MISSED = (
    ' <em title="no greyer stimulus stayed within the tolerance; this is the clip itself">'
    "tolerance missed</em>"
)


def write_gallery(optima: ThreeOptima, folder: str | Path) -> list[Path]:
    """Write the page, and a figure and three thumbnails of every item.

    Pictures are written before the page that shows them, each whole or not at all.

    Example:
        >>> optima = stimopt.read("logs/optima_T4c/optima.h5")  # doctest: +SKIP
        >>> write_gallery(optima, "gallery")  # doctest: +SKIP

    Args:
        optima: with directions and polarities if they come from `with_tuning`.
        folder: gets `index.html`, `figures/` and `thumbnails/`.

    Returns:
        The page, then the figures, in the order of the items.
    """
    folder = Path(folder)
    names = safe_names([item.label for item in optima])
    figures = []
    for i, (name, item) in enumerate(zip(names, optima, strict=True)):
        figure = optima_figure(optima, i)
        figures.append(save_figure(figure, folder / "figures" / f"{name}.png", dpi=_FIGURE_DPI))
        for kind, optimum in item.optima.items():
            save_figure(
                plot_thumbnail(optimum.stimulus, optimum.peak_frame, optima.lattice, optima.dt),
                folder / "thumbnails" / f"{name}_{kind}.png",
                dpi=_THUMBNAIL_DPI,
            )
    replace_text(folder / "index.html", page(optima, names))
    return [folder / "index.html", *figures]


def page(optima: ThreeOptima, names: Sequence[str]) -> str:
    """The page as HTML; `names` are the file names of the items, from `safe_names`."""
    result, protocol = optima.artificial, optima.artificial.protocol
    settings = (
        f"{len(optima)} optima of each kind · network {', '.join(result.network_names)} · hash "
        f"{result.network_hash[:12]} · {optima.lattice.n_columns} columns · "
        f"{1000 * optima.dt:g} ms a frame, {protocol.t_pre:g} s of grey before the stimulus"
    )
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    template = resources.files("stimopt.report").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        settings=html.escape(settings),
        rows="\n".join(_row(optima, i, name) for i, name in enumerate(names)),
        selective=SELECTIVE,
        versions=html.escape(versions),
    )


def _row(optima: ThreeOptima, i: int, name: str) -> str:
    """One row of the table. Everything that comes from a file is escaped or a number."""
    item: ItemOptima = optima[i]
    tuning = TuningText.of_item(optima.artificial, i)
    label, figure = html.escape(item.label), f"figures/{name}.png"
    several = len(set(optima.artificial["network"].tolist())) > 1
    network = html.escape(optima.artificial.network_names[item.network]) if several else ""
    cells = [
        f'<th scope="row" data-value="{html.escape(item.label.lower())}">'
        f'<a href="{figure}">{label}</a><small>{network}</small></th>'
    ]
    clip = item.naturalistic.peak
    for kind, optimum in item.optima.items():
        share = f"{100 * optimum.peak / clip:.0f} %" if clip > 0 and kind != "naturalistic" else ""
        note = "" if kind != "regularized" or _tolerance_met(optima, item) else _MISSED
        cells.append(
            f'<td data-value="{optimum.peak:.9g}"><a href="{figure}"><img loading="lazy" '
            f'src="thumbnails/{name}_{kind}.png" alt="{kind} optimum of {label}"></a>'
            f"<span><b>{style.number(optimum.peak)}</b> <small>{share}</small>{note}</span></td>"
        )
    angle, polarity = tuning.direction_deg, tuning.polarity_text
    turned = f'<i class="arrow" style="transform:rotate({-angle:.0f}deg)">➜</i>'
    arrow = "" if math.isnan(angle) else turned
    # The direction of a cell that is not direction-selective means little.
    faint = "" if tuning.selectivity > SELECTIVE else ' class="faint"'
    cells += [
        f'<td data-value="{_sortable(angle)}"{faint}>{arrow}{tuning.direction_text}</td>',
        f'<td data-value="{_sortable(tuning.selectivity)}">{tuning.selectivity_text}</td>',
        f'<td data-value="{_sortable(tuning.polarity_index)}">'
        f'<span class="{polarity.lower()}">{polarity}</span></td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _tolerance_met(optima: ThreeOptima, item: ItemOptima) -> bool:
    result = optima.regularized
    if "tolerance_met" not in result.variables:
        return True  # a regularization without a tolerance
    same = (result["cell_type"] == item.cell_type) & (result["network"] == item.network)
    return bool(result["tolerance_met"][same][0])


def _sortable(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"
