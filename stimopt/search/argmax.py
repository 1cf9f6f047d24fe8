"""Running top k over a stream of samples: pure merging first, thin torchmetrics around it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from stimopt import expect

RESPONSE, FRAME, SAMPLE, WINDOW = range(4)
"""Positions along the last axis of a packed table."""

NONE = -1
"""Sample, frame and window of an entry that is not there; its response is -inf."""


class TopSamples(NamedTuple):
    """The best samples, best first; entries that are not there have sample -1 and response -inf.

    Args:
        response: peak response, `(networks, types, k)`, float32.
        peak_frame: frame of the peak, int64.
        sample: sample number.
        window: scene window the sample was cut from.
    """

    response: Tensor
    peak_frame: Tensor
    sample: Tensor
    window: Tensor


def pack(response: Tensor, peak_frame: Tensor, sample: Tensor, window: Tensor) -> Tensor:
    """Four arrays of one shape as one, `(..., 4)` int64, the response as the bits of its float32.

    One integer tensor is one state to store and send, and no change of precision of the module
    around it can round a response or a sample number.

    Raises:
        ValueError: if a response is not finite.
    """
    # Adding zero makes -0.0 the 0.0 it is equal to; otherwise their bits would differ.
    single = response.to(torch.float32) + 0.0
    expect.finite("responses", single, "check the network and its step dt")
    return torch.stack(
        [single.view(torch.int32).long(), *(x.long() for x in (peak_frame, sample, window))], dim=-1
    )


def unpack(packed: Tensor) -> TopSamples:
    """The inverse of `pack`."""
    response = packed[..., RESPONSE].to(torch.int32).view(torch.float32)
    return TopSamples(response, packed[..., FRAME], packed[..., SAMPLE], packed[..., WINDOW])


def empty_top(*shape: int) -> Tensor:
    """A packed table without entries, `(*shape, 4)`."""
    lowest = torch.full((*shape, 1), -torch.inf, dtype=torch.float32)
    return torch.cat([lowest.view(torch.int32).long(), torch.full((*shape, 3), NONE)], dim=-1)


def merge_top(candidates: Tensor, k: int, one_per_window: bool = False) -> Tensor:
    """The k best of packed candidates, `(..., c, 4)` to `(..., k, 4)`, best first.

    Ties go to the lowest sample number. A sample that comes twice counts once, so that merging is
    associative, commutative and idempotent: any order, grouping or repetition of the candidates
    ends with the same k.

    Args:
        candidates: packed; entries that are not there are ignored.
        k: number to select.
        one_per_window: of the samples of one window, select only the best.
    """
    order = _best_first(candidates)
    ranked = candidates.gather(-2, order[..., None].expand(*order.shape, 4))
    key = ranked[..., WINDOW if one_per_window else SAMPLE]
    same = (key[..., :, None] == key[..., None, :]) & (key[..., None] != NONE)
    repeated = same.tril(-1).any(-1)
    # Stable, so that the others stay best first.
    first = torch.argsort(repeated.to(torch.int8), dim=-1, stable=True)[..., :k]
    best = ranked.gather(-2, first[..., None].expand(*first.shape, 4))
    nothing = empty_top(1).to(best.device)
    best = torch.where(repeated.gather(-1, first)[..., None], nothing, best)
    missing = k - best.shape[-2]
    if missing > 0:
        best = torch.cat([best, nothing.expand(*best.shape[:-2], missing, 4)], dim=-2)
    return best


def _best_first(candidates: Tensor) -> Tensor:
    """Order by response, falling, then sample number, then frame, `(..., c)`."""
    response, frame, sample, _ = unpack(candidates)
    order = torch.argsort(frame, dim=-1, stable=True)
    for key, falling in ((sample, False), (response, True)):
        step = torch.argsort(key.gather(-1, order), dim=-1, descending=falling, stable=True)
        order = order.gather(-1, step)
    return order


class RunningArgmax(Metric):
    """The top k samples of every network and cell type; memory is O(networks x types x k).

    The answer does not depend on batch size, order, repetition, or on how samples are shared
    among processes, see `merge_top`.

    Args:
        n_networks: number of networks.
        n_types: number of cell types read out.
        k: samples ranked for each.
        one_per_window: rank at most one sample of a window, so that the k are different events.
        **kwargs: as for `torchmetrics.Metric`.

    Raises:
        ValueError: for k below 1.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    top: Tensor

    def __init__(
        self,
        n_networks: int,
        n_types: int,
        k: int = 1,
        one_per_window: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        expect.whole("top_k", k, "1 ranks only the best", at_least=1)
        self.k, self.one_per_window = k, one_per_window
        self.add_state("top", empty_top(n_networks, n_types, k), dist_reduce_fx=self._reduce)

    def update(
        self, response: Tensor, peak_frame: Tensor, sample: Tensor, window: Tensor | None = None
    ) -> None:
        """Take in a batch.

        Args:
            response: peak response of each sample, `(batch, networks, types)`, finite.
            peak_frame: frame of the peak, same shape.
            sample: sample numbers, `(batch,)`, from 0.
            window: window of each sample, `(batch,)`; None makes each sample its own.

        Raises:
            ValueError: for shapes that do not fit, or missing windows where they count.
        """
        expected = (len(sample), *self.top.shape[:2])
        expect.shape("peak responses", response, expected, "pass (batch, networks, types)")
        expect.shape("peak frames", peak_frame, expected, "pass (batch, networks, types)")
        expect.that(
            window is not None or not self.one_per_window,
            "the window of each sample",
            "None with one_per_window",
            "pass them",
        )
        window = sample if window is None else window
        first = min([0, *sample.tolist(), *window.tolist()])
        expect.that(first == 0, "sample and window numbers >= 0", first, "count from 0")
        rows = (x[:, None, None].expand(expected) for x in (sample, window))
        batch = pack(response, peak_frame, *rows).permute(1, 2, 0, 3)
        self.top = merge_top(torch.cat([self.top, batch], dim=2), self.k, self.one_per_window)

    def compute(self) -> TopSamples:
        """The best samples so far, of all processes together."""
        return unpack(self.top)

    def _reduce(self, stacked: Tensor) -> Tensor:
        """Tables of several processes, `(processes, networks, types, k, 4)`, to one."""
        every = torch.cat(list(stacked), dim=2)
        return merge_top(every, self.k, self.one_per_window)


class PeakTable(Metric):
    """Peak responses of all samples, for percentiles; memory is O(samples), unlike the argmax.

    Args:
        n_samples: samples of the pass.
        n_networks: number of networks.
        n_types: number of cell types read out.
        first_sample: number of the first.
        **kwargs: as for `torchmetrics.Metric`.
    """

    full_state_update = False
    table: Tensor

    def __init__(
        self, n_samples: int, n_networks: int, n_types: int, first_sample: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.first_sample = first_sample
        unseen = torch.full((n_samples, n_networks, n_types), -torch.inf)
        self.add_state("table", unseen, dist_reduce_fx="max")

    def update(self, response: Tensor, sample: Tensor) -> None:
        """Take in peak responses `(batch, networks, types)` of samples `(batch,)`."""
        self.table[sample - self.first_sample] = response.to(self.table.dtype)

    def compute(self) -> Tensor:
        """Peak responses `(samples, networks, types)`, -inf for samples not seen."""
        return self.table
