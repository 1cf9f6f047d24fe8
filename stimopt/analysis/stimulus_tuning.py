"""Responses to a stimulus under rotation, mirroring, inversion, reversal, and their tuning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from stimopt.analysis.central_response import central_traces, checked_stimulus
from stimopt.analysis.indices import direction_tuning, opponent_index
from stimopt.analysis.motion import StimulusMotion, stimulus_motion
from stimopt.analysis.polarity import ChangeDrive, change_drive
from stimopt.lattice import Floats, HexLattice
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol

_TURNS = 60.0 * np.arange(6)


@dataclass(frozen=True)
class StimulusTuning:
    """Responses of a central cell to a stimulus and its images.

    Time and polarity of the response are those for the image that excites most; for an optimum
    that is the stimulus itself.

    Attributes:
        cell_type: cell type whose central cell was read.
        responses: peak voltage above grey, `(6, 2, 2, 2)`: rotated by k x 60 degrees, after
            mirroring left and right (0 no, 1 yes), contrast inversion and time reversal.
        peak_frame: frame at which the response to the best image, played forward, is largest.
        motion: motion in the stimulus up to that frame.
        drive: contributions of rises and falls of luminance to the response to that image.
    """

    cell_type: str
    responses: Floats
    peak_frame: int
    motion: StimulusMotion
    drive: ChangeDrive

    @property
    def response(self) -> float:
        """Response to the stimulus itself."""
        return float(self.responses[0, 0, 0, 0])

    @property
    def preferred_direction_deg(self) -> float:
        """Direction of motion of the images, averaged as vectors weighted by the responses.

        Rotations of the stimulus move along its direction + k x 60, those of its mirror image along
        180 - direction + k x 60. Both sets are evenly spaced, so neither biases the average. NaN if
        nothing moves or no image excites.
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
        return float(opponent_index(upright, inverse))

    @property
    def reversal_index(self) -> float:
        """(r - r reversed) / (r + r reversed), for the stimulus and its time reversal."""
        return float(opponent_index(self.response, self.responses[0, 0, 0, 1]))

    @property
    def polarity_index(self) -> float:
        """ON (1) to OFF (-1) of the changes that drive the best response."""
        return self.drive.polarity_index

    @property
    def polarity(self) -> int:
        """1 for ON, -1 for OFF, 0 if neither drives the response more."""
        index = self.polarity_index
        return 0 if np.isnan(index) else int(np.sign(index))

    @property
    def _forward(self) -> Floats:
        """Responses at the better contrast, played forward, `(6, 2)`."""
        better = self.responses[..., 0].max(axis=(0, 1)).argmax()
        return np.asarray(self.responses[:, :, better, 0])


def stimulus_tuning(
    network: ResponseModel,
    stimulus: ArrayLike,
    cell_type: str,
    protocol: Protocol | None = None,
    position: int = 0,
) -> StimulusTuning:
    """Measure the responses to a stimulus and its images, and the motion and drive behind them.

    Example:
        >>> from stimopt import builtin_network
        >>> from stimopt.analysis import moving_edge
        >>> network = builtin_network(extent=4)
        >>> edge = moving_edge(network.lattice, 0.0, -1, 19.0, Protocol())  # dark, to the right
        >>> tuning = stimulus_tuning(network, edge, "T4c")
        >>> tuning.polarity, round(tuning.preferred_direction_deg)
        (1, 90)

    Args:
        network: simulated.
        stimulus: luminance, `(frames, columns)`.
        cell_type: cell type whose central cell is read.
        protocol: pre-stimulus and duration of a frame; its baseline is not used.
        position: which of the networks.

    Raises:
        ValueError: for an unknown cell type or network, or a stimulus that does not fit.
    """
    protocol = Protocol() if protocol is None else protocol
    luminance = checked_stimulus(stimulus, network.lattice)
    images = np.stack(list(transformed(luminance, network.lattice).values()))
    shown = torch.as_tensor(images, dtype=torch.float32)
    traces = central_traces(network, shown, [cell_type], protocol, position)[..., 0]
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
            network, images[best], cell_type, protocol, peak_frame, position=position
        ),
    )


def transformed(stimulus: Floats, lattice: HexLattice) -> dict[tuple[int, int, int, int], Floats]:
    """The images of a stimulus by (rotation, mirrored, inverted, reversed), in that order.

    Left and right are mirrored first, then the stimulus is rotated by k x 60 degrees
    counter-clockwise; inversion swaps white and black, reversal plays the last frame first.
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
