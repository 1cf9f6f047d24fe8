r"""Do artificial optima agree with moving edges? One row for each cell type and network.

Finds the optimum of every cell type on every network in one fit, measures the cells' tuning to
moving edges on the same networks, and compares direction and polarity. Nothing is left out: cells
without direction selectivity and disagreements are rows like the others. Rerun to resume the fit.

    python scripts/ensemble_tuning.py
    python scripts/ensemble_tuning.py --networks '[flow/0000/000, flow/0000/001]' \
        --cell_types all --output logs/ensemble

Without arguments it runs on the built-in motion circuit.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from jsonargparse import CLI

import stimopt
from stimopt.analysis import (
    EDGE_SPEEDS,
    EdgeTuning,
    OptimumSummary,
    grey_voltage,
    summarize_optimum,
)
from stimopt.networks.opening import NetworkSource
from stimopt.report.comparison import write_csv


def main(
    networks: list[str] | None = None,
    connectome: str | None = None,
    cell_types: str = "T4a,T4b,T4c,T4d,T5a,T5b,T5c,T5d",
    output: str = "logs/ensemble_tuning",
    naturalistic: str | None = None,
    speeds: tuple[float, ...] = EDGE_SPEEDS,
    t_stim: float = 0.8,
    steps: int = 200,
    extent: int | None = None,
) -> list[OptimumSummary]:
    """Find optima, measure edge tuning, write the table, and print how many cells agree.

    Args:
        networks: trained networks, as flyvis names or folders; the built-in circuit by default.
        connectome: the connectome file; by default the one in an installed flyvis.
        cell_types: names with commas between, or `all`.
        output: folder of the fit, its figures, and `table.csv`.
        naturalistic: result of `stimopt search` with `keep_all`, for percentiles.
        speeds: of the edges, columns a second.
        t_stim: duration of the optima in seconds.
        steps: of the fit.
        extent: rings of columns; by default 15 for trained networks, 8 for the built-in one.
    """
    network = NetworkSource(networks, connectome, extent).open()
    fit = stimopt.StimulusGenerator.flyvis(network, cell_types, t_stim=t_stim)
    result = stimopt.fit(fit, steps=steps, folder=output)
    names = list(dict.fromkeys(result.cell_type.tolist()))
    edges = stimopt.edge_tuning(network, names, result.protocol, speeds=speeds)
    clips = {} if naturalistic is None else clip_peaks(network, stimopt.read(naturalistic))
    rows = []
    for i, cell_type in enumerate(result.cell_type.tolist()):
        position = int(result["network"][i])
        stimulus = result.stimulus[i, : result.n_frames[i]]
        tuning = stimopt.stimulus_tuning(network, stimulus, cell_type, result.protocol, position)
        rows.append(summarize_optimum(tuning, edges, position, clips.get((position, cell_type))))
    derived = ("times_best_edge", "angle_deg", "selective", "direction_agrees", "polarity_agrees")
    table = [
        {**dataclasses.asdict(row), **{name: getattr(row, name) for name in derived}}
        for row in rows
    ]
    write_csv(Path(output) / "table.csv", table)
    print(agreement(rows, edges))
    print(Path(output) / "table.csv")
    return rows


def clip_peaks(
    network: stimopt.FrozenNetwork, search: stimopt.Result
) -> dict[tuple[int, str], np.ndarray]:
    """Peaks relative to grey of all clips of a search with `keep_all`, by network and cell type."""
    if search.network_hash != network.content_hash or "every_peak_response" not in search.variables:
        raise ValueError(
            "expected a search of the same networks with every peak response, got another; run "
            "stimopt search with --model.keep_all true on these networks"
        )
    peaks = {}
    for i, cell_type in enumerate(search.cell_type.tolist()):
        position, protocol = int(search["network"][i]), search.protocol
        absolute = protocol.baseline == "absolute"
        grey = grey_voltage(network, cell_type, protocol, position) if absolute else 0.0
        peaks[position, cell_type] = search.every_peak_response[:, i] - grey
    return peaks


def agreement(rows: list[OptimumSummary], edges: EdgeTuning) -> str:
    """How many of the direction-selective cells agree, and which do not."""
    selective = [row for row in rows if row.selective]
    lines = []
    for name, agrees in (("direction", "direction_agrees"), ("polarity", "polarity_agrees")):
        others = [f"{r.network} {r.cell_type}" for r in selective if not getattr(r, agrees)]
        lines.append(
            f"{name} agrees in {len(selective) - len(others)} of {len(selective)} selective cells"
            + (f"; not in {', '.join(others)}" if others else "")
        )
    flat = [f"{row.network} {row.cell_type}" for row in rows if not row.selective]
    lines.append(f"not direction selective: {', '.join(flat) if flat else 'none'}")
    shown = ", ".join(f"{speed:g}" for speed in edges.speeds)
    lines.append(f"edges at {shown} columns a second in {len(edges.angles_deg)} directions")
    return "\n".join(lines)


if __name__ == "__main__":
    CLI(main, as_positional=False)
