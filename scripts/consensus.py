r"""Does a consensus stimulus drive networks that it was not made for, and how many does it take?

Each network is left out in turn. Stimuli of one contrast are made for one of the others, for two of
them, and so on, each network normalized by its grey and ceiling, and shown to the network left out.
Networks that hardly fit what has been recorded of the fly, and cell types that prefer the opposite
direction, are used for no stimulus. Rerun to resume.

    python scripts/consensus.py --networks '[flow/0000/000, flow/0000/001, flow/0000/002]'

Without arguments it runs on lesioned copies of the built-in motion circuit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jsonargparse import CLI

import stimopt
from stimopt.analysis import normalized_responses, probe_responses, score_probes
from stimopt.networks.opening import NetworkSource
from stimopt.optimize.limited import LimitedRange
from stimopt.optimize.normalized import NormalizedPool
from stimopt.report.comparison import write_csv


class Row(NamedTuple):
    """Responses of a network that was left out; 0 is grey, 1 its ceiling."""

    left_out: str
    cell_type: str
    made_for: int
    consensus: float
    median_single: float
    best_single: float


def main(
    networks: list[str] | None = None,
    connectome: str | None = None,
    lesions: str | None = None,
    cell_types: str = "T4a,T4b,T4c,T4d,T5a,T5b,T5c,T5d",
    pool: str = "mean",
    rms_contrast: float = 0.06,
    min_score: float = 0.5,
    t_stim: float = 0.4,
    steps: int = 30,
    extent: int | None = None,
    output: str = "logs/consensus",
) -> list[Row]:
    """Make the stimuli, print and write the table, and draw the figure.

    Args:
        networks: trained networks, as flyvis names or folders; the built-in circuit by default.
        connectome: the connectome file; by default the one in an installed flyvis.
        lesions: add lesioned copies; by default of the built-in circuit.
        cell_types: names with commas between, or `all`.
        pool: `mean` or `worst` of the networks.
        rms_contrast: of all stimuli, from 0 to 1.
        min_score: networks with a lower score are not used to make stimuli.
        t_stim: duration of the stimuli in seconds.
        steps: of each fit.
        extent: rings of columns; by default 15 for trained networks, 8 for the built-in one.
        output: folder of the fits, `table.csv` and `figure.png`.
    """
    lesions = "Mi4,C3,Tm3" if networks is None and lesions is None else lesions
    network = NetworkSource(networks, connectome, extent, lesions=lesions).open()
    folder, options = Path(output), {"t_stim": t_stim, "anneal": steps}
    quiet: dict[str, Any] = {"enable_progress_bar": False, "max_figures": 0}

    def limited(name: str, **more: Any) -> stimopt.Result:
        module = LimitedRange(network, cell_types, rms_contrast=rms_contrast, **options, **more)
        return stimopt.fit(module, steps, folder / name, **quiet)

    ceilings = stimopt.ResponseRange(network, cell_types, **options)
    ranges = stimopt.fit(ceilings, steps, folder / "ranges", **quiet)
    single = limited("single")
    names = list(dict.fromkeys(single["cell_type"].tolist()))
    shown = normalized_responses(network, single, ranges)
    card = score_probes(probe_responses(network, speeds=[9.7, 19.0]))
    rows = []
    for left_out, name in enumerate(network.names):
        # In the order in which they follow the one left out, so that each is first once.
        order = np.roll(np.arange(network.n_networks), -left_out)[1:]
        fitting = [int(k) for k in order if k in card.fitting(min_score)]
        for n in range(1, len(fitting) + 1):
            used = fitting[:n]
            counts = card.weights(names, used, min_score)
            types = [t for t in range(len(names)) if counts[t].any()]
            # Where no network counts, the pool needs some weight; the row is left out.
            weights = np.where(counts.any(axis=1, keepdims=True), counts, 1.0)
            normalized = NormalizedPool.of(ranges, names, used, pool, weights)
            where = f"without_{left_out}/of_{n}"
            made = limited(where, networks=used, consensus=True, pool=normalized)
            responses = normalized_responses(network, made, ranges)[:, left_out]
            for t in types:
                counted = [k for k, count in zip(used, counts[t], strict=True) if count]
                of_type = (single["cell_type"] == names[t]) & np.isin(single["network"], counted)
                others = shown[of_type, left_out]
                numbers = (float(responses[t]), float(np.median(others)), float(others.max()))
                rows.append(Row(name, names[t], n, *numbers))
    print("\n".join(lines(rows)))
    write_csv(folder / "table.csv", [row._asdict() for row in rows])
    stimopt.save_figure(figure(rows), folder / "figure.png")
    return rows


def largest(rows: list[Row]) -> list[Row]:
    """Those of the largest consensus for each network left out."""
    most: dict[str, int] = {}
    for row in rows:
        most[row.left_out] = max(row.made_for, most.get(row.left_out, 0))
    return [row for row in rows if row.made_for == most[row.left_out]]


def lines(rows: list[Row]) -> list[str]:
    """The rows, and how much more the consensus drives than the median single optimum."""
    form = "{:>30}  {:>6}  {:>8}  {:>9}  {:>13}  {:>11}".format
    whole = largest(rows)
    numbers = [form(*row[:3], *(f"{value:.2f}" for value in row[3:])) for row in whole]
    gain = np.array([row.consensus - row.median_single for row in whole])
    random = np.random.default_rng(0)
    means = random.choice(gain, (2000, len(gain))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [
        form(*Row._fields),
        *numbers,
        f"better than the median single optimum in {(gain > 0).sum()} of {len(gain)}; "
        f"mean gain {gain.mean():.3f} (95 % interval {low:.3f} to {high:.3f})",
    ]


def figure(rows: list[Row]) -> stimopt.Figure:
    """Every consensus against the median single optimum, and its mean against its size."""
    fig = stimopt.Figure(figsize=(6.4, 3.0), dpi=150, layout="constrained")
    left, right = fig.subplots(1, 2)
    for name in dict.fromkeys(row.left_out for row in rows):
        own = [row for row in largest(rows) if row.left_out == name]
        x, y = [row.median_single for row in own], [row.consensus for row in own]
        left.plot(x, y, "o", ms=4, label=name.rsplit("/", 1)[-1])
    low, high = left.get_xlim()
    left.plot([low, high], [low, high], color="0.6", lw=0.7, zorder=0)
    left.legend(title="left out", fontsize=7, title_fontsize=7, frameon=False)
    left.set(xlabel="median single optimum", ylabel="consensus")
    # Only sizes that every network left out has: means over others would not compare.
    sizes = range(1, 1 + min(row.made_for for row in largest(rows)))
    for key in ("consensus", "median_single"):
        values = [np.mean([getattr(r, key) for r in rows if r.made_for == n]) for n in sizes]
        right.plot(sizes, values, "o-", ms=4, label=key.replace("_", " ").removesuffix(" single"))
    right.set(xlabel="networks made for", ylabel="response of the network left out")
    right.set_xticks(list(sizes))
    right.legend(fontsize=7, frameon=False)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return fig


if __name__ == "__main__":
    CLI(main, as_positional=False)
