"""The sparse step with its loop over frames launched at once, as a CUDA graph.

Not run on a GPU so far. Off CUDA the same loop runs in the same fixed buffers without a graph; that
part is tested: results, the handling of buffers, and that nothing in the loop waits for the device.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stimopt.dynamics.layout import CellLayout
from stimopt.dynamics.sparse import SparseStep

MAX_RECORDED = 8
"""Loops kept at once: forward and adjoint for a few batch shapes. Each holds its own buffers."""

Loop = Callable[..., tuple[Tensor, ...]]


class GraphStep(SparseStep):
    """Records each loop once for its shapes and weights, then replays it with new contents.

    A step of the loop is some ten launches of a few microseconds each, which for few items take
    longer than the work; a graph launches all frames together.
    """

    name = "graph"

    def __init__(self, layout: CellLayout) -> None:
        super().__init__(layout)
        self._recorded: OrderedDict[object, _Recorded] = OrderedDict()

    def _loop(self, loop: Loop, args: tuple[Any, ...]) -> tuple[Tensor, ...]:
        key = (loop, *(_signature(a) for a in args))
        recorded = self._recorded.pop(key, None) or _Recorded(loop, args)
        self._recorded[key] = recorded
        while len(self._recorded) > MAX_RECORDED:
            self._recorded.popitem(last=False)
        return recorded.run(args)


class _Recorded:
    """One loop with inputs and outputs at fixed places."""

    def __init__(self, loop: Loop, args: tuple[Any, ...]) -> None:
        # The matrix is read where it is; holding it also keeps its number from being reused.
        self._args = [a.clone() if _is_dense(a) else a for a in args]
        self._loop = loop
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results: tuple[Tensor, ...] = ()
        device = next(a.device for a in self._args if _is_dense(a))
        if device.type == "cuda":
            self._record(device)

    def _record(self, device: torch.device) -> None:
        # The first run lets cuSPARSE and the allocator set themselves up, which a capture must not.
        with torch.cuda.device(device):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self._loop(*self._args)
            torch.cuda.current_stream().wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._results = self._loop(*self._args)

    def run(self, args: tuple[Any, ...]) -> tuple[Tensor, ...]:
        for held, new in zip(self._args, args, strict=True):
            if _is_dense(held):
                held.copy_(new)
        if self._graph is None:
            self._results = self._loop(*self._args)
        else:
            self._graph.replay()
        # The next replay writes over these.
        return tuple(result.clone() for result in self._results)


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _signature(value: Any) -> object:
    if _is_dense(value):
        return value.shape, value.dtype, value.device
    return id(value) if isinstance(value, Tensor) else value
