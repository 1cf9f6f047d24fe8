"""The step's threads beside torch's own: a pool, and peace while it works."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

_held = threading.local()


def step_threads() -> int:
    """How many threads a step may take: as many as torch has, or had before it was held to one."""
    count: int = getattr(_held, "count", 0)
    return count or torch.get_num_threads()


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Hold torch's other operations to this thread, while the step keeps as many as torch had.

    Torch's OpenMP threads keep a core busy for about 7 ms after every parallel operation (unless
    OMP_WAIT_POLICY=PASSIVE is set before torch is imported), while the step needs that core: on
    two cores a step of one item takes 30 ms beside them and 15 without. What torch does beside the
    step is a twentieth of the work.
    """
    if getattr(_held, "count", 0):  # held already
        yield
        return
    _held.count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_held.count)
        _held.count = 0


class ThreadPool:
    """A pool that grows to what is asked for; the caller's thread always does its share.

    Not Numba's own threads: those abort the process when two Python threads use them at once, or
    after a fork, depending on which threading library is at hand.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew; a forked child has none of its parent's threads."""
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._growing = threading.Lock()
        self._together = threading.Lock()

    def each(self, run: Callable[[int], None], items: range, threads: int) -> None:
        """Run every item, in as many threads, each taking the next one when it is done."""
        waiting = iter(items)

        def work() -> None:
            for item in waiting:
                run(item)

        helpers = [
            self._grown(threads - 1).submit(work) for _ in range(min(threads, len(items)) - 1)
        ]
        try:
            work()
        finally:
            for helper in helpers:
                helper.result()

    def together(self, parts: Sequence[Callable[[], None]], counters: Any) -> None:
        """Run parts that wait for each other, all at once.

        One such call at a time: two could each hold a thread the other waits for.
        """
        with self._together:
            helpers = []
            try:
                pool = self._grown(len(parts) - 1)
                for part in parts[1:]:
                    helpers.append(pool.submit(part))
                parts[0]()
            except BaseException:
                counters[1] = 1  # those already waiting give up
                raise
            finally:
                for helper in helpers:
                    helper.result()

    def _grown(self, size: int) -> ThreadPoolExecutor:
        with self._growing:
            if self._pool is None or self._size < size:
                # Work given to a smaller pool is finished by it; its threads then end.
                if self._pool is not None:
                    self._pool.shutdown(wait=False)
                self._pool = ThreadPoolExecutor(max(size, 1), thread_name_prefix="stimopt-step")
                self._size = max(size, 1)
            return self._pool


pool = ThreadPool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)
