"""Tables of networks compared: score cards, predictions, transfer, consensus and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Column, Table

from stimopt.analysis.flyvis_probes import ANGLES_DEG, ProbeResponses
from stimopt.analysis.groups import Grouping
from stimopt.analysis.indices import finite_mean, mean_interval
from stimopt.analysis.known_cells import PREFERRED_DIRECTION_DEG
from stimopt.analysis.score_card import ScoreCard
from stimopt.analysis.transfer import LeftOut, TransferMatrix
from stimopt.lattice import Floats
from stimopt.plotting.files import save_figure
from stimopt.plotting.transfer import plot_consensus, plot_transfers
from stimopt.plotting.tuning import Tuning, plot_tunings
from stimopt.report.figures import MAX_FIGURES
from stimopt.report.rows import write_csv
from stimopt.results.result import NOT_STABLE
from stimopt.storage.files import safe_names

EDGES = "peak voltage (a.u.) against the direction of a moving edge"
_FITS = ("polarity_fit", "selectivity_fit", "direction_fit", "score")
_INDICES = ("polarity_index", "selectivity", "direction_deg", "direction_error_deg")


def write_score_cards(cards: Sequence[ScoreCard], stable: Sequence[bool], folder: Path) -> Table:
    """Write `networks.csv`, with the fits, and `cells.csv`, with the indices behind them.

    Args:
        cards: of the same networks.
        stable: whether each network can be simulated.
        folder: to write to.

    Returns:
        How each network fits what has been recorded, and what does not.
    """
    columns = [Column(name, no_wrap=True) for name in ("network", "by")]
    columns += [Column(fit.removesuffix("_fit"), justify="right", no_wrap=True) for fit in _FITS]
    title = "Fit to recorded cell types"
    table = Table(*columns, "remarks", title=title, title_justify="left")
    networks, cells = [], []
    for card in cards:
        for k, name in enumerate(card.network_names):
            row = {"network": name, "source": card.source, "stable": bool(stable[k])}
            fits, remarks = {fit: getattr(card, fit)[k] for fit in _FITS}, card.remarks(k)
            networks.append({**row, **fits, "remarks": "; ".join(remarks)})
            cells += [
                {**row, "cell_type": of, **{each: getattr(card, each)[k, t] for each in _INDICES}}
                for t, of in enumerate(card.cell_types)
            ]
            texts = [f"{fit:.2f}".replace("nan", "") for fit in fits.values()]
            marked = remarks if stable[k] else [NOT_STABLE, *remarks]
            table.add_row(escape(name), card.source, *texts, "; ".join(marked))
    write_csv(folder / "networks.csv", networks)
    write_csv(folder / "cells.csv", cells)
    return table


def write_tuning(responses: ProbeResponses, card: ScoreCard, folder: Path) -> None:
    """Write the tuning of the direction-selective types to edges, `tuning/<network>.png`.

    Responses are means over speeds. The first networks get a figure, and only types that have
    been recorded, which are T4 and T5.

    Args:
        responses: to flyvis's edges.
        card: of these responses, for the preferred directions.
        folder: to write to.
    """
    peaks, names = responses.edge_peaks.mean(axis=3), responses.network_names[:MAX_FIGURES]
    for k, (name, file) in enumerate(zip(names, safe_names(names), strict=True)):
        tunings = {
            of: Tuning(peaks[k, t, 1], peaks[k, t, 0], float(card.direction_deg[k, t]))
            for t, of in enumerate(responses.cell_types)
            if of in PREFERRED_DIRECTION_DEG and np.isfinite(peaks[k, t]).all()
        }
        if tunings:
            figure = plot_tunings(ANGLES_DEG, tunings, f"{name}: {EDGES}")
            save_figure(figure, folder / "tuning" / f"{file}.png")


def write_transfer(matrix: TransferMatrix, stable: Sequence[bool], folder: Path) -> str:
    """Write `transfer.csv`, a row for each response, and `transfer.png`.

    Args:
        matrix: of all types.
        stable: whether each network can be simulated; the others are marked.
        folder: to write to.

    Returns:
        Which optima drive the other networks most, and which networks are most alike in this.
    """
    rows = [
        {
            "cell_type": matrix.cell_types[t],
            "made_for": matrix.network_names[i],
            "shown_to": matrix.network_names[j],
            "response": matrix.values[i, j, t],
            "stable": bool(stable[i] and stable[j]),
        }
        for i, j, t in np.ndindex(*matrix.values.shape)
    ]
    write_csv(folder / "transfer.csv", rows)
    marks = ["" if ok else f" ({NOT_STABLE})" for ok in stable]
    names = [name + mark for name, mark in zip(matrix.network_names, marks, strict=True)]
    figure = plot_transfers(matrix.values, names, matrix.cell_types)
    save_figure(figure, folder / "transfer.png")
    travels, general, likeness = finite_mean(matrix.travels), matrix.generality, matrix.likeness
    best, order = int(_finite(travels).argmax()), _finite(general).argsort()
    least, most = (matrix.cell_types[t] for t in order[[0, -1]])
    pairs = np.where(np.triu(np.ones_like(likeness, dtype=bool), 1), _finite(likeness), -np.inf)
    first, second = divmod(int(pairs.argmax()), len(names))
    travel = f"optima of {names[best]} drive other networks most, to {travels[best]:.2f} of the way"
    types = (
        f"of all cell types those of {most} ({general[order[-1]]:.2f}), least those of {least} "
        f"({general[order[0]]:.2f}); "
    )
    alike = f"{names[first]} and {names[second]} are most alike ({likeness[first, second]:.2f} by"
    shown = types if len(matrix.cell_types) > 1 else ""
    return f"{travel} to the ceiling; {shown}{alike} each other's optima)"


def _finite(values: Floats) -> Floats:
    return np.nan_to_num(values, nan=-np.inf)


def write_consensus(rows: Sequence[LeftOut], folder: Path) -> str:
    """Write `consensus.csv` and, of the largest consensus for each network, `consensus.png`.

    Returns:
        How much more they drive than the median single optimum does. Cell types are drawn anew for
        its interval: networks left out share what the consensus is made of.

    Raises:
        ValueError: if there are no rows.
    """
    most = {name: max(r.made_for for r in rows if r.left_out == name) for name, *_ in rows}
    largest = [row for row in rows if row.made_for == most[row.left_out]]
    columns = ("consensus", "median_single", "cell_type", "left_out")
    figure = plot_consensus(*([getattr(row, name) for row in largest] for name in columns))
    write_csv(folder / "consensus.csv", [row._asdict() for row in rows])
    save_figure(figure, folder / "consensus.png")
    names = dict.fromkeys(row.cell_type for row in largest)
    gains = [finite_mean([r.gain for r in largest if r.cell_type == name]) for name in names]
    gain, better = mean_interval(gains), sum(row.gain > 0 for row in largest)
    return (
        f"better than the median single optimum in {better} of {len(largest)}; mean gain over "
        f"{len(names)} cell types {gain.mean:.3f} (95 % interval {gain.low:.3f} to {gain.high:.3f})"
    )


def write_groups(groups: Mapping[str, Grouping], names: Sequence[str], folder: Path) -> None:
    """Write `groups.csv`, a row for each cell type with the group of each network."""
    numbers = ("n_groups", "silhouette", "chance", "stability")
    rows = [
        {
            "cell_type": cell_type,
            **{name: getattr(grouping, name) for name in numbers},
            **dict(zip(names, grouping.labels.tolist(), strict=True)),
        }
        for cell_type, grouping in groups.items()
    ]
    write_csv(folder / "groups.csv", rows)
