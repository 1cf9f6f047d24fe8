"""A network of another kind, for tests of what any module can do."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvRecurrent(nn.Module):
    """A convolution over columns, and a leaky recurrent state."""

    def __init__(self, n_columns: int = 7, n_cells: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = nn.Conv1d(1, 4, 3, padding=1)
        self.drive = nn.Linear(4 * n_columns, n_cells)
        self.recur = nn.Linear(n_cells, n_cells)

    def forward(self, luminance: Tensor) -> Tensor:
        items, frames, columns = luminance.shape
        read = torch.tanh(self.read(luminance.reshape(items * frames, 1, columns)))
        drive = self.drive(read.reshape(items, frames, -1))
        state = drive.new_zeros((items, drive.shape[-1]))
        states = []
        for t in range(frames):
            state = state + 0.2 * (-state + torch.tanh(self.recur(state)) + drive[:, t])
            states.append(state)
        return torch.stack(states, dim=1)
