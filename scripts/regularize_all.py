r"""Does every cell type's response stay when its clip is pulled to grey? One row for each.

Regularizes the winning clip of every cell type in a search result in one fit, and prints whether
the tolerance is met, the largest deviation, the distance to grey before and after, and the range of
the pixels. Ends with exit code 1 if a tolerance is missed or a pixel is out of range. Rerun to
resume.

    stimopt search --config configs/search_sintel.yaml
    python scripts/regularize_all.py logs/search_sintel/result.h5 --network.path flow/0000/000

Further options are those of `stimopt regularize`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import stimopt
from stimopt.cli import main as command


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("search", help="result.h5 of stimopt search")
    parser.add_argument("--output", default="logs/regularize_all")
    known, more = parser.parse_known_args()
    init = f"--model.init=naturalistic:{known.search}"
    output = f"--output={known.output}"
    code = command(["regularize", "--model.cell_types=all", init, output, *more])
    return code or report(stimopt.read(Path(known.output) / "result.h5"))


def report(result: stimopt.Result) -> int:
    """Print the table; 1 if anything was missed."""
    stimulus, start = result["stimulus"], result["loss_grey"][0]
    low, high = np.nanmin(stimulus, axis=(1, 2)), np.nanmax(stimulus, axis=(1, 2))
    in_range = (low >= 0) & (high <= 1)
    met = result["tolerance_met"]
    print(
        f"{'type':<10} {'met':<4} {'deviation %':>11} {'allowed %':>9} {'grey before':>11} "
        f"{'after':>9} {'step':>5} {'pixels':>14} {'peak before':>11} {'after':>8}"
    )
    for i, label in enumerate(result["label"]):
        target, response = result["central_target_response"][i], result["central_response"][i]
        print(
            f"{label:<10} {'yes' if met[i] else 'NO':<4} "
            f"{100 * result['largest_deviation'][i]:11.3f} {100 * result['tolerance'][i]:9g} "
            f"{start[i]:11.1f} {result['grey_distance'][i]:9.3f} "
            f"{result['best_step'][i]:5d} {low[i]:6.3f} {high[i]:6.3f}  "
            f"{np.nanmax(target):11.4f} {np.nanmax(response):8.4f}"
        )
    print(
        f"{met.sum()} of {len(met)} meet the tolerance, {in_range.sum()} of {len(met)} have every "
        "pixel in [0, 1]"
    )
    return 0 if met.all() and in_range.all() else 1


if __name__ == "__main__":
    sys.exit(main())
