"""An optimum compared with the same cell's tuning to edges and clips, as one row of a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stimopt import expect
from stimopt.analysis.edge_tuning import EdgeTuning
from stimopt.analysis.indices import SELECTIVE_FROM, angle_between, percentile_of
from stimopt.analysis.stimulus_tuning import StimulusTuning

SAME_DIRECTION = 60.0
"""Largest angle in degrees between directions that agree; the lattice has six directions."""


@dataclass(frozen=True)
class OptimumSummary:
    """Tuning of one cell to its optimum and to moving edges; voltages are relative to grey.

    Attributes:
        network: name of the network.
        cell_type: cell type whose central cell was read.
        response: to the optimum.
        edge_response: to the best edge.
        naturalistic_percentile: percentile of `response` among those to clips; NaN without clips.
        edge_direction_deg: preferred direction for edges.
        edge_selectivity: direction selectivity index for edges.
        edge_polarity: 1 if the best edge is ON, -1 if it is OFF.
        edge_polarity_index: (ON - OFF) / (ON + OFF).
        edge_speed: of the best edge, columns a second.
        direction_deg: direction of motion in the optimum.
        preferred_direction_deg: averaged over the optimum's images, weighted by responses.
        selectivity: direction selectivity index over the optimum's rotations.
        polarity_index: of the changes that drive the response, ON (1) to OFF (-1).
        motion_polarity_index: of the motion in the optimum, ON (1) to OFF (-1).
        contrast_index: against the inverted optimum.
        reversal_index: against the optimum reversed in time.
        polarity: of the optimum, 1 or -1; 0 if neither drives the response more.
    """

    network: str
    cell_type: str
    response: float
    edge_response: float
    naturalistic_percentile: float
    edge_direction_deg: float
    edge_selectivity: float
    edge_polarity: int
    edge_polarity_index: float
    edge_speed: float
    direction_deg: float
    preferred_direction_deg: float
    selectivity: float
    polarity_index: float
    motion_polarity_index: float
    contrast_index: float
    reversal_index: float
    polarity: int

    @property
    def times_best_edge(self) -> float:
        """Response as a multiple of that to the best edge; NaN if no edge excites."""
        return self.response / self.edge_response if self.edge_response > 0 else float("nan")

    @property
    def selective(self) -> bool:
        """Whether the cell is direction-selective for edges."""
        return self.edge_selectivity > SELECTIVE_FROM

    @property
    def angle_deg(self) -> float:
        """Angle between the motion in the optimum and the edges' preferred direction."""
        return float(angle_between(self.direction_deg, self.edge_direction_deg))

    @property
    def direction_agrees(self) -> bool:
        """Whether that angle is at most 60 degrees."""
        return self.angle_deg <= SAME_DIRECTION

    @property
    def polarity_agrees(self) -> bool:
        """Whether optimum and best edge are both ON or both OFF."""
        return self.polarity == self.edge_polarity


def summarize_optimum(
    optimum: StimulusTuning,
    edges: EdgeTuning,
    network: int = 0,
    naturalistic: ArrayLike | None = None,
) -> OptimumSummary:
    """Compare the tuning to an optimum with the edge tuning of the same cell.

    Args:
        optimum: from `stimulus_tuning`.
        edges: from `edge_tuning`, on the same network and protocol.
        network: position along the network axis of `edges`.
        naturalistic: peak responses of the cell to clips, relative to grey.

    Raises:
        ValueError: if the edges are not of that cell type or network.
    """
    expect.that(
        optimum.cell_type in edges.cell_types and 0 <= network < len(edges.network_names),
        f"edge tuning of {optimum.cell_type} in network {network}",
        f"that of {', '.join(edges.cell_types)} in {', '.join(edges.network_names)}",
        "measure that one",
    )
    at = (network, edges.cell_types.index(optimum.cell_type))
    percentile = np.nan if naturalistic is None else percentile_of(optimum.response, naturalistic)
    return OptimumSummary(
        network=edges.network_names[network],
        cell_type=optimum.cell_type,
        response=optimum.response,
        edge_response=float(edges.best_response[at]),
        naturalistic_percentile=float(percentile),
        edge_direction_deg=float(edges.preferred_direction_deg[at]),
        edge_selectivity=float(edges.direction_selectivity[at]),
        edge_polarity=int(edges.polarity[at]),
        edge_polarity_index=float(edges.polarity_index[at]),
        edge_speed=float(edges.best_edge[1][at]),
        direction_deg=optimum.motion.direction_deg,
        preferred_direction_deg=optimum.preferred_direction_deg,
        selectivity=optimum.direction_selectivity,
        polarity_index=optimum.polarity_index,
        motion_polarity_index=optimum.motion.polarity_index,
        contrast_index=optimum.contrast_index,
        reversal_index=optimum.reversal_index,
        polarity=optimum.polarity,
    )
