r"""Do grown optima say what moving edges say? One row for each cell type and network.

Grows the optimum of every cell type on every network in one fit, measures the cells' tuning to
moving edges on the same networks, and sets direction and polarity side by side. Nothing is left
out: cells without direction selectivity and disagreements are rows like the others.

    python scripts/ensemble_tuning.py
    python scripts/ensemble_tuning.py --networks '[flow/0000/000, flow/0000/001]' \
        --connectome fib25-fib19_v2.2.json --output logs/ensemble_tuning.csv

Without arguments it runs on the built-in motion circuit.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from jsonargparse import CLI

from stimopt.analysis import (
    EDGE_SPEEDS,
    EdgeTuning,
    OptimumSummary,
    edge_tuning,
    grey_voltage,
    stimulus_tuning,
    summarize_optimum,
)
from stimopt.networks.frozen import FrozenNetwork
from stimopt.networks.opening import NetworkSource
from stimopt.optimize.generate import StimulusGenerator
from stimopt.plotting import plot_stim_response, save_figure
from stimopt.results.result import Result, read
from stimopt.storage.files import replacing


def main(
    networks: list[str] | None = None,
    connectome: str | None = None,
    cell_types: str = "T4a,T4b,T4c,T4d,T5a,T5b,T5c,T5d",
    output: str = "logs/ensemble_tuning.csv",
    optima: str | None = None,
    naturalistic: str | None = None,
    figures: str | None = None,
    speeds: tuple[float, ...] = EDGE_SPEEDS,
    t_stim: float = 0.8,
    steps: int = 200,
    seed: int = 0,
    extent: int | None = None,
    backend: str = "auto",
) -> list[OptimumSummary]:
    """Grow optima, measure edge tuning, print and write the table.

    Args:
        networks: folders of trained networks; the built-in circuit if none are given.
        connectome: the connectome file; by default the one in an installed flyvis.
        cell_types: names with commas between, or `all`.
        output: the table as CSV.
        optima: file of the optima; written by the fit, or read if it is already there. By default
            it stands beside the table.
        naturalistic: result of `stimopt search` with `keep_all`, for percentiles.
        figures: folder for a picture of each optimum and its response.
        speeds: of the edges, columns a second.
        t_stim: length of the optima in seconds.
        steps: of the fit.
        seed: of the noise the optima start from.
        extent: rings of columns; by default 15 for trained networks, 8 for the built-in one.
        backend: how a step is computed.
    """
    network = NetworkSource(networks, connectome, extent, backend).open()
    kept = Path(output).with_suffix(".h5") if optima is None else Path(optima)
    result = grown(network, cell_types, t_stim, steps, seed, kept)
    protocol = result.protocol
    edges = edge_tuning(network, list(dict.fromkeys(result.cell_type)), protocol, speeds=speeds)
    clips = {} if naturalistic is None else naturalistic_peaks(network, read(naturalistic))
    rows = []
    for i, label in enumerate(result.label):
        cell_type, position = str(result.cell_type[i]), int(result["network"][i])
        stimulus = result.stimulus[i, : result.n_frames[i]]
        tuning = stimulus_tuning(network, stimulus, cell_type, protocol, position)
        row = summarize_optimum(tuning, edges, position, clips.get((position, cell_type)))
        rows.append(row)
        if figures is not None:
            draw(result, i, network, row, Path(figures) / f"{label}.png")
    write_table(rows, Path(output))
    print(table(rows))
    print(verdict(rows, edges))
    return rows


def grown(
    network: FrozenNetwork, cell_types: str, t_stim: float, steps: int, seed: int, path: Path
) -> Result:
    """The optima, by flyvis's settings: read if they are there, else grown in one fit."""
    module = StimulusGenerator.flyvis(network, cell_types, t_stim=t_stim, seeds=seed)
    if path.exists():
        result = read(path)
        settings = {key: result.config.get(key) for key in module.settings()}
        same = result.network_hash == network.content_hash and settings == module.settings()
        # N steps leave N + 1 losses.
        if not same or len(result.losses) != steps + 1:
            raise ValueError(
                f"expected optima of these networks and settings after {steps} steps in {path}, "
                "got others; name another file with --optima, or remove it"
            )
        return result
    trainer = pl.Trainer(
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module)
    module.cpu()
    result = module.result()
    result.write(path)
    return result


