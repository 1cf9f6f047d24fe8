"""stimopt's half of the benchmark, run by `run.py`: the same questions as flyvis's, and more.

Fits and searches are those of the commands, with their logs, checkpoints, pictures and results.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from machine import copy_bandwidth, multiply_add_peak
from pipe import serve, timed

import stimopt
from stimopt.connectome import Connectome
from stimopt.networks.flyvis import read_trained
from stimopt.networks.flyvis_files import find_connectome, find_network
from stimopt.networks.opening import NetworkSource
from stimopt.optimize.terms import TOTAL
from stimopt.protocol import Protocol

LEARNING_RATE = 0.01


class StepClock(pl.Callback):
    """The moment every step begins, and the moment the last has ended."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Note it."""
        self.stamps.append(time.perf_counter())

    def on_train_end(self, *_: Any) -> None:
        """Note it, before other callbacks draw their last pictures."""
        self.stamps.append(time.perf_counter())


class FitClock(pl.Callback):
    """From the moment `trainer.fit` sets up to the moment it has torn down."""

    def setup(self, *_: Any, **__: Any) -> None:
        """Note it."""
        self._began = time.perf_counter()

    def teardown(self, *_: Any, **__: Any) -> None:
        """Note it."""
        self.seconds = time.perf_counter() - self._began


class BareStepBefore(pl.Callback):
    """Before every step of a fit one of another stimulus without Trainer, each timed by itself.

    In turn, as a machine's speed may change within a run by more than the difference.
    """

    def __init__(self, module: stimopt.StimulusModule) -> None:
        self.module = module
        self.optimizer = torch.optim.Adam([module.stimulus], lr=LEARNING_RATE)
        self.trained: list[float] = []
        self.bare: list[float] = []
        self._began: float | None = None

    def on_train_batch_start(self, *_: Any) -> None:
        """End the Trainer's step, take the other, and begin the Trainer's next."""
        self._end()
        start = time.perf_counter()
        self._step()
        self._began = time.perf_counter()
        self.bare.append(self._began - start)

    def on_train_end(self, *_: Any) -> None:
        """End the last step."""
        self._end()

    def _end(self) -> None:
        if self._began is not None:
            self.trained.append(time.perf_counter() - self._began)

    def _step(self) -> None:
        """Evaluate, differentiate, update, clamp."""
        module = self.module
        with module.network.busy():
            self.optimizer.zero_grad()
            luminance = module.luminance()
            module.losses(luminance, module.respond(luminance))[TOTAL].sum().backward()
            self.optimizer.step()
            module.stimulus.data.clamp_(0, 1)


