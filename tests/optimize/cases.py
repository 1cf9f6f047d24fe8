"""Neurons whose optimal stimuli are known, and clips, that fits are tested on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stimopt.networks.module import ModuleNetwork
from stimopt.optimize.generate import StimulusGenerator
from stimopt.optimize.module import StimulusModule


class LinearNeuron(nn.Module):
    """r_t = sum_s sum_c k_{s,c} (x_{t-s,c} - base): causal, linear, its best stimulus derivable."""

    def __init__(self, kernel: Tensor, base: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("kernel", kernel)
        self.base = base

    def forward(self, luminance: Tensor) -> Tensor:
        n, frames = len(self.kernel), luminance.shape[1]
        padded = nn.functional.pad(luminance - self.base, (0, 0, n - 1, 0))
        shifted = [padded[:, n - 1 - s : n - 1 - s + frames] @ self.kernel[s] for s in range(n)]
        return torch.stack(shifted).sum(dim=0)[..., None]


def linear_network(
    taps: int = 3, seed: int = 0, scale: float = 1.0, base: float = 0.0
) -> tuple[ModuleNetwork, Tensor]:
    """A linear neuron on extent 1 and its kernel, `(taps, 7)`."""
    kernel = scale * torch.randn((taps, 7), generator=torch.Generator().manual_seed(seed))
    return ModuleNetwork(LinearNeuron(kernel, base), {"linear": 0}, extent=1), kernel


class HalfBlind(nn.Module):
    """Two cells: one follows the mean luminance, the other nothing."""

    def forward(self, luminance: Tensor) -> Tensor:
        seen = luminance.mean(dim=2, keepdim=True)
        return torch.cat([seen, seen * 0], dim=2)


def half_blind_network() -> ModuleNetwork:
    """A cell that sees and one that does not, on extent 1."""
    return ModuleNetwork(HalfBlind(), {"sees": 0, "blind": 1}, extent=1)


def linear_jacobian(kernel: Tensor, frames: int) -> np.ndarray:
    """d r_t / d x_{s,c} = k_{t-s,c}, `(frames, frames * columns)`."""
    taps, columns = kernel.shape
    jacobian = np.zeros((frames, frames, columns))
    for t in range(frames):
        for s in range(min(taps, t + 1)):
            jacobian[t, t - s] = kernel[s].double().numpy()
    return jacobian.reshape(frames, -1)


def noise_clip(items: int, frames: int, columns: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Correlated noise: four frames alike, as film at 24 frames a second."""
    generator = torch.Generator().manual_seed(seed)
    shown = torch.rand((items, -(-frames // 4), columns), generator=generator)
    return 0.5 + spread * (shown.repeat_interleave(4, dim=1)[:, :frames] - 0.5)


def generator(network: Any, cell_types: Any = ("T4c", "T5a"), **options: Any) -> StimulusGenerator:
    """A short generation."""
    return StimulusGenerator(network, list(cell_types), **{"t_stim": 0.15, **options})


def same_run(a: StimulusModule, b: StimulusModule) -> bool:
    """Whether two fits have the same state and record, bit for bit."""
    one, other = a.state_dict(), b.state_dict()
    history, again = a.record.history, b.record.history
    return (
        one.keys() == other.keys()
        and all(torch.equal(one[key], other[key]) for key in one if torch.is_tensor(one[key]))
        and history.keys() == again.keys()
        and all(torch.equal(history[key], again[key]) for key in history)
    )
