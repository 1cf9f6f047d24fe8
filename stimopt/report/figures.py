"""Figures of the items of a result and of the three optima."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from stimopt.lattice import HexLattice
from stimopt.plotting import Figure, animate, plot_optima, plot_stim_response, save_figure
from stimopt.results.result import NOT_STABLE, Result
from stimopt.results.three_optima import ThreeOptima
from stimopt.storage.files import safe_names

MAX_FIGURES = 8
"""Items, or networks, that are drawn by default: the first ones."""


def item_figure(result: Result, i: int) -> Figure:
    """Draw stimulus over response of one item in the last 200 ms before the peak."""
    lattice = HexLattice(result.extent)
    shown = slice(0, int(result["n_frames"][i]))
    fig = plot_stim_response(
        result["stimulus"][i, shown],
        result["response"][i, shown],
        lattice,
        result.protocol.dt,
        title=f"{result['label'][i]}, {result.kind}" + _mark(result, i),
        column=_column(result, i),
        peak_frame=result.frame_of_peak(i),
    ).fig
    assert isinstance(fig, Figure)
    return fig


def optima_figure(optima: ThreeOptima, i: int, **options: Any) -> Figure:
    """Draw the three optima of one item as strips, then their central traces over each other.

    Args:
        optima: from a file of `stimopt optima`, or of three results.
        i: number of the item.
        **options: as for `plotting.plot_optima`.
    """
    item = optima[i]
    weighted = "by a weighted loss"
    efficient = f"nearest to grey at {100 * item.aim:.3g} % of the way to the ceiling"
    drawn = [(kind, optimum.stimulus, optimum.response) for kind, optimum in item.optima.items()]
    peaks = [optimum.peak_frame for optimum in item.optima.values()]
    if mark := _mark(optima.artificial, i):
        options.setdefault("title", f"What {item.cell_type} responds to most{mark}")
    return plot_optima(
        drawn,
        optima.lattice,
        optima.dt,
        item.cell_type,
        peak_frames=peaks,
        details=[
            "the best clip",
            "that clip pulled to grey",
            weighted if math.isnan(item.aim) else efficient,
        ],
        grey_and_ceiling=item.span if item.span.known else None,
        column=_column(optima.artificial, i),
        **options,
    )


def _column(result: Result, i: int) -> int:
    """Column in which an item's cell is read."""
    place = result["readout_u"][i], result["readout_v"][i]
    return int(HexLattice(result.extent).index(*place))


def _mark(result: Result, i: int) -> str:
    return "" if result.is_stable(i) else f" ({NOT_STABLE})"


def write_figures(result: Result, folder: str | Path, max_figures: int = MAX_FIGURES) -> list[Path]:
    """Draw the first items of a result into `<item>.png`, each whole or not at all."""
    names = safe_names([str(label) for label in result["label"]])[:max_figures]
    return [
        save_figure(item_figure(result, i), Path(folder) / f"{name}.png")
        for i, name in enumerate(names)
    ]


def write_animations(optima: ThreeOptima, folder: str | Path) -> list[Path]:
    """Write a film of every optimum as `<item>_<kind>.gif` and return the paths."""
    return [
        animate(
            optimum.stimulus,
            optimum.response,
            optima.lattice,
            optima.dt,
            Path(folder) / f"{name}_{kind}.gif",
            title=f"{item.label}, {kind}",
            max_extent=6,
            column=_column(optima.artificial, i),
        )
        for i, (name, item) in enumerate(
            zip(safe_names([item.label for item in optima]), optima, strict=True)
        )
        for kind, optimum in item.optima.items()
    ]