class Stimopt:
    """What is measured, once `open` has said on which network."""

    source: NetworkSource

    def open(
        self,
        network: str | None,
        connectome: str | None,
        extent: int | None,
        threads: int,
        work: str,
    ) -> dict[str, Any]:
        """Read the network; its cell types, columns and connections."""
        torch.set_num_threads(threads)
        warnings.simplefilter("ignore")
        self.work = Path(work)
        self.source = NetworkSource(network, connectome, extent)
        self.network = self.source.open()
        self.threads = threads
        names = ("stimopt", "torch", "lightning", "numba", "numpy")
        weight = self.network.tap_weight[0].numpy()
        return {
            "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
            "cell_types": list(self.network.cell_types),
            "columns": self.network.lattice.n_columns,
            "extent": self.network.lattice.extent,
            "cells": self.network.n_cells,
            "taps": int((weight != 0).sum()),
            "synapses": int((weight[self.network.layout.synapses[2]] != 0).sum()),
            "step": self.network._step(torch.device("cpu")).name,
        }

    def export(self, network: str, connectome: str | None, path: str) -> dict[str, Any]:
        """Write a network's parameters under flyvis's names."""
        read = Connectome.from_json(find_connectome() if connectome is None else connectome)
        found = read_trained(find_network(network), read)
        np.savez(
            path,
            nodes_bias=found.bias,
            nodes_time_const=found.time_const,
            edges_sign=found.sign,
            edges_syn_count=np.log(found.syn_count),
            edges_syn_strength=found.syn_strength,
        )
        return {}

    def machine(self) -> dict[str, Any]:
        """The measured peaks of multiply-adds and of memory, to which a step is compared."""
        return {
            "peak_gflops": multiply_add_peak(self.threads),
            "copy_gb_per_s": copy_bandwidth(),
        }

    # -- through the Trainer --------------------------------------------------------------------

    def generate(self, cell_types: str, frames: int, steps: int) -> dict[str, Any]:
        """`stimopt generate` once the network is open: every step, and the whole call."""
        clock = StepClock()
        with self._folder("generate") as folder:
            start = time.perf_counter()
            module = self._fit(cell_types, frames, steps, folder, clock)
            seconds = time.perf_counter() - start
            written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return {
            "seconds": seconds,
            "step_seconds": np.diff(clock.stamps).tolist(),
            "losses": module.record.history[TOTAL][:-1, 0].tolist(),
            "best": module.record.best_score.tolist(),
            "items": len(module.items),
            "steps": steps,
            "bytes_written": written,
        }

    def region(self, cell_types: str, frames: int, steps: int) -> dict[str, Any]:
        """`stimopt generate --method region`: seconds of `trainer.fit` and of the whole call."""
        clock = FitClock()
        start = time.perf_counter()
        module = stimopt.RegionGenerator(
            self.network, cell_types, t_stim=frames * 0.01, anneal=steps
        )
        with self._folder("region") as folder:
            stimopt.fit(module, steps, folder, accelerator="cpu", callbacks=[clock])
        return {
            "seconds": time.perf_counter() - start,
            "fit_seconds": clock.seconds,
            "best": module.record.best_score.tolist(),
            "items": len(module.items),
        }

    def overhead(self, cell_types: str, frames: int, steps: int) -> dict[str, Any]:
        """The same fit, with a step without Trainer before each of its own: seconds of both."""
        clock = BareStepBefore(self._generator(cell_types, frames))
        with self._folder("overhead") as folder:
            self._fit(cell_types, frames, steps, folder, clock)
        return {"trained_seconds": clock.trained, "bare_seconds": clock.bare}

    def _fit(
        self, cell_types: str, frames: int, steps: int, folder: Path, clock: pl.Callback
    ) -> stimopt.StimulusGenerator:
        module = self._generator(cell_types, frames)
        stimopt.fit(module, steps, folder, accelerator="cpu", callbacks=[clock])
        return module

    def _generator(self, cell_types: str, frames: int) -> stimopt.StimulusGenerator:
        return stimopt.StimulusGenerator(self.network, cell_types, t_stim=frames * 0.01)

    def search(self, movies: str | None, clips: int | None, batch: int) -> dict[str, Any]:
        """`stimopt search` for all cell types, once the network is open, over so many clips."""
        data = self._data(movies, clips, batch)
        with self._folder("search") as folder:
            start = time.perf_counter()
            search = stimopt.NaturalisticSearch(self.network)
            stimopt.run_search(search, data, folder, accelerator="cpu")
            seconds = time.perf_counter() - start
        lengths = [len(data.dataset[sample].luminance) for sample in data.samples]
        return {"seconds": seconds, "clips": len(lengths), "frames": sum(lengths)}

    def clips(self, movies: str | None, count: int, frames: int, path: str) -> dict[str, Any]:
        """Write the first clips for flyvis, their first frames, and our peaks for them."""
        data = self._data(movies, None)
        data.setup("test")
        samples = [data.dataset[i].luminance for i in range(count)]
        frames = min(frames, *(len(sample) for sample in samples))
        luminance = torch.stack([sample[:frames] for sample in samples])
        np.save(path, luminance.numpy())
        cells = torch.tensor([self.network.cell_index(t) for t in self.network.cell_types])
        with torch.no_grad():
            responses = self.network.respond(luminance, Protocol(), cells)
        return {"frames": frames, "peaks": responses.amax(dim=1).tolist()}

    def _data(
        self, movies: str | None, clips: int | None, batch: int = 16
    ) -> stimopt.StimulusDataModule:
        store, settings = (
            self.work / "movies.h5",
            stimopt.RenderSettings(self.network.lattice.extent),
        )
        # An existing store is left as it is.
        stimopt.render(movies or "procedural", store, settings, progress=False)
        return stimopt.StimulusDataModule(str(store), stop_sample=clips, batch_size=batch)

    # -- the time loop --------------------------------------------------------------------------

    def forward(
        self, items: int, frames: int, seconds: float, extent: int | None = None
    ) -> dict[str, Any]:
        """The time loop alone, without gradient."""
        network, luminance, state, centre = self._prepared(items, frames, extent)

        @torch.no_grad()
        def run() -> None:
            with network.busy():
                network(luminance, initial_state=state, readout=centre)

        timed(run, 0.0)
        return {"seconds": timed(run, seconds)}

    def gradient(
        self, items: int, frames: int, seconds: float, extent: int | None = None
    ) -> dict[str, Any]:
        """The time loop and the gradient with respect to the stimulus."""
        network, luminance, state, centre = self._prepared(items, frames, extent)
        luminance.requires_grad_()

        def run() -> None:
            luminance.grad = None
            with network.busy():
                last = network(luminance, initial_state=state, readout=centre)[:, -1]
                last.exp().sum().backward()

        timed(run, 0.0)
        return {"seconds": timed(run, seconds), "columns": network.lattice.n_columns}

    def _prepared(self, items: int, frames: int, extent: int | None) -> tuple[Any, ...]:
        network = self.network
        if extent is not None and extent != network.lattice.extent:
            network = NetworkSource(self.source.path, self.source.connectome, extent).open()
        torch.manual_seed(0)
        luminance = torch.rand(items, frames, network.lattice.n_columns)
        state = network.initial_state(luminance, Protocol())
        return network, luminance, state, torch.tensor([network.cell_index(network.cell_types[0])])

    @contextlib.contextmanager
    def _folder(self, name: str) -> Iterator[Path]:
        folder = self.work / f"{name}-{os.getpid()}"
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    stimopt_half = Stimopt()
    names = ("open", "export", "machine", "generate", "region", "overhead", "search", "clips")
    serve({name: getattr(stimopt_half, name) for name in (*names, "forward", "gradient")})
