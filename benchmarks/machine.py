"""What the machine is, and what it can do: the measured bounds a step is compared to."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

COPY_BYTES = 2**28
"""Far beyond any cache; a copy reads and writes as much."""


def describe() -> dict[str, Any]:
    """Processor, cores, memory and load, without importing anything heavy."""
    return {
        "cpu": _cpu_name(),
        "vector_units": _vector_units(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """Processes that ran or waited to run, mean of the last minute, ourselves included."""
    return round(os.getloadavg()[0], 2)


def multiply_add_peak(threads: int) -> float:
    """The most float32 GFLOP/s reached on so many threads: chains in registers, or a product.

    The chains are twelve independent vector multiply-adds, enough to hide their latency on two
    units; a dense matrix product by the vendor's library does better where vectors can be wider.
    """
    return max(_chain_gflops(threads), _product_gflops())


def copy_bandwidth() -> float:
    """GB/s read and written by a large copy on torch's threads, best of several."""
    import torch

    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / 1e9 / min(_seconds(lambda: target.copy_(source)) for _ in range(7))


def _chain_gflops(threads: int) -> float:
    import numpy as np
    from numba import njit

    from stimopt.dynamics.padded_grid import LANES
    from stimopt.dynamics.simd import add, load, multiply_add, pointer, spread, store

    @njit(nogil=True)
    def chains(values, n):  # type: ignore[no-untyped-def]
        p = pointer(values)
        w, x = spread(np.float32(0.999)), load(p, 0)
        # Each from its own place, or the compiler would see that they are one.
        a0, a1, a2 = load(p, 0), load(p, LANES), load(p, 2 * LANES)
        a3, a4, a5 = load(p, 3 * LANES), load(p, 4 * LANES), load(p, 5 * LANES)
        b0, b1, b2 = load(p, 6 * LANES), load(p, 7 * LANES), load(p, 8 * LANES)
        b3, b4, b5 = load(p, 9 * LANES), load(p, 10 * LANES), load(p, 11 * LANES)
        for _ in range(n):
            a0, a1 = multiply_add(w, a0, x), multiply_add(w, a1, x)
            a2, a3 = multiply_add(w, a2, x), multiply_add(w, a3, x)
            a4, a5 = multiply_add(w, a4, x), multiply_add(w, a5, x)
            b0, b1 = multiply_add(w, b0, x), multiply_add(w, b1, x)
            b2, b3 = multiply_add(w, b2, x), multiply_add(w, b3, x)
            b4, b5 = multiply_add(w, b4, x), multiply_add(w, b5, x)
        a = add(add(add(a0, a1), add(a2, a3)), add(a4, a5))
        store(p, 12 * LANES, add(a, add(add(add(b0, b1), add(b2, b3)), add(b4, b5))))

    n = 4_000_000
    buffers = [np.ones(16 * LANES, dtype=np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            list(pool.map(lambda values: chains(values, n), buffers))

        run()
        best = min(_seconds(run) for _ in range(5))
    return 2 * 12 * LANES * n * threads / best / 1e9


def _product_gflops() -> float:
    import torch

    n = 1024
    a, b = torch.rand(n, n), torch.rand(n, n)
    out = torch.empty(n, n)
    torch.mm(a, b, out=out)
    return 2 * n**3 / 1e9 / min(_seconds(lambda: torch.mm(a, b, out=out)) for _ in range(15))


def _seconds(run: Any) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _cpu_name() -> str:
    return _cpu_field("model name") or platform.processor() or platform.machine()


def _vector_units() -> list[str]:
    flags = set(_cpu_field("flags").split())
    return [name for name in ("sse4_2", "avx", "fma", "avx2", "avx512f") if name in flags]


def _cpu_field(name: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.is_file() else ():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
