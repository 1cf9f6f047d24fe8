"""Version 0.1's part of the benchmark, run by `run.py` with the Python of its environment.

The questions are those of `stimopt_side.py`, so far as a bar is set beside 0.1.
"""

from __future__ import annotations

import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from pipe import serve, timed
from stimopt.commands.fit import quiet_lightning
from stimopt.network_source import NetworkSource
from stimopt.search_result import search_result

from stimopt.commands.search import SearchCLI
from stimopt.movies import render
from stimopt.protocol import Protocol


class Before:
    """The network, once opened, and what is asked of it."""

    def open(
        self,
        network: str | None,
        connectome: str | None,
        extent: int | None,
        threads: int,
        work: str,
    ) -> dict[str, Any]:
        """Read the network."""
        torch.set_num_threads(threads)
        quiet_lightning()
        warnings.simplefilter("ignore")
        self.work = Path(work) / "before"
        self.work.mkdir(parents=True, exist_ok=True)
        named = {"path": network, "connectome": connectome, "extent": extent}
        self.arguments = [f"--network.{k}={v}" for k, v in named.items() if v is not None]
        self.network = NetworkSource(**named).open()
        return {}

    def forward(self, items: int, frames: int, seconds: float) -> dict[str, Any]:
        """The time loop alone, without gradient."""
        luminance, state, centre = self._prepared(items, frames)

        @torch.no_grad()
        def run() -> None:
            with self.network.threads():
                self.network(luminance, 0.01, state, readout=centre)

        timed(run, 0.0)
        return {"seconds": timed(run, seconds)}

    def gradient(self, items: int, frames: int, seconds: float) -> dict[str, Any]:
        """The time loop and the gradient with respect to the stimulus."""
        luminance, state, centre = self._prepared(items, frames)
        luminance.requires_grad_()

        def run() -> None:
            luminance.grad = None
            with self.network.threads():
                last = self.network(luminance, 0.01, state, readout=centre)[:, -1]
                last.exp().sum().backward()

        timed(run, 0.0)
        return {"seconds": timed(run, seconds)}

    def search(self, movies: str | None, clips: int | None, batch: int) -> dict[str, Any]:
        """`stimopt search` for all cell types, once the network is open, over so many clips."""
        output = self.work / "search-before"
        data = [f"--data.folder={self.work}"]
        if movies is not None:
            store = self.work / "movies-0.1.h5"
            render(movies, store, progress=False)  # one that is there is left as it is
            data = [f"--data.stores=[{store}]"]
        data += [f"--data.batch_size={batch}"]
        data += [] if clips is None else [f"--data.stop_sample={clips}"]
        cli = SearchCLI([*self.arguments, *data, "--trainer.accelerator=cpu", f"--output={output}"])
        start = time.perf_counter()
        cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
        search_result(cli.model).write(output / "result.h5")
        seconds = time.perf_counter() - start
        shutil.rmtree(output, ignore_errors=True)
        samples, dt = cli.datamodule.samples, cli.datamodule.dt
        lengths = [cli.datamodule.index.n_steps(sample, dt) for sample in samples]
        return {"seconds": seconds, "clips": len(lengths), "frames": sum(lengths)}

    def _prepared(self, items: int, frames: int) -> tuple[Any, ...]:
        torch.manual_seed(0)
        luminance = torch.rand(items, frames, self.network.lattice.n_columns)
        state = self.network.initial_state(luminance, Protocol())
        return luminance, state, torch.tensor([self.network.cell_index(self.network.cell_types[0])])


if __name__ == "__main__":
    before = Before()
    names = ("open", "forward", "gradient", "search")
    serve({name: getattr(before, name) for name in names})
