"""Threads of the fused step: a pool of its own, and torch limited to one thread meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

_limited = threading.local()


def step_threads() -> int:
    """Number of threads for a step: as many as torch has, or had before it was limited to one."""
    before: int = getattr(_limited, "threads_before", 0)
    return before or torch.get_num_threads()


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Limit torch's other operations to this thread, while the step uses as many as torch had.

    Torch's OpenMP threads spin on their core for a while after every parallel operation (unless
    OMP_WAIT_POLICY=PASSIVE is set before torch is imported), and on few cores the step of a single
    item takes twice as long beside them. Torch's other operations are a small part of the work.
    """
    if getattr(_limited, "threads_before", 0):  # An outer block does it already.
        yield
        return
    _limited.threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_limited.threads_before)
        _limited.threads_before = 0


class ThreadPool:
    """A pool that grows as needed; the caller's thread always does its share.

    Not Numba's own threads: those abort the process when two Python threads use them at once, or
    after a fork, depending on which threading library is at hand.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start without threads, as a forked child has none of its parent's."""
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._growing = threading.Lock()
        self._together = threading.Lock()

    def each(self, run: Callable[[int], None], items: range, threads: int) -> None:
        """Run every item in so many threads, each of which takes the next item when it is done."""
        waiting = iter(items)

        def work() -> None:
            for item in waiting:
                run(item)

        n_helpers = min(threads, len(items)) - 1
        helpers = [self._submit(threads - 1, work) for _ in range(n_helpers)]
        try:
            work()
        finally:
            for helper in helpers:
                helper.result()

    def together(self, parts: Sequence[Callable[[], None]], counters: Any) -> None:
        """Run parts that wait for each other, all at once.

        One such call at a time: two could each occupy a thread that the other waits for.
        """
        with self._together:
            helpers = []
            try:
                for part in parts[1:]:
                    helpers.append(self._submit(len(parts) - 1, part))
                parts[0]()
            except BaseException:
                counters[1] = 1  # Those that already wait return.
                raise
            finally:
                for helper in helpers:
                    helper.result()

    def _submit(self, size: int, task: Callable[[], None]) -> Future[None]:
        # Locked until the task has its place: another caller may grow the pool, and end this one.
        with self._growing:
            return self._grown(size).submit(task)

    def _grown(self, size: int) -> ThreadPoolExecutor:
        if self._pool is None or self._size < size:
            # The smaller pool finishes its work; its threads then end.
            if self._pool is not None:
                self._pool.shutdown(wait=False)
            self._pool = ThreadPoolExecutor(max(size, 1), thread_name_prefix="stimopt-step")
            self._size = max(size, 1)
        return self._pool


pool = ThreadPool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.forget)
