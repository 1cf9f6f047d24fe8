"""flyvis's half of the benchmark, run by `run.py` with the Python of flyvis's environment.

Measures flyvis through its own functions, as its examples call them. Nothing of stimopt is here but
the network's parameters, which come as an array file so that both sides have the same.
"""

from __future__ import annotations

import os
import resource
import time
from typing import Any

import flyvis
import numpy as np
import torch
from flyvis.analysis.optimal_stimuli import GenerateOptimalStimuli
from flyvis.network import Network
from flyvis.utils.tensor_utils import AutoDeref
from pipe import serve, timed
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import Dataset

DT = 0.01


class Flyvis:
    """The network, once opened, and what can be asked of it."""

    network: Network

    def open(self, parameters: str, threads: int) -> dict[str, Any]:
        """Build flyvis's network and give it trained parameters; compiles its connectome once."""
        torch.set_num_threads(threads)
        # Fail here rather than take the machine's memory from everything else on it.
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        resource.setrlimit(resource.RLIMIT_AS, (int(0.6 * installed), resource.RLIM_INFINITY))
        self.network = Network()
        with np.load(parameters) as arrays:
            state = {name: torch.as_tensor(arrays[name]).float() for name in arrays.files}
        self.network.load_state_dict(state)
        for parameter in self.network.parameters():
            parameter.requires_grad = False
        versions = {"flyvis": _version("flyvis"), "torch": torch.__version__}
        return {"versions": versions, "device": str(flyvis.device)}

    def init_network(self) -> Network:
        """What flyvis asks of a view of a network folder."""
        return self.network

    def generate(self, cell_type: str, frames: int, steps: int) -> dict[str, Any]:
        """`artificial_optimal_stimuli`: duration of every step, and of the whole call."""
        stamps: list[float] = []
        hook = register_optimizer_step_post_hook(lambda *_: stamps.append(time.perf_counter()))
        start = time.perf_counter()
        try:
            # Half a frame more, as it truncates t_stim / dt.
            found = GenerateOptimalStimuli(self).artificial_optimal_stimuli(
                cell_type, t_stim=(frames + 0.5) * DT, dt=DT, n_iters=steps
            )
        finally:
            hook.remove()
        return {
            "seconds": time.perf_counter() - start,
            "step_seconds": np.diff(stamps).tolist(),
            "losses": found.losses[:, 0].tolist(),
        }

    def forward(self, items: int, frames: int, seconds: float) -> dict[str, Any]:
        """The time loop alone, without gradient."""
        state, stimulus = self._prepared(items, frames)

        @torch.no_grad()
        def run() -> None:
            self._simulate(stimulus, state)

        return {"seconds": timed(run, seconds)}

    def gradient(self, items: int, frames: int, seconds: float) -> dict[str, Any]:
        """The time loop and the gradient with respect to the stimulus."""
        state, stimulus = self._prepared(items, frames)
        centre = self.network.stimulus.central_cells_index["T4c"]

        def run() -> None:
            stimulus.grad = None
            stimulus.requires_grad_()
            self._simulate(stimulus, state)[:, -1, centre].exp().sum().backward()

        return {"seconds": timed(run, seconds)}

    @torch.no_grad()
    def search(self, clips: str) -> dict[str, Any]:
        """`stimulus_response`, one clip at a time, and the peak of every central cell."""
        luminance = np.load(clips)
        centre = self.network.connectome.central_cells_index[:]
        stamps, peaks = [], []
        for _, response in self.network.stimulus_response(_Clips(luminance), DT, t_pre=1.0):
            peaks.append(response[0][:, centre].max(axis=0).tolist())
            stamps.append(time.perf_counter())
        # The first clip is left out: before it lies the second of grey, which all clips share.
        return {"seconds": np.diff(stamps).tolist(), "peaks": peaks}

    def _prepared(self, items: int, frames: int) -> tuple[Any, torch.Tensor]:
        torch.manual_seed(0)
        columns = self.network.stimulus.n_input_elements
        # Of one item, and repeated: it keeps every state on the way.
        one = self.network.steady_state(1.0, DT, 1).nodes.activity
        nodes = AutoDeref(activity=one.expand(items, -1).contiguous())
        state = self.network._state_api(AutoDeref(nodes=nodes, edges=AutoDeref()))
        return state, torch.rand(items, frames, 1, columns)

    def _simulate(self, stimulus: torch.Tensor, state: Any) -> torch.Tensor:
        buffer = self.network.stimulus
        if hasattr(buffer, "buffer"):
            del buffer.buffer  # zeroed in place it would drag the graph of the last call along
        buffer.add_input(stimulus)
        return self.network(buffer(), DT, state=state)


class _Clips(Dataset):
    """Clips as a data set of flyvis's kind."""

    dt = DT

    def __init__(self, luminance: np.ndarray) -> None:
        self.luminance = torch.as_tensor(luminance)

    def __len__(self) -> int:
        return len(self.luminance)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.luminance[i]


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    flyvis_half = Flyvis()
    serve(
        {
            name: getattr(flyvis_half, name)
            for name in ("open", "generate", "forward", "gradient", "search")
        }
    )
