"""What a cell says to a stimulus and to its images: direction, selectivity and polarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stimopt.analysis.asking import central_traces, checked_stimulus
from stimopt.analysis.indices import direction_tuning
from stimopt.analysis.motion import StimulusMotion, stimulus_motion
from stimopt.analysis.polarity import ChangeDrive, change_drive
from stimopt.lattice import HexLattice
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol

Floats = NDArray[np.float64]

_TURNS = 60.0 * np.arange(6)


@dataclass(frozen=True)
class StimulusTuning:
    """Responses of a central cell to a stimulus and its images.

    The image that excites most says when the cell answers and to which contrast; for an optimum
    this is the stimulus as it stands.

    Attributes:
        cell_type: of the cell.
        responses: peak voltage above grey, `(6, 2, 2, 2)`: rotated by k x 60 degrees, after
            mirroring left and right (0 no, 1 yes), contrast inversion and time reversal.
        peak_frame: frame at which the response to the best image, played forward, is largest.
        motion: in the stimulus up to that frame.
        drive: of the response to that image, by the rises and falls of its luminance.
    """

    cell_type: str
    responses: Floats
    peak_frame: int
    motion: StimulusMotion
    drive: ChangeDrive

    @property
    def response(self) -> float:
        """To the stimulus itself."""
        return float(self.responses[0, 0, 0, 0])

    @property
    def preferred_direction_deg(self) -> float:
        """Direction of motion of the images, averaged as vectors weighted by the responses.

        Rotations of the stimulus move along its direction + k x 60, those of its mirror image along
        180 - direction + k x 60: both sets are even, so neither biases the average. NaN if nothing
        moves or no image excites.
        """
        moving = self.motion.direction_deg
        angles = np.concatenate([moving + _TURNS, 180.0 - moving + _TURNS])
        return float(direction_tuning(self._forward.T.ravel(), angles)[0])

    @property
    def direction_selectivity(self) -> float:
        """|sum r e^(i angle)| / sum r over the six rotations."""
        return float(direction_tuning(self._forward[:, 0], _TURNS)[1])

    @property
    def contrast_index(self) -> float:
        """(r - r inverted) / (r + r inverted) of the best rotations: 1 if only r excites."""
        upright, inverse = self.responses[..., 0].max(axis=(0, 1))
        return _index(upright, inverse)

    @property
    def reversal_index(self) -> float:
        """(r - r reversed) / (r + r reversed), the stimulus against itself played backward."""
        return _index(self.response, self.responses[0, 0, 0, 1])

    @property
    def polarity_index(self) -> float:
        """The cell's ON (1) to OFF (-1): the changes that drive its best response."""
        return self.drive.polarity_index

    @property
    def polarity(self) -> int:
        """1 for ON, -1 for OFF, 0 where neither can be said."""
        index = self.polarity_index
        return 0 if np.isnan(index) else int(np.sign(index))

    @property
    def _forward(self) -> Floats:
        """Responses at the better contrast, played forward, `(6, 2)`."""
        better = self.responses[..., 0].max(axis=(0, 1)).argmax()
        chosen: Floats = self.responses[:, :, better, 0]
        return chosen


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
    images = np.stack(list(transformed(luminance, network.lattice).values()))
    shown = torch.as_tensor(images, dtype=torch.float32)
    traces = central_traces(network, shown, [cell_type], protocol, network_position)[..., 0]
    peaks = traces.max(axis=1).reshape(6, 2, 2, 2)
    rotation, mirrored, inverted = np.unravel_index(peaks[..., 0].argmax(), (6, 2, 2))
    best = np.ravel_multi_index((rotation, mirrored, inverted, 0), peaks.shape)
    peak_frame = int(traces[best].argmax())
    return StimulusTuning(
        cell_type=cell_type,
        responses=peaks,
        peak_frame=peak_frame,
        motion=stimulus_motion(luminance, network.lattice, protocol, last_frame=peak_frame),
        drive=change_drive(
            network,
            images[best],
            cell_type,
            protocol,
            peak_frame,
            network_position=network_position,
        ),
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


def _index(mine: float, other: float) -> float:
    mine, other = max(float(mine), 0.0), max(float(other), 0.0)
    return (mine - other) / (mine + other) if mine + other > 0 else float("nan")
