r"""Does a consensus stimulus drive networks that it was not made for, and how many does it take?

Each network is left out in turn. Stimuli of one contrast are made for one of the others, for two of
them, and so on, each network normalized by its grey and ceiling, and shown to the network left out.
Networks that hardly fit what has been recorded of the fly are used for no stimulus. Rerun to
resume.

    python scripts/consensus.py --networks '[flow/0000/000, flow/0000/001, flow/0000/002]'

Without arguments it runs on lesioned copies of the built-in motion circuit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import CLI

import stimopt
from stimopt.analysis import (
    LeftOut,
    left_out_responses,
    probe_responses,
    score_probes,
    transfer,
)
from stimopt.networks.opening import NetworkSource
from stimopt.report.comparison import write_consensus


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
) -> list[LeftOut]:
    """Make the stimuli, and write the table and the figure.

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
        output: folder of the fits, `consensus.csv` and `consensus.png`.
    """
    lesions = "Mi4,C3,Tm3" if networks is None and lesions is None else lesions
    network = NetworkSource(networks, connectome, extent, lesions=lesions).open()

    def made(name: str, kind: type[stimopt.ResponseRange], **more: Any) -> stimopt.Result:
        fit = kind(network, cell_types, t_stim=t_stim, anneal=steps, **more)
        folder = Path(output) / name
        return stimopt.fit(fit, steps, folder, enable_progress_bar=False, max_figures=0)

    ranges = made("ranges", stimopt.ResponseRange)
    optima = made("single", stimopt.LimitedRange, rms_contrast=rms_contrast)
    singles = transfer(network, optima, ranges)
    fitting = score_probes(probe_responses(network, speeds=[9.7, 19.0])).fitting(min_score)
    rows = []
    for left_out, name in enumerate(network.names):
        # In the order in which they follow the one left out, so that each is first once.
        order = np.roll(np.arange(network.n_networks), -left_out)[1:].tolist()
        used = [k for k in order if k in fitting]
        for n in range(1, len(used) + 1):
            several = {"networks": used[:n], "consensus": True, "rms_contrast": rms_contrast}
            normalized = stimopt.NormalizedPool.of(ranges, singles.cell_types, used[:n], pool)
            folder = f"without_{left_out}/of_{n}"
            consensus = made(folder, stimopt.LimitedRange, pool=normalized, **several)
            shown = left_out_responses(network, consensus, singles, ranges)
            rows += [row for row in shown if row.left_out == name]
    print(write_consensus(rows, Path(output)))
    return rows


if __name__ == "__main__":
    CLI(main, as_positional=False)
