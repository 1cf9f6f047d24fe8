r"""Does a consensus optimum drive networks that it was not made for?

Each network is left out in turn. A consensus stimulus is made for the others, each normalized by
its grey and ceiling, and shown to the network left out, as are the stimuli that reach the ceilings
of the single networks. Networks that hardly fit what has been recorded of the fly, and cell types
that prefer the opposite direction, are used for neither. Rerun to resume.

    python scripts/consensus.py --networks '[flow/0000/000, flow/0000/001, flow/0000/002]'

Without arguments it runs on lesioned copies of the built-in motion circuit.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jsonargparse import CLI

import stimopt
from stimopt.analysis import normalized_responses, probe_responses, score_probes
from stimopt.networks.opening import NetworkSource
from stimopt.optimize.ceiling import ResponseRange
from stimopt.optimize.normalized import NormalizedPool
from stimopt.storage.files import replace_text


class Row(NamedTuple):
    """Responses of a network that was left out; 0 is grey, 1 its ceiling."""

    left_out: str
    cell_type: str
    consensus: float
    median_single: float
    best_single: float


def main(
    networks: list[str] | None = None,
    connectome: str | None = None,
    lesions: str | None = None,
    cell_types: str = "T4a,T4b,T4c,T4d,T5a,T5b,T5c,T5d",
    pool: str = "mean",
    min_score: float = 0.5,
    t_stim: float = 0.4,
    steps: int = 30,
    extent: int | None = None,
    output: str = "logs/consensus",
) -> list[Row]:
    """Make the stimuli, print and write the table.

    Args:
        networks: trained networks, as flyvis names or folders; the built-in circuit by default.
        connectome: the connectome file; by default the one in an installed flyvis.
        lesions: add lesioned copies; by default of the built-in circuit.
        cell_types: names with commas between, or `all`.
        pool: `mean` or `worst` of the networks.
        min_score: networks with a lower score are not used to make stimuli.
        t_stim: duration of the stimuli in seconds.
        steps: of each fit.
        extent: rings of columns; by default 15 for trained networks, 8 for the built-in one.
        output: folder of the fits and of `table.csv`.
    """
    lesions = "Mi4,C3,Tm3" if networks is None and lesions is None else lesions
    network = NetworkSource(networks, connectome, extent, lesions=lesions).open()
    folder, options = Path(output), {"t_stim": t_stim, "anneal": steps}
    single = stimopt.fit(ResponseRange(network, cell_types, **options), steps, folder / "single")
    names = list(dict.fromkeys(single["cell_type"].tolist()))
    card = score_probes(probe_responses(network, speeds=[9.7, 19.0]))
    shown = normalized_responses(network, single)
    rows = []
    for left_out, name in enumerate(network.names):
        used = [position for position in card.fitting(min_score) if position != left_out]
        counts = card.weights(names, used, min_score)
        few = [names[t] for t in np.flatnonzero(counts.sum(axis=1) < 2)]
        if few or not used:
            raise SystemExit(f"expected two or more networks that fit, got fewer for {few}")
        consensus = stimopt.fit(
            ResponseRange(
                network,
                cell_types,
                networks=used,
                consensus=True,
                pool=NormalizedPool.of(single, names, used, pool, counts),
                **options,
            ),
            steps,
            folder / f"without_{left_out}",
        )
        responses = normalized_responses(network, consensus, single)[:, left_out]
        for t, cell_type in enumerate(names):
            counted = [k for k, count in zip(used, counts[t], strict=True) if count]
            made = (single["cell_type"] == cell_type) & np.isin(single["network"], counted)
            others = shown[made, left_out]
            median, best = float(np.median(others)), float(others.max())
            rows.append(Row(name, cell_type, float(responses[t]), median, best))
    print("\n".join(lines(rows)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Row._fields, *rows])
    replace_text(folder / "table.csv", text.getvalue())
    return rows


def lines(rows: list[Row]) -> list[str]:
    """The rows, and how much more the consensus drives than the median single optimum."""
    form = "{:>30}  {:>6}  {:>9}  {:>13}  {:>11}".format
    numbers = [form(*row[:2], *(f"{value:.2f}" for value in row[2:])) for row in rows]
    gain = np.array([row.consensus - row.median_single for row in rows])
    random = np.random.default_rng(0)
    means = random.choice(gain, (2000, len(gain))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [
        form(*Row._fields),
        *numbers,
        f"better than the median single optimum in {(gain > 0).sum()} of {len(gain)}; "
        f"mean gain {gain.mean():.3f} (95 % interval {low:.3f} to {high:.3f})",
    ]


if __name__ == "__main__":
    CLI(main, as_positional=False)
