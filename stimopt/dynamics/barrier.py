"""A barrier at which the threads of a compiled time loop wait for each other at every frame."""

# What numba compiles has no types for Python, and only some versions of numba have any.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator, misc"

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from stimopt.dynamics.simd import intrinsic, jitable


@intrinsic
def increment(typing: Any, pointer: Any) -> Any:
    """pointer[0] += 1, atomically."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.atomic_rmw("add", args[0], ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(pointer), generate


@intrinsic
def atomic_load(typing: Any, pointer: Any, index: Any) -> Any:
    """pointer[index], with all that was written before it by the thread that wrote it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 8)

    return types.int64(pointer, types.int64), generate


@intrinsic
def yield_core(typing: Any) -> Any:
    """Yield the core to another thread, where the system offers it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if os.name == "posix":
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
            )
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


@jitable
def wait_for_all(counters, parts, round_):
    """Wait until all parts have reached this round; False if one of them could not start.

    Args:
        counters: pointer to two numbers that the parts share: arrivals in all rounds so far, and
            whether a part has failed.
        parts: number of parts, each in a thread of its own.
        round_: number of this round, from 1.
    """
    if parts == 1:
        return True
    increment(counters)
    spins = 0
    while atomic_load(counters, 0) < parts * round_:
        if atomic_load(counters, 1) != 0:
            return False
        spins += 1
        # A frame takes microseconds and the parts are about equal, so a short spin is best, unless
        # the other part has lost its core to another process.
        if spins > 2000:
            yield_core()
    return True