def naturalistic_peaks(network: FrozenNetwork, search: Result) -> dict[tuple[int, str], np.ndarray]:
    """Peaks above grey of every clip, by network and cell type, from a search that kept all."""
    if search.network_hash != network.content_hash or "every_peak_response" not in search.variables:
        raise ValueError(
            "expected a search of the same networks with every peak response, got another; run "
            "stimopt search with --model.keep_all true on these networks"
        )
    peaks = {}
    for i, cell_type in enumerate(search.cell_type):
        position = int(search["network"][i])
        base = 0.0
        if search.protocol.baseline == "absolute":
            base = grey_voltage(network, str(cell_type), search.protocol, position)
        peaks[position, str(cell_type)] = search.every_peak_response[:, i] - base
    return peaks


COLUMNS = (
    ("network", "network", "{}"),
    ("cell", "cell_type", "{}"),
    ("edge DSI", "edge_selectivity", "{:.2f}"),
    ("edge deg", "edge_direction_deg", "{:.0f}"),
    ("edge pol", "edge_polarity_index", "{:+.2f}"),
    ("edge col/s", "edge_speed", "{:g}"),
    ("edge r", "edge_response", "{:.2f}"),
    ("opt r", "response", "{:.2f}"),
    ("x edge", "times_best_edge", "{:.2f}"),
    ("clips %", "naturalistic_percentile", "{:.1f}"),
    ("opt deg", "direction_deg", "{:.0f}"),
    ("images deg", "preferred_direction_deg", "{:.0f}"),
    ("opt DSI", "selectivity", "{:.2f}"),
    ("opt pol", "polarity_index", "{:+.2f}"),
    ("inverse", "contrast_index", "{:+.2f}"),
    ("reverse", "reversal_index", "{:+.2f}"),
    ("angle", "angle_deg", "{:.0f}"),
)
"""Heading, field of `OptimumSummary`, and how it is printed."""


def table(rows: list[OptimumSummary]) -> str:
    """The rows for a terminal; the last three columns are yes or no."""
    cells = [[name for name, _, _ in COLUMNS] + ["selective", "direction", "polarity"]]
    for row in rows:
        verdicts = (row.selective, row.direction_agrees, row.polarity_agrees)
        shown = [form.format(getattr(row, field)) for _, field, form in COLUMNS]
        cells.append(shown + ["yes" if is_so else "no" for is_so in verdicts])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in cells
    )


def verdict(rows: list[OptimumSummary], edges: EdgeTuning) -> str:
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
    return "\n".join(
        [*lines, f"edges at {shown} columns a second in {len(edges.angles_deg)} directions"]
    )


def write_table(rows: list[OptimumSummary], path: Path) -> None:
    """All fields at full precision, whole or not at all."""
    fields = [field for _, field, _ in COLUMNS] + [
        "motion_polarity_index",
        "edge_polarity",
        "polarity",
        "selective",
        "direction_agrees",
        "polarity_agrees",
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([getattr(row, field) for field in fields] for row in rows)
    with replacing(path) as beside:
        beside.write_text(text.getvalue())


def draw(result: Result, i: int, network: FrozenNetwork, row: OptimumSummary, path: Path) -> None:
    n_frames = result.n_frames[i]
    title = (
        f"{row.network} {row.cell_type}, optimum {row.direction_deg:.0f} deg, "
        f"edges {row.edge_direction_deg:.0f} deg"
    )
    plot = plot_stim_response(
        result.stimulus[i, :n_frames],
        result.response[i, :n_frames],
        network.lattice,
        result.protocol.dt,
        title=title,
    )
    save_figure(plot.fig, path)


if __name__ == "__main__":
    torch.set_float32_matmul_precision("highest")
    CLI(main, as_positional=False)
