"""What a cell says to a stimulus and to its images: direction, selectivity and polarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stimopt.lattice import HexLattice
from stimopt.protocol import Protocol
from stimopt.response_model import ResponseModel
from stimopt.tuning.central import central_traces, checked_stimulus
from stimopt.tuning.indices import direction_tuning
from stimopt.tuning.motion import StimulusMotion, stimulus_motion

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StimulusTuning:
    """Responses of a central cell to a stimulus and its images.

    Attributes:
        cell_type: of the cell.
        responses: peak voltage above grey, `(6, 2, 2, 2)`: rotated by k x 60 degrees, after
            mirroring left and right (0 no, 1 yes), contrast inversion and time reversal.
        peak_frame: frame at which the response to the stimulus itself is largest.
        motion: in the stimulus up to that frame.
    """

    cell_type: str
    responses: Floats
    peak_frame: int
    motion: StimulusMotion

    @property
    def response(self) -> float:
        """To the stimulus itself."""
        return float(self.responses[0, 0, 0, 0])

    @property
    def preferred_direction_deg(self) -> float:
        """Direction of motion of the images, averaged as vectors weighted by the responses.

        Rotations of the stimulus move along its direction + k x 60, those of its mirror image along
        180 - direction + k x 60: both sets are even, so neither biases the average.
        """
        moving = self.motion.direction_deg
        turns = 60.0 * np.arange(6)
        angles = np.concatenate([moving + turns, 180.0 - moving + turns])
        around = np.concatenate([self.responses[:, 0, 0, 0], self.responses[:, 1, 0, 0]])
        return float(direction_tuning(around, angles)[0])

    @property
    def direction_selectivity(self) -> float:
        """|sum r e^(i angle)| / sum r over the six rotations."""
        return float(direction_tuning(self.responses[:, 0, 0, 0], 60.0 * np.arange(6))[1])

    @property
    def contrast_index(self) -> float:
        """(r - r inverted) / (r + r inverted): 1 if the stimulus excites only as it is."""
        return self._against(self.responses[0, 0, 1, 0])

    @property
    def reversal_index(self) -> float:
        """(r - r reversed in time) / (r + r reversed in time)."""
        return self._against(self.responses[0, 0, 0, 1])

    @property
    def polarity_index(self) -> float:
        """The cell's ON (1) to OFF (-1): polarity of the motion, weighted by the responses.

        Inversion turns the polarity of the motion round, hence the product.
        """
        return self.motion.polarity_index * self.contrast_index

    @property
    def polarity(self) -> int:
        """1 for ON, -1 for OFF, 0 where neither can be said."""
        index = self.polarity_index
        return 0 if np.isnan(index) else int(np.sign(index))

    def _against(self, other: float) -> float:
        mine, other = max(self.response, 0.0), max(float(other), 0.0)
        return (mine - other) / (mine + other) if mine + other > 0 else float("nan")


@torch.no_grad()
def stimulus_tuning(
    network: ResponseModel,
    stimulus: ArrayLike,
    cell_type: str,
    protocol: Protocol | None = None,
    network_position: int = 0,
) -> StimulusTuning:
    """Show a stimulus and its images under rotation, mirroring, inversion and time reversal.

    Args:
        network: asked.
        stimulus: luminance, `(frames, columns)`.
        cell_type: whose central cell.
        protocol: pre-stimulus and frame; the baseline is grey whatever it says.
        network_position: which of the networks held.

    Raises:
        ValueError: for a name, network or stimulus that does not fit.
    """
    protocol = Protocol() if protocol is None else protocol
    luminance = checked_stimulus(stimulus, network.lattice)
    images = torch.as_tensor(np.stack(list(transformed(luminance, network.lattice).values())))
    traces = central_traces(network, images.float(), [cell_type], protocol, network_position)[
        ..., 0
    ]
    peak_frame = int(traces[0].argmax())
    return StimulusTuning(
        cell_type=cell_type,
        responses=traces.max(axis=1).reshape(6, 2, 2, 2),
        peak_frame=peak_frame,
        motion=stimulus_motion(luminance, network.lattice, protocol, last_frame=peak_frame),
    )


def transformed(stimulus: Floats, lattice: HexLattice) -> dict[tuple[int, int, int, int], Floats]:
    """The images of a stimulus by (rotation, mirrored, inverted, reversed), in that order.

    Mirroring left and right comes first, then rotation by k x 60 degrees counter-clockwise; white
    and black change places, and the last frame comes first.
    """
    images = {}
    for k in range(6):
        for mirrored in (0, 1):
            columns = lattice.mirroring(mirrored)[lattice.rotation(k)]
            for inverted in (0, 1):
                for backward in (0, 1):
                    image = stimulus[:: -1 if backward else 1, columns]
                    images[k, mirrored, inverted, backward] = 1 - image if inverted else image
    return images
