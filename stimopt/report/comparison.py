"""Tables of networks compared: score cards, predictions, transfer, consensus and groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from stimopt.analysis.groups import Grouping
from stimopt.analysis.indices import finite_mean, mean_interval
from stimopt.analysis.score_card import Prediction, ScoreCard
from stimopt.analysis.transfer import LeftOut, TransferMatrix
from stimopt.plotting.files import save_figure
from stimopt.plotting.transfer import plot_consensus, plot_transfers
from stimopt.report.rows import write_csv
from stimopt.results.result import NOT_STABLE

_FITS = ("polarity_fit", "selectivity_fit", "direction_fit", "score")


def score_table(cards: Sequence[ScoreCard], stable: Sequence[bool]) -> Table:
    """How each network fits what has been recorded, and what does not.

    Args:
        cards: of the same networks.
        stable: whether each network can be simulated.
    """
    table = Table(title="Fit to recorded cell types", title_justify="left")
    table.add_column("network", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for name in _FITS:
        table.add_column(name.removesuffix("_fit"), justify="right", no_wrap=True)
    table.add_column("remarks")
    for card in cards:
        for k, name in enumerate(card.network_names):
            fits = [f"{getattr(card, fit)[k]:.2f}".replace("nan", "") for fit in _FITS]
            remarks = [] if stable[k] else [NOT_STABLE]
            text = "; ".join([*remarks, *card.remarks(k)])
            table.add_row(name.replace("[", "\\["), card.source, *fits, text)
    return table


def write_score_cards(cards: Sequence[ScoreCard], stable: Sequence[bool], folder: Path) -> None:
    """Write `networks.csv`, with the fits, and `cells.csv`, with the indices behind them."""
    networks, cells = [], []
    for card in cards:
        for k, name in enumerate(card.network_names):
            fits = {fit: getattr(card, fit)[k] for fit in _FITS}
            row = {"network": name, "source": card.source, "stable": bool(stable[k])}
            networks.append({**row, **fits, "remarks": "; ".join(card.remarks(k))})
            for t, cell_type in enumerate(card.cell_types):
                indices = {
                    index: getattr(card, index)[k, t]
                    for index in (
                        *("polarity_index", "selectivity", "direction_deg"),
                        "direction_error_deg",
                    )
                }
                cells.append({**row, "cell_type": cell_type, **indices})
    write_csv(folder / "networks.csv", networks)
    write_csv(folder / "cells.csv", cells)


def write_predictions(predictions: Iterable[Prediction], folder: Path) -> None:
    """Write `predictions.csv`."""
    write_csv(folder / "predictions.csv", [each._asdict() for each in predictions])


def write_transfer(matrix: TransferMatrix, stable: Sequence[bool], folder: Path) -> None:
    """Write `transfer.csv`, a row for each response, and `transfer.png`.

    Args:
        matrix: of all types.
        stable: whether each network can be simulated; the others are marked.
        folder: to write to.
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
    names = [
        name if ok else f"{name} ({NOT_STABLE})"
        for name, ok in zip(matrix.network_names, stable, strict=True)
    ]
    figure = plot_transfers(matrix.values, names, matrix.cell_types)
    save_figure(figure, folder / "transfer.png")


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
    (low, high), better = mean_interval(gains), sum(row.gain > 0 for row in largest)
    return (
        f"better than the median single optimum in {better} of {len(largest)}; mean gain over "
        f"{len(names)} cell types {np.mean(gains):.3f} (95 % interval {low:.3f} to {high:.3f})"
    )


def write_groups(groups: Mapping[str, Grouping], names: Sequence[str], folder: Path) -> None:
    """Write `groups.csv`, a row for each cell type with the group of each network."""
    rows = [
        {
            "cell_type": cell_type,
            "n_groups": grouping.n_groups,
            "silhouette": grouping.silhouette,
            "chance": grouping.chance,
            "stability": grouping.stability,
            **dict(zip(names, grouping.labels.tolist(), strict=True)),
        }
        for cell_type, grouping in groups.items()
    ]
    write_csv(folder / "groups.csv", rows)
