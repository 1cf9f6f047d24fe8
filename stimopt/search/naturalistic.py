"""The naturalistic optimum: the clip of a movie set that drives each cell type most."""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stimopt import expect
from stimopt.items import ALL, label_items, make_items
from stimopt.movies.datamodule import StimulusBatch, StimulusDataModule
from stimopt.networks.attached import HoldsNetwork
from stimopt.networks.model import ResponseModel
from stimopt.protocol import Protocol, peak
from stimopt.results.result import Result
from stimopt.results.variables import item_variables
from stimopt.search.argmax import PeakTable, RunningArgmax, TopSamples, unpack
from stimopt.search.ranks import every_peak_variables, rank_variables
from stimopt.storage.identity import plain, require_same

NO_ANSWER = torch.finfo(torch.float32).min
"""Stands for a response that is not finite in the table of the best, which takes numbers alone."""

RUN_IT = "call trainer.test(search, datamodule=data)"


class NaturalisticSearch(HoldsNetwork, pl.LightningModule):
    """Finds the clip that drives each cell type of each network most, in one pass.

    The pass is a test loop: nothing is trained, a test loop runs in inference mode, and every
    process gets the same number of batches. Memory is O(networks x types x top_k), whatever the
    number of samples.

    Several processes can share a pass and an interrupted pass resumes, because 50 networks over a
    whole film take ten minutes and more. Merging tables of winners is idempotent, so a checkpoint
    is the merged table and the first sample that is not in it. Lightning saves nothing
    within a test loop; the callback `SearchCheckpoint` does. A later run may have another batch
    size or number of processes: `trainer.test(search, datamodule=data, ckpt_path="last.ckpt")`.

    Args:
        network: the frozen network, or several on one connectome.
        protocol: pre-stimulus, step, baseline and read-out window; the data module's dt must be
            the same.
        cell_types: a name, several (a list, or with commas between), or `all`.
        networks: positions of the networks to use, or `all`.
        top_k: number of samples to rank for each type and network.
        one_per_window: rank at most one sample of a scene window, so that the top k are different
            events and not six rotations of one.
        keep_all: report the peak response of every sample too, for percentiles; memory and
            checkpoints then grow with the number of samples.
        u: column read out, axial coordinate.
        v: its other coordinate.

    Raises:
        ValueError: for names, columns or numbers that do not fit the network.

    Example:
        >>> import stimopt
        >>> search = NaturalisticSearch(stimopt.builtin_network(3), cell_types="T4c,T5c")
        >>> data = stimopt.StimulusDataModule(extent=3, stop_sample=4)
        >>> trainer = pl.Trainer(enable_progress_bar=False, logger=False)
        >>> trainer.test(search, datamodule=data, verbose=False)
        [{}]
        >>> search.result()["peak_response"].shape
        (2, 1)
    """

    kind = "naturalistic"
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
        self.attach(network)
        given = protocol is None or isinstance(protocol, Protocol)
        advice = "name the others, as in NaturalisticSearch(network, cell_types='T4c')"
        expect.that(given, "a Protocol as the second argument", repr(protocol), advice)
        self.protocol = protocol or Protocol()
        # Listed network by network, with the same types for each.
        self.items = tuple(make_items(network, cell_types, 0, networks, u, v))
        self.labels = label_items(self.items, network.names)
        self.positions = tuple(dict.fromkeys(item.network for item in self.items))
        self.cell_types = tuple(dict.fromkeys(item.cell_type for item in self.items))
        cells = torch.tensor([network.cell_index(name, u, v) for name in self.cell_types])
        self.register_buffer("cells", cells, persistent=False)
        self.best = RunningArgmax(len(self.positions), len(self.cell_types), top_k, one_per_window)
        self.every: PeakTable | None = None
        self.keep_all = keep_all
        self._data: StimulusDataModule | None = None
        self._samples = self._remaining = range(0)
        self.next_sample = 0
        """First sample that is not among `samples_done`."""

    # -- one batch ------------------------------------------------------------------------------

    def test_step(self, batch: StimulusBatch, batch_idx: int) -> None:
        """Enter the peak responses of a batch into the table of the best."""
        self._require_order(batch, batch_idx)
        with self.network.busy():
            response, peak_frame = self.peaks(batch)
        windows = torch.as_tensor(self.data.index.windows_of(batch.sample.cpu().numpy()))
        self.best.update(response, peak_frame, batch.sample, windows.to(batch.sample.device))
        if self.every is not None:
            self.every.update(response, batch.sample)

    def peaks(self, batch: StimulusBatch) -> tuple[Tensor, Tensor]:
        """Peak response of each sample and its frame, each `(batch, networks, types)`."""
        mask = self.protocol.readout_mask(batch.n_frames, batch.luminance.shape[1])
        peaks = []
        for position in self.positions:
            index = torch.full_like(batch.n_frames, position)
            responses = self.network.respond(batch.luminance, self.protocol, self.cells, index)
            peaks.append(peak(responses, mask))
        response, frame = (torch.stack(values, dim=1) for values in zip(*peaks, strict=True))
        if self.network.n_networks > 1:
            # An unstable network must not stop the others: what it cannot answer ranks last.
            response = torch.where(response.isfinite(), response, NO_ANSWER)
        return response, frame

    def on_test_epoch_end(self) -> None:
        """Merge the tables of all processes, and log the peaks."""
        self.merge_processes(self.trainer.test_loop.batch_progress.current.completed)
        if self.trainer.world_size == 1:  # Lightning would warn of metrics that are not reduced
            self.log_dict(self.peak_scalars(), logger=False)

    def merge_processes(self, batches_done: int) -> None:
        """Merge the tables of all processes; call it at the same batch on each of them.

        Args:
            batches_done: batches that every process has done in this pass.
        """
        with self.best.sync_context():
            merged = self.best.top.clone()
        self.best.top = merged
        if self.every is not None:
            with self.every.sync_context():
                merged = self.every.table.clone()
            self.every.table = merged
        done = batches_done * self.data.batch_size * self.trainer.world_size
        self.next_sample = min(self._remaining.start + done, self._samples.stop)

    # -- after a pass ---------------------------------------------------------------------------

    @property
    def winners(self) -> TopSamples:
        """The best samples, each `(networks, types, top_k)`; all missing before a pass.

        The response is NaN where a network has no finite one.
        """
        top = unpack(self.best.top.cpu())
        return top._replace(response=_nan_without_answer(top.response))

    @property
    def every_peak(self) -> Tensor | None:
        """Peak responses `(samples, networks, types)` with `keep_all`; -inf where not yet seen."""
        return None if self.every is None else _nan_without_answer(self.every.table.cpu())

    @property
    def samples_done(self) -> range:
        """Numbers of the samples that `winners` are the best of."""
        return range(self._samples.start, self.next_sample)

    @property
    def data(self) -> StimulusDataModule:
        """The data module of the last pass.

        Raises:
            RuntimeError: before a pass.
        """
        if self._data is None:
            raise RuntimeError(f"expected a search that has run, got one that has not; {RUN_IT}")
        return self._data

    def result(self) -> Result:
        """Winning clips, the responses to them in every column, ranks, and provenance.

        Only the winners are simulated again. Frames beyond a clip's own length are NaN.

        Raises:
            RuntimeError: before a pass.
        """
        best = self.winners.sample[..., 0].flatten().tolist()
        clips = {sample: self.data.dataset[sample].luminance for sample in sorted(set(best))}
        stimulus = pad_sequence([clips[sample] for sample in best], batch_first=True).numpy()
        variables = item_variables(
            self.network,
            self.protocol,
            self.items,
            self.labels,
            stimulus,
            [len(clips[sample]) for sample in best],
        )
        variables |= rank_variables(self.winners, self.data)
        if self.every_peak is not None:
            peaks = self.every_peak[: len(self.samples_done)]
            variables |= every_peak_variables(peaks, self.samples_done)
        return Result(
            kind=self.kind,
            variables=variables,
            protocol=self.protocol,
            network_hash=self.network.content_hash,
            network_names=self.network.names,
            extent=self.network.lattice.extent,
            config={
                **self.settings(),
                "data": self.data.fingerprint,
                "first_sample": self.samples_done.start,
                "samples": len(self.samples_done),
            },
        )

    def peak_scalars(self) -> dict[str, float]:
        """Best response of each item so far, by TensorBoard tag."""
        best = self.winners.response[..., 0].flatten().tolist()
        return {f"response/peak/{label}": r for label, r in zip(self.labels, best, strict=True)}

    def settings(self) -> dict[str, Any]:
        """Plain values that decide the result, for checkpoints, logs and results."""
        settings: dict[str, Any] = plain(
            {
                "kind": self.kind,
                "cell_types": list(self.cell_types),
                "networks": list(self.positions),
                "top_k": self.best.k,
                "one_per_window": self.best.one_per_window,
                "keep_all": self.keep_all,
                "u": self.items[0].u,
                "v": self.items[0].v,
                **self.protocol.settings(),
            }
        )
        return settings

    # -- begin and resume -----------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Begin a pass, if the samples fit the network.

        Raises:
            ValueError: if lattice or step differ, the step is unstable, light reaches none of the
                cell types, or a clip is shorter than the read-out window.
        """
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, StimulusDataModule):
            raise ValueError(f"expected a StimulusDataModule, got {type(data).__name__}; {RUN_IT}")
        data.resume_from = None
        _require_fit(data, self.network, self.protocol)
        self.network.precheck(self.protocol, self.positions)
        self._warn_of_dark_types()
        self._data, self._samples, self.next_sample = data, data.samples, data.samples.start
        self.best.reset()
        if self.keep_all:
            n_networks, n_types = len(self.positions), len(self.cell_types)
            self.every = PeakTable(len(data.samples), n_networks, n_types, self.next_sample)
        for logger in self.trainer.loggers:
            logger.log_hyperparams({**self.settings(), **self._provenance()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the table, what it is of, and where to resume."""
        checkpoint["stimopt"] = {
            **self._provenance(),
            "settings": self.settings(),
            "next_sample": self.next_sample,
            **{name: table.cpu() for name, table in self._tables().items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resume after the samples that were done.

        Raises:
            ValueError: naming what differs from the run that was saved.
        """
        saved = checkpoint.get("stimopt")
        if not isinstance(saved, dict) or "next_sample" not in saved:
            raise ValueError(
                "expected a checkpoint of a search, got one without its record; pass a checkpoint "
                "that stimopt search wrote"
            )
        stored = {name: saved.get(name) for name in self._provenance()} | saved["settings"]
        require_same(stored, self._provenance() | self.settings(), "the checkpoint")
        for name, table in self._tables().items():
            _require_like(name, saved.get(name), table)
        self.best.top = saved["top"].to(self.device)
        if self.every is not None:
            self.every.table = saved["every"].to(self.device)
        self.next_sample = saved["next_sample"]
        # A finished pass does its last sample again, which changes nothing: Lightning calls no
        # hooks for a loop over nothing.
        self.data.resume_from = min(self.next_sample, self._samples.stop - 1)

    def on_test_start(self) -> None:
        """Note which samples this run loads; the next run of the data module loads all again."""
        self._remaining, self.data.resume_from = self.data.remaining, None
        start = torch.tensor(self._remaining.start, device=self.device)
        starts = cast("Tensor", self.all_gather(start)).flatten().tolist()
        expect.that(
            len(set(starts)) == 1,
            "all processes to start from one sample",
            starts,
            "start them with the same output folder",
            RuntimeError,
        )

    def _tables(self) -> dict[str, Tensor]:
        tables = {"top": self.best.top}
        return tables if self.every is None else {**tables, "every": self.every.table}

    def _provenance(self) -> dict[str, Any]:
        return {
            "network_hash": self.network.content_hash,
            "data": self.data.fingerprint if self._data else None,
            "first_sample": self._samples.start,
            "stop_sample": self._samples.stop,
        }

    def _require_order(self, batch: StimulusBatch, batch_idx: int) -> None:
        """Reject samples in another order than the data module's, by which a pass resumes."""
        row = batch_idx * self.data.batch_size + torch.arange(len(batch.sample))
        place = row * self.trainer.world_size + self.trainer.global_rank
        expected = (self._remaining.start + place % len(self._remaining)).tolist()
        expect.that(
            batch.sample.tolist() == expected,
            f"samples {expected} in batch {batch_idx} of process {self.trainer.global_rank}",
            batch.sample.tolist(),
            "leave the data module's order and the Trainer's use_distributed_sampler unchanged",
            RuntimeError,
        )

    def _warn_of_dark_types(self) -> None:
        """Name the items that light cannot reach: every clip is as good as any for them."""
        unreached = {k: self.network.unreached(self.cell_types, [k]) for k in self.positions}
        labelled = zip(self.items, self.labels, strict=True)
        dark = [label for item, label in labelled if item.cell_type in unreached[item.network]]
        names = ", ".join(dark[:10])
        expect.that(
            len(dark) < len(self.items),
            "a path from the photoreceptors to a cell type",
            f"none to {names}",
            "search for other cell types",
        )
        if dark:
            rank_zero_warn(
                f"no path leads from the photoreceptors to {names}: every clip drives them "
                "equally, and the first is reported"
            )


def _nan_without_answer(response: Tensor) -> Tensor:
    return response.masked_fill(response == NO_ANSWER, torch.nan)


def _require_fit(data: StimulusDataModule, network: ResponseModel, protocol: Protocol) -> None:
    """Reject samples that cannot be shown to the network."""
    extent, rendered = network.lattice.extent, data.dataset.lattice.extent
    advice = "render them with that extent"
    expect.that(rendered == extent, f"movies of extent {extent} as the network", rendered, advice)
    expect.that(
        data.dt == protocol.dt,
        f"samples at the protocol's dt of {protocol.dt:g} s",
        f"{data.dt:g} s",
        "set both to the same",
    )
    advice = "move start_sample or stop_sample"
    got = f"start_sample {data.start_sample} and stop_sample {data.stop_sample}"
    expect.that(data.samples, "at least one sample", got, advice)
    for length in sorted(data.index.lengths(data.dt)):
        protocol.readout(length)


def _require_like(name: str, saved: object, table: Tensor) -> None:
    same = isinstance(saved, Tensor) and (saved.dtype, saved.shape) == (table.dtype, table.shape)
    expected = f"{name} as {table.dtype} {tuple(table.shape)} in the checkpoint"
    advice = "it was altered or damaged, remove it to restart"
    expect.that(same, expected, "another", advice)
