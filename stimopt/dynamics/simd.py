"""Vector instructions on eight numbers, as intrinsics for Numba."""

# What numba compiles has no types for Python, and only some versions of numba have any.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator, misc"

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import extending, types
from numba.core import cgutils
from numba.core.datamodel import models

from stimopt.dynamics.padded_grid import LANES

CACHE_LINE = 64
"""Bytes; on most processors."""
NEAR, FAR = 3, 2
"""Caches to fetch into: the first-level and the second-level one, as LLVM numbers them."""

intrinsic: Any = extending.intrinsic
literal_intrinsic: Any = extending.intrinsic(prefer_literal=True)
jitable: Any = extending.register_jitable
register_model: Any = extending.register_model


def jitable_closure(*values: Any) -> Any:
    """Decorator like `jitable` for a function that closes over these values, by their names.

    Numba names what it compiles by the function's name and a number that counts within a process.
    Of two closures with one name, compiled and stored by different processes, the linker of a third
    process that loads both may take one for the other, and the loop then writes at wrong places.
    """

    def decorate(function: Any) -> Any:
        function.__qualname__ = "_".join([function.__qualname__, *map(str, values)])
        return jitable(function)

    return decorate


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
    """To the first element of an array, which must be used after the last use of its pointer.

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
        return _spread(builder, args[0])

    return _Vector(number)(number), generate


@intrinsic
def multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """X * y + z, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _multiply_add(builder, *args)

    return x(x, y, z), generate


def _spread(builder: Any, number: Any) -> Any:
    blank = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    first = builder.insert_element(blank, number, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, blank, lanes)


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    suffix = {"float": "f32", "double": "f64"}[str(x.type.element)]
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(x.type, [x.type] * 3), f"llvm.fmuladd.v{LANES}{suffix}"
    )
    return builder.call(function, [x, y, z])


@intrinsic
def add(typing: Any, x: Any, y: Any) -> Any:
    """Lane by lane, x + y."""
    return x(x, y), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def subtract(typing: Any, x: Any, y: Any) -> Any:
    """Lane by lane, x - y."""
    return x(x, y), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def rectify(typing: Any, x: Any) -> Any:
    """max(x, 0); NaN stays NaN, as with torch.relu, so that it shows in the response."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _rectify(builder, args[0])

    return x(x), generate


def _rectify(builder: Any, x: Any) -> Any:
    zeros = _zeros(x)
    return builder.select(builder.fcmp_ordered("<", x, zeros), zeros, x)


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


@literal_intrinsic
def fill(typing: Any, width: Any, vector: Any) -> Any:
    """A tuple of `width` times the same vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.pack_array(builder, [args[1]] * width.literal_value)

    return types.UniTuple(vector, width.literal_value)(width, vector), generate


@intrinsic
def add_all(typing: Any, sums: Any, source: Any, place: Any) -> Any:
    """For all k: sums[k] + the vector at source[place + k * LANES]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[1].dtype
        totals = []
        for k, total in enumerate(cgutils.unpack_tuple(builder, args[0])):
            index = builder.add(args[2], ir.Constant(args[2].type, k * LANES))
            where = _vector_pointer(builder, args[1], context.get_value_type(dtype), index)
            totals.append(builder.fadd(total, builder.load(where, align=dtype.bitwidth // 8)))
        return cgutils.pack_array(builder, totals)

    return sums(sums, source, types.int64), generate


@literal_intrinsic
def accumulate(
    typing: Any, n: Any, step: Any, sums: Any, source: Any, place: Any, weight: Any, j: Any
) -> Any:
    """A run of taps: for i in range(n): for all k: sums[k] += weight[j + i] * x[k + step * i].

    `n` and `step`, which is 1 or -1, are constants, and `sums` is a tuple of vectors. x[k] is the
    vector at source[place + k * LANES], rectified for a step of -1 (voltages; to rectify what is
    read is cheaper than to store it beside them). Each x is read once, and each sum is added to in
    the order of i.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, sums, source, place, weight, j = args
        sums = cgutils.unpack_tuple(builder, sums)
        taps, sign = n.literal_value, step.literal_value
        weights = []
        for i in range(taps):
            index = builder.add(j, ir.Constant(j.type, i))
            weights.append(_spread(builder, builder.load(builder.gep(weight, [index]))))
        size = signature.args[3].dtype.bitwidth // 8
        reads = range(1 - taps, len(sums))[::-1] if sign < 0 else range(len(sums) + taps - 1)
        for read in reads:
            index = builder.add(place, ir.Constant(place.type, read * LANES))
            x = builder.load(
                _vector_pointer(builder, source, weights[0].type.element, index), align=size
            )
            if sign < 0:
                x = _rectify(builder, x)
            for i in range(taps):
                k = read - sign * i
                if 0 <= k < len(sums):
                    sums[k] = _multiply_add(builder, weights[i], x, sums[k])
        return cgutils.pack_array(builder, sums)

    return sums(n, step, sums, source, types.int64, weight, types.int64), generate


