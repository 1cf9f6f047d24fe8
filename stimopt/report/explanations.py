"""Figures and tables that explain why cells respond to their optima."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from stimopt import expect
from stimopt.analysis.currents import LIGHT
from stimopt.lattice import Floats, HexLattice
from stimopt.plotting import Figure, save_figure, style
from stimopt.plotting.explain import MAIN, Explanation, main_sources, plot_explanation
from stimopt.protocol import GREY
from stimopt.report.figures import MAX_FIGURES
from stimopt.report.rows import write_rows
from stimopt.results.result import Result
from stimopt.storage.files import safe_names


def explanation_figure(explained: Result, i: int) -> Figure:
    """Draw one item of a result of `stimopt.explain`."""
    lattice = HexLattice(explained.extent)
    shown, optional = slice(0, int(explained["n_frames"][i])), explained.variables
    # Padding is not drawn, but the gradient there is zero rather than missing.
    currents = explained["source_current"][i, shown]
    similarity = ""
    if "path_similarity" in optional and np.isfinite(explained["path_similarity"][i]).any():
        best = np.nanmax(explained["path_similarity"][i])
        similarity = f"; likeness to the paths of clips {style.number(best)}"
    item = Explanation(
        stimulus=explained["stimulus"][i, shown].astype(np.float64),
        sensitivity=explained["sensitivity"][i, shown].astype(np.float64),
        sources=[str(name) for name in explained["source"]],
        changes=currents - _before_onset(explained, i),
        contributions=explained["contribution"][i],
        maps=input_maps(explained, i),
        peak_frame=int(explained["peak_frame"][i]),
        clip_contributions=(
            explained["clip_contribution"][i] if "clip_contribution" in optional else None
        ),
        lesioned=explained["lesioned_response"][i] if "lesioned_response" in optional else None,
    )
    title = f"What drives {explained['label'][i]}{similarity}"
    return plot_explanation(item, lattice, explained.protocol.dt, title=title)


def input_maps(explained: Result, i: int) -> Floats:
    """Contributions of an item's taps by the place of their source, `(sources, columns)`.

    The cell stands in the central column, where the light on it is drawn, too; NaN is where there
    is no synapse.
    """
    lattice = HexLattice(explained.extent)
    place = lattice.index(explained["tap_du"][i], explained["tap_dv"][i])
    source, share = explained["tap_source"][i], explained["tap_contribution"][i]
    maps = np.full((len(explained["source"]), lattice.n_columns), np.nan)
    drawn = (source >= 0) & (place >= 0)
    maps[source[drawn], place[drawn]] = share[drawn]
    lit = _lights(explained, i)
    maps[lit, lattice.center] = explained["contribution"][i, lit]
    return maps


def _before_onset(explained: Result, i: int) -> Floats:
    """Currents of an item in grey, `(sources,)`.

    Currents of the first frame come from voltages before it, but its light is that of the stimulus.
    """
    return np.where(_lights(explained, i), GREY, explained["source_current"][i, 0])


def _lights(explained: Result, i: int) -> NDArray[np.bool_]:
    """Which source is light that falls on the cell of an item, `(sources,)`."""
    moves = explained["source_current"][i].any(axis=0) | (explained["contribution"][i] != 0)
    return np.asarray(moves & (explained["source"] == LIGHT))


def explanation_table(explained: Result) -> Table:
    """The largest inputs of every cell."""
    table = Table(title="What drives each cell at its peak", title_justify="left")
    table.add_column("cell", no_wrap=True)
    table.add_column("since onset", justify="right", no_wrap=True)
    table.add_column(f"by source, the largest {MAIN} (left without it)")
    with_paths = "path_similarity" in explained.variables
    if with_paths:
        table.add_column("paths", justify="right", no_wrap=True)
    for i, label in enumerate(explained["label"]):
        shares = explained["contribution"][i]
        parts = [_part(explained, i, s) for s in main_sources(shares)]
        row = [escape(str(label)), style.number(shares.sum()), escape(", ".join(parts))]
        if with_paths:
            known = explained["path_similarity"][i]
            row.append(style.number(np.nanmax(known)) if np.isfinite(known).any() else "")
        table.add_row(*row)
    return table


def explanation_rows(explained: Result) -> list[dict[str, Any]]:
    """A row for every cell and source, as for `inputs.csv`."""
    connected = [set(row[row >= 0].tolist()) for row in explained["tap_source"]]
    return [
        {
            "label": str(explained["label"][i]),
            "cell_type": str(explained["cell_type"][i]),
            "source": str(source),
            **{
                name: float(explained[name][i, s])
                for name in ("contribution", "clip_contribution", "lesioned_response")
                if name in explained.variables
            },
        }
        for i in range(len(explained["label"]))
        for s, source in enumerate(explained["source"])
        if s in connected[i] or explained["contribution"][i, s] != 0
    ]


def write_explanation(
    explained: Result, folder: str | Path, max_figures: int = MAX_FIGURES
) -> list[Path]:
    """Write `explained.h5`, `inputs.csv` and `.json`, and a figure of each of the first items."""
    expect.whole("max_figures", max_figures, f"{MAX_FIGURES} is usual")
    folder = Path(folder)
    written = [explained.write(folder / "explained.h5")]
    written += write_rows(folder / "inputs", explanation_rows(explained))
    for i, name in enumerate(safe_names([str(x) for x in explained["label"]])[:max_figures]):
        written.append(save_figure(explanation_figure(explained, i), folder / f"{name}.png"))
    return written


def _part(explained: Result, i: int, s: int) -> str:
    text = f"{explained['source'][s]} {style.number(explained['contribution'][i, s])}"
    if "lesioned_response" in explained.variables:
        left = float(explained["lesioned_response"][i, s])
        text += f" ({style.percent(left)})" if np.isfinite(left) else ""
    return text
