"""The naturalistic optimum: every sample of a movie set past the network, the best kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from stimopt.items import ALL, label_items, make_items
from stimopt.movies.datamodule import StimulusBatch, StimulusDataModule
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol
from stimopt.search.argmax import PeakTable, RunningArgmax, TopSamples, empty_top, unpack


class NaturalisticSearch(pl.LightningModule):
    """Finds the clip that drives each cell type of each network most, in one pass.

    Run it with `trainer.test(search, datamodule=data)`; then `search_result(search)`.

    The pass is a test loop, and not a fit without parameters: there is nothing to train, a test
    loop gives every process as many batches, in inference mode. Lightning saves nothing within a
    test loop, so `SearchCheckpoint` does: at the same batch on all processes their tables are
    merged, and process 0 writes the merged table and the first sample not yet seen, which is where
    a later run starts, whatever its number of processes or batch size:
    `trainer.test(search, datamodule=data, ckpt_path="last.ckpt")`.

    Memory is O(networks x types x top_k), whatever the number of samples.

    Args:
        network: the frozen network, or several on one connectome.
        protocol: pre-stimulus, step, baseline and read-out window; the data module's dt must be
            the same.
        cell_types: a name, several (a list, or with commas between), or `all`.
        networks: positions of the networks to use, or `all`.
        top_k: how many samples to keep for each type and network.
        one_per_window: keep at most one sample of a scene window, so that the top k are different
            events and not six rotations of one.
        keep_all: keep the peak response of every sample too, for percentiles; memory and
            checkpoints then grow with the number of samples.
        u: column read out, axial coordinate.
        v: likewise.

    Raises:
        ValueError: for names, columns or numbers that do not fit the network.
    """

    network: ResponseModel
    cells: Tensor

    def __init__(
        self,
        network: ResponseModel,
        protocol: Protocol | None = None,
        *,
        cell_types: str | list[str] = ALL,
        networks: str | list[int] = ALL,
        top_k: int = 1,
        one_per_window: bool = False,
        keep_all: bool = False,
        u: int = 0,
        v: int = 0,
    ) -> None:
        super().__init__()
        # Not a submodule: a checkpoint names the network by its hash. `_apply` moves it along.
        object.__setattr__(self, "network", network)
        if isinstance(network, nn.Module):
            network.requires_grad_(False).eval()
        self.protocol = Protocol() if protocol is None else protocol
        self.items = tuple(make_items(network, cell_types, 0, networks, u, v))
        self.labels = label_items(self.items, network.names)
        self.positions = tuple(dict.fromkeys(item.network for item in self.items))
        n_types = len(self.items) // len(self.positions)
        # Items are listed network by network, with the same types for each.
        cells = torch.tensor(
            [network.cell_index(i.cell_type, i.u, i.v) for i in self.items[:n_types]]
        )
        self.register_buffer("cells", cells, persistent=False)
        self.best = RunningArgmax(len(self.positions), n_types, top_k, one_per_window)
        self.every: PeakTable | None = None
        self.keep_all = keep_all
        self.next_sample = 0
        """First sample that is not in `found` yet."""
        self._first = self._start = 0
        self._merged: dict[str, Tensor] = {}
        self._data: StimulusDataModule | None = None
        self._asked_start: int | None = None

    # -- what is asked after a pass -------------------------------------------------------------

    @property
    def found(self) -> TopSamples:
        """The best samples of all processes, each `(networks, types, top_k)`.

        Raises:
            RuntimeError: before a pass.
        """
        if not self._merged:
            raise RuntimeError(
                "expected a search that has run, got one that has not; call "
                "trainer.test(search, datamodule=data)"
            )
        return unpack(self._merged["top"])

    @property
    def every_peak(self) -> Tensor | None:
        """Peak responses `(samples, networks, types)` with `keep_all`; -inf where not yet seen."""
        return self._merged.get("every")

    @property
    def samples_done(self) -> range:
        """Numbers of the samples that `found` is the best of."""
        return range(self._first, self.next_sample)

    @property
    def data(self) -> StimulusDataModule:
        """The data module of the last pass.

        Raises:
            RuntimeError: before a pass.
        """
        if self._data is None:
            raise RuntimeError("expected a search that has run, got one that has not; run it")
        return self._data

    def settings(self) -> dict[str, Any]:
        """Plain values that decide the result, for checkpoints, logs and results."""
        return {
            "kind": "NaturalisticSearch",
            "cell_types": [i.cell_type for i in self.items if i.network == self.positions[0]],
            "networks": list(self.positions),
            "top_k": self.best.k,
            "one_per_window": self.best.one_per_window,
            "keep_all": self.keep_all,
            "u": self.items[0].u,
            "v": self.items[0].v,
            **self.protocol.settings(),
        }

    # -- the pass -------------------------------------------------------------------------------

    def test_step(self, batch: StimulusBatch, batch_idx: int) -> None:
        """Take the peak responses of a batch into the table."""
        self._require_shared_out(batch, batch_idx)
        with self.network.busy():
            response, peak_frame = self.peaks(batch)
        windows = torch.as_tensor(self.data.index.windows_of(batch.sample.cpu().numpy()))
        self.best.update(response, peak_frame, batch.sample, windows.to(batch.sample.device))
        if self.every is not None:
            self.every.update(response, batch.sample)

    def peaks(self, batch: StimulusBatch) -> tuple[Tensor, Tensor]:
        """Peak response of each sample and its frame, each `(batch, networks, types)`."""
        found = []
        for position in self.positions:
            index = torch.full_like(batch.n_frames, position)
            responses = self.network.respond(batch.luminance, self.protocol, self.cells, index)
            found.append(read_peaks(responses, batch.n_frames, self.protocol))
        response, frame = (torch.stack(values, dim=1) for values in zip(*found, strict=True))
        return response, frame

    def take_stock(self, batches_done: int) -> None:
        """Merge the tables of all processes; to be called at the same batch on each of them.

        Args:
            batches_done: batches every process has done in this pass.
        """
        share = self.data.batch_size * self.trainer.world_size
        with self.best.sync_context():
            self._merged["top"] = self.best.top.cpu().clone()
        if self.every is not None:
            with self.every.sync_context():
                self._merged["every"] = self.every.table.cpu().clone()
        self.next_sample = min(self._start + batches_done * share, self.data.samples.stop)

    def on_test_start(self) -> None:
        """Start from nothing, or from what the checkpoint holds."""
        self._start = self.data.samples.start
        self._require_same_start()
        device = self.cells.device
        self.best.reset()
        self.best.top = self._merged["top"].to(device).clone()
        if self.keep_all:
            table = self._merged["every"]
            n_samples, n_networks, n_types = table.shape
            self.every = PeakTable(n_samples, n_networks, n_types, self._first).to(device)
            self.every.table = table.to(device).clone()

    def on_test_epoch_end(self) -> None:
        """Merge what all processes found."""
        loop = self.trainer.test_loop
        self.take_stock(loop.batch_progress.current.completed)

    # -- what the Trainer asks ------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Find the data module and check that its samples can be asked of the network.

        Raises:
            ValueError: if lattice or step differ, the step is unstable, light reaches none of the
                cell types, or a clip is shorter than the read-out window.
        """
        self.teardown(stage)  # of a pass that was broken off
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, StimulusDataModule):
            raise ValueError(
                f"expected a StimulusDataModule, got {type(data).__name__}; call "
                "trainer.test(search, datamodule=data)"
            )
        if data.dataset.lattice.extent != self.network.lattice.extent:
            raise ValueError(
                f"expected movies of extent {self.network.lattice.extent} as the network, got "
                f"{data.dataset.lattice.extent}; render them with that extent"
            )
        if data.dt != self.protocol.dt:
            raise ValueError(
                f"expected samples at the protocol's dt of {self.protocol.dt:g} s, got "
                f"{data.dt:g} s; give both the same"
            )
        if not data.samples:
            raise ValueError(
                f"expected at least one sample, got {data.samples}; move start_sample or "
                "stop_sample"
            )
        self.network.precheck(self.protocol, self.positions)
        self._require_light()
        self._data, self._first = data, data.samples.start
        self.next_sample = self._first
        shape = self.best.top.shape[:-1]
        self._merged = {"top": empty_top(*shape)}
        if self.keep_all:
            self._merged["every"] = torch.full((len(data.samples), *shape[:2]), -torch.inf)
        for length in _lengths(data):
            self.protocol.readout(length)
        for logger in self.trainer.loggers:
            logger.log_hyperparams({**self.settings(), **self._provenance()})

    def teardown(self, stage: str) -> None:
        """Give the data module its own start back, which going on has moved."""
        if self._asked_start is not None:
            self.data.start_sample, self._asked_start = self._asked_start, None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the last merged table, never one of a single process, and what it is of."""
        checkpoint["stimopt"] = {
            **self._provenance(),
            "settings": self.settings(),
            "first_sample": self._first,
            "stop_sample": self.data.samples.stop,
            "next_sample": self.next_sample,
            **self._merged,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on after the samples that were done.

        Raises:
            ValueError: naming what differs from the run that was saved.
        """
        saved = checkpoint.get("stimopt")
        if not isinstance(saved, dict) or "next_sample" not in saved:
            raise ValueError(
                "expected a checkpoint of a search, got one without its record; "
                "give a checkpoint that stimopt search wrote"
            )
        samples = self.data.samples
        mine = {
            **self._provenance(),
            "first_sample": samples.start,
            "stop_sample": samples.stop,
            **self.settings(),
        }
        theirs = {**saved, **saved["settings"]}
        for key, value in mine.items():
            if theirs.get(key) != value:
                raise ValueError(
                    f"expected {key} = {theirs.get(key)!r} as in the checkpoint, got {value!r}; "
                    "give the same, or another output folder"
                )
        for name, empty in self._merged.items():
            table = saved.get(name)
            if (
                not isinstance(table, Tensor)
                or table.dtype != empty.dtype
                or table.shape != empty.shape
            ):
                raise ValueError(
                    f"expected {name} as {empty.dtype} {tuple(empty.shape)} in the checkpoint, got "
                    "another; it was altered or damaged, remove it to start anew"
                )
            self._merged[name] = table
        self.next_sample = saved["next_sample"]
        # A pass that was done does its last sample again, which changes nothing, rather than
        # run a loop over nothing, for which Lightning calls no hooks.
        self._asked_start = samples.start
        self.data.start_sample = min(saved["next_sample"], samples.stop - 1)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> NaturalisticSearch:
        if isinstance(self.network, nn.Module):
            self.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _provenance(self) -> dict[str, str]:
        return {"network_hash": self.network.content_hash, "data": self.data.fingerprint}

    def _require_shared_out(self, batch: StimulusBatch, batch_idx: int) -> None:
        """The next sample is counted, so samples must come as the data module says."""
        world, samples = self.trainer.world_size, self.data.samples
        at = batch_idx * self.data.batch_size + torch.arange(len(batch.sample))
        expected = samples.start + (at * world + self.trainer.global_rank) % len(samples)
        if not torch.equal(batch.sample.cpu(), expected):
            raise RuntimeError(
                f"expected samples {expected.tolist()} in batch {batch_idx} of process "
                f"{self.trainer.global_rank}, got {batch.sample.tolist()}; leave the data module's "
                "order and the Trainer's use_distributed_sampler as they are"
            )

    def _require_light(self) -> None:
        """Say which cell types see nothing: any clip is their best, the first as good as any."""
        names = list(dict.fromkeys(item.cell_type for item in self.items))
        dark = self.network.unreached(names, self.positions)
        if len(dark) == len(names):
            raise ValueError(
                f"expected a path from the photoreceptors to a cell type, got none to "
                f"{', '.join(dark[:10])}; search for other cell types"
            )
        if dark:
            rank_zero_warn(
                f"no path leads from the photoreceptors to {', '.join(dark[:10])}: every clip "
                "drives them alike, and the first is given"
            )

    def _require_same_start(self) -> None:
        """All processes go on from one sample: they must see one checkpoint."""
        gathered = self.all_gather(torch.tensor(self._start, device=self.device))
        starts = cast("Tensor", gathered).flatten().tolist()
        if len(set(starts)) > 1:
            raise RuntimeError(
                f"expected all processes to start from one sample, got {starts}; give them the "
                "same output folder"
            )


def read_peaks(responses: Tensor, n_frames: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Largest response in the read-out window and its frame, each `(items, k)`.

    Args:
        responses: `(items, frames, k)`.
        n_frames: frames of each item that count, `(items,)`; the rest is filling.
        protocol: says the read-out window.
    """
    inside = torch.zeros(responses.shape[:2], dtype=torch.bool, device=responses.device)
    for length in sorted(set(n_frames.tolist())):
        inside[n_frames == length, protocol.readout(length)] = True
    peak = responses.masked_fill(~inside[:, :, None], -torch.inf).max(dim=1)
    return peak.values, peak.indices


def _lengths(data: StimulusDataModule) -> set[int]:
    """Frames that samples have; all of a scene have the same, so this is O(scenes)."""
    index = data.index
    found = set()
    for store, scenes in enumerate(index.stores):
        designed = bool(index.designed and index.designed[store])
        turn = index.settings.turns(designed)[0]
        for scene in range(len(scenes)):
            found.add(index.n_steps(index.number(store, scene, 0, *turn), data.dt))
    return found