@intrinsic
def to_lanes(typing: Any, numbers: Any, rows: Any, start: Any, lanes: Any, place: Any) -> Any:
    """For all lanes and k: lanes[place + k * LANES + lane] = numbers[rows[lane] + start + k]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers, rows, start, lanes, place = args
        _transpose(builder, _rows(builder, numbers, rows, start), _square(builder, lanes, place))
        return context.get_dummy_value()

    return types.void(numbers, rows, types.int64, lanes, types.int64), generate


@intrinsic
def from_lanes(typing: Any, lanes: Any, place: Any, numbers: Any, rows: Any, start: Any) -> Any:
    """The reverse of `to_lanes`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes, place, numbers, rows, start = args
        _transpose(builder, _square(builder, lanes, place), _rows(builder, numbers, rows, start))
        return context.get_dummy_value()

    return types.void(lanes, types.int64, numbers, rows, types.int64), generate


def _rows(builder: Any, numbers: Any, rows: Any, start: Any) -> list[Any]:
    """Pointers to a vector in each row."""
    index = ir.IntType(64)
    begins = [builder.load(builder.gep(rows, [ir.Constant(index, k)])) for k in range(LANES)]
    element = numbers.type.pointee
    return [_vector_pointer(builder, numbers, element, builder.add(b, start)) for b in begins]


def _square(builder: Any, lanes: Any, place: Any) -> list[Any]:
    """Pointers to successive vectors."""
    steps = [ir.Constant(place.type, k * LANES) for k in range(LANES)]
    element = lanes.type.pointee
    return [_vector_pointer(builder, lanes, element, builder.add(place, k)) for k in steps]


def _transpose(builder: Any, sources: list[Any], targets: list[Any]) -> None:
    """Load `LANES` vectors, exchange their rows and columns, and store them."""
    size = {"float": 4, "double": 8}[str(sources[0].type.pointee.element)]
    vectors = [builder.load(source, align=size) for source in sources]
    lanes, i32 = range(LANES), ir.IntType(32)
    step = LANES // 2
    while step:
        # Exchange the upper right with the lower left quarter of every square of 2 * step.
        upper = [j if not j & step else LANES + j - step for j in lanes]
        lower = [j + step if not j & step else LANES + j for j in lanes]
        masks = [ir.Constant(ir.VectorType(i32, LANES), mask) for mask in (upper, lower)]
        for k in (k for k in lanes if not k & step):
            pair = vectors[k], vectors[k + step]
            vectors[k], vectors[k + step] = (builder.shuffle_vector(*pair, m) for m in masks)
        step //= 2
    for vector, target in zip(vectors, targets, strict=True):
        builder.store(vector, target, align=size)


@literal_intrinsic
def fetch(typing: Any, width: Any, level: Any, pointer: Any, index: Any) -> Any:
    """Begin to load `width` vectors at pointer[index] into the cache; any index is allowed.

    `level` is `NEAR` for the first-level cache or `FAR` for the second.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32]),
            "llvm.prefetch.p0i8",
        )
        read, keep, data = (ir.Constant(i32, k) for k in (0, level.literal_value, 1))
        start = builder.bitcast(builder.gep(args[2], [args[3]]), byte)
        n_bytes = width.literal_value * LANES * signature.args[2].dtype.bitwidth // 8
        for line in range(0, n_bytes, CACHE_LINE):
            place = builder.gep(start, [ir.Constant(ir.IntType(64), line)])
            builder.call(function, [place, read, keep, data])
        return context.get_dummy_value()

    return types.void(width, level, pointer, types.int64), generate
