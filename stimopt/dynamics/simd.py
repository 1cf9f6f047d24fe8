"""Vector instructions on eight numbers, and counters shared by threads, as intrinsics for Numba."""

# What numba compiles has no types for Python, and only some versions of numba have any.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator, misc"

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import extending, types
from numba.core import cgutils
from numba.core.datamodel import models

from stimopt.dynamics.padded_grid import LANES

intrinsic: Any = extending.intrinsic
jitable: Any = extending.register_jitable
register_model: Any = extending.register_model


class _Vector(types.Type):
    """`LANES` numbers in one or two registers."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector{LANES}({dtype})")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Any) -> None:
        element = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, LANES))


def _vector_pointer(builder: Any, pointer: Any, element: Any, index: Any) -> Any:
    vector = ir.VectorType(element, LANES)
    return builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())


def _zeros(vector: Any) -> Any:
    return ir.Constant(vector.type, [0.0] * LANES)


@intrinsic
def pointer(typing: Any, array: Any) -> Any:
    """To the first element.

    Numba counts references to an array at each call and checks its indices for a minus sign; in the
    time loops this more than doubled the time.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def at(typing: Any, pointer: Any, index: Any) -> Any:
    """pointer[index]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(args[0], [args[1]]))

    return pointer.dtype(pointer, types.int64), generate


@intrinsic
def put(typing: Any, pointer: Any, index: Any, number: Any) -> Any:
    """pointer[index] = number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, pointer.dtype), generate


@intrinsic
def load(typing: Any, pointer: Any, index: Any) -> Any:
    """pointer[index : index + LANES]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        place = _vector_pointer(builder, args[0], context.get_value_type(dtype), args[1])
        return builder.load(place, align=dtype.bitwidth // 8)

    return _Vector(pointer.dtype)(pointer, types.int64), generate


@intrinsic
def store(typing: Any, pointer: Any, index: Any, vector: Any) -> Any:
    """pointer[index : index + LANES] = vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        place = _vector_pointer(builder, args[0], context.get_value_type(dtype), args[1])
        builder.store(args[2], place, align=dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vector), generate


@intrinsic
def spread(typing: Any, number: Any) -> Any:
    """One number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        blank = ir.Constant(ir.VectorType(args[0].type, LANES), ir.Undefined)
        first = builder.insert_element(blank, args[0], ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, blank, lanes)

    return _Vector(number)(number), generate


@intrinsic
def multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """X * y + z, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0].type
        suffix = {"float": "f32", "double": "f64"}[str(vector.element)]
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fmuladd.v{LANES}{suffix}",
        )
        return builder.call(function, args)

    return x(x, y, z), generate


@intrinsic
def add(typing: Any, x: Any, y: Any) -> Any:
    """Lane by lane, x + y."""
    return x(x, y), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def subtract(typing: Any, x: Any, y: Any) -> Any:
    """Lane by lane, x - y."""
    return x(x, y), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def multiply(typing: Any, x: Any, y: Any) -> Any:
    """Lane by lane, x * y."""
    return x(x, y), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def rectify(typing: Any, x: Any) -> Any:
    """max(x, 0); NaN stays NaN, as with torch.relu, so that it shows in the response."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zeros = _zeros(args[0])
        return builder.select(builder.fcmp_ordered("<", args[0], zeros), zeros, args[0])

    return x(x), generate


@intrinsic
def positive(typing: Any, x: Any) -> Any:
    """One bit a lane, set where x > 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        above = builder.fcmp_ordered(">", args[0], _zeros(args[0]))
        return builder.bitcast(above, ir.IntType(LANES))

    return types.uint8(x), generate


@intrinsic
def where(typing: Any, bits: Any, x: Any) -> Any:
    """X where the bit is set, else 0: a choice and no product, as 0 times infinity is NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        chosen = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), LANES))
        return builder.select(chosen, args[1], _zeros(args[1]))

    return x(types.uint8, x), generate


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
