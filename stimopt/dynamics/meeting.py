"""Counters by which the threads of a compiled time loop wait for each other, frame by frame."""

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
def count_up(typing: Any, pointer: Any) -> Any:
    """pointer[0] += 1, seen by all threads."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.atomic_rmw("add", args[0], ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(pointer), generate


@intrinsic
def look(typing: Any, pointer: Any, index: Any) -> Any:
    """pointer[index] as other threads left it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "acquire", 8)

    return types.int64(pointer, types.int64), generate


@intrinsic
def give_way(typing: Any) -> Any:
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
def meet(counters, parts, round_):
    """Wait until all parts have come to this round; False if one of them could not start."""
    if parts == 1:
        return True
    count_up(counters)
    spins = 0
    while look(counters, 0) < parts * round_:
        if look(counters, 1) != 0:
            return False
        spins += 1
        # A frame takes microseconds and the parts are about equal, so that a short spin is best,
        # unless the other part has lost its core to another process.
        if spins > 2000:
            give_way()
    return True
