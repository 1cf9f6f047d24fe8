"""Stimuli, rigs and references that several tests of the export share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stimopt.export.stimuli import Stimulus, choose_stimuli
from stimopt.lattice import HexLattice
from stimopt.networks.model import ResponseModel
from tests.results.cases import PROTOCOL, random_result

LATTICE = HexLattice(4)

__all__ = ["LATTICE", "PROTOCOL", "counting_frames", "noise", "random_stimuli"]


def counting_frames(rows: int, columns: int, side: int, levels: int) -> NDArray[np.uint8]:
    """Three frames (5 f + 3 r + 7 c + r c) mod levels, on which published digests rest."""
    f, r, c = np.ogrid[:3, : rows * side, : columns * side]
    return ((5 * f + 3 * r + 7 * c + r * c) % levels).astype(np.uint8)


def noise(n_frames: int, lattice: HexLattice = LATTICE, seed: int = 0) -> Stimulus:
    """Luminance without any structure."""
    random = np.random.default_rng(seed)
    luminance = random.random((n_frames, lattice.n_columns), np.float32)
    return Stimulus("noise", luminance, lattice, "T4c", label="noise")


def random_stimuli(network: ResponseModel) -> list[Stimulus]:
    """Two items of a result, of 12 and of 9 frames."""
    return choose_stimuli([random_result(network)])
