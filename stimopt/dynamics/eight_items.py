"""The time loop of the fused step and its adjoint for eight items of one network at once.

The loops are those of `one_item`, with a vector for each cell that has the numbers of the eight
items. A tap then reads whole vectors at aligned places, and what one tap reads for a cell the next
tap of a run reads for its neighbour: `accumulate` reads it once. Each block of neighbouring cells
(see `blocks`) has its sums in registers over all taps of its type. For a block the forward loop is

    s = [bias] * width
    for run in runs of taps that lead to the type:
        for tap in run:
            for k in range(width):
                s[k] += weight[tap] * rectified[position + k + shift[tap]]

The order of each sum is that of `one_item`, and every item has a lane of its own: an item's result
is bit for bit what it is alone.
"""

# What numba compiles has no types for Python, and only some versions of numba have any.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator, misc"

from __future__ import annotations

import numpy as np

from stimopt.dynamics.blocks import AHEAD, WIDTHS
from stimopt.dynamics.padded_grid import LANES
from stimopt.dynamics.simd import (
    accumulate,
    add,
    at,
    fetch,
    fill,
    jitable,
    load,
    meet,
    multiply,
    multiply_add,
    pointer,
    positive,
    put,
    rectify,
    spread,
    store,
    subtract,
    where,
)

FORWARD, TRANSPOSED = -1, 1
"""By how much the place read by a tap grows from tap to tap of a run."""


@jitable
def _advance(total, i, old, new, rate, v, rectified, gate):
    """One vector: store its gate, move V towards the total, store max(V, 0) for the next frame."""
    now = load(v, i * LANES)
    if gate[1] >= 0:
        put(gate[0], gate[1] + i, positive(now))
    now = multiply_add(rate, subtract(total, now), now)
    store(v, i * LANES, now)
    store(rectified, new * LANES, rectify(now))


@jitable
def _retreat(total, i, old, new, rate, g, driven, gate):
    """One vector of g: leak, add what came back through the gate, store a g for the next frame."""
    now = subtract(load(g, i * LANES), load(driven, old * LANES))
    now = add(now, where(at(gate[0], gate[1] + i), total))
    store(g, i * LANES, now)
    store(driven, new * LANES, multiply(rate, now))


def _strip(width, direction):
    """A function for one frame of a strip of blocks of so many cells."""
    finish = _advance if direction == FORWARD else _retreat

    @jitable
    def strip(b, stop, plan, rule, drive, light, state, padded, old, new, gate):
        first_run, length, shift, first_tap, weight = rule
        leak, start, is_lit = drive
        kinds, position, column, first, stride = plan
        position, column, i = at(position, b), at(column, b), at(first, b)
        for block in range(b, stop):
            kind = at(kinds, block)
            s = fill(width, spread(at(start, kind)))
            j = at(first_tap, kind)
            for run in range(at(first_run, kind), at(first_run, kind + 1)):
                place = (old + position + at(shift, run)) * LANES
                n = at(length, run)
                fetch(width, padded, (old + position + at(shift, run + AHEAD)) * LANES)
                if n == 1:
                    s = accumulate(1, direction, s, padded, place, weight, j)
                elif n == 2:
                    s = accumulate(2, direction, s, padded, place, weight, j)
                elif n == 3:
                    s = accumulate(3, direction, s, padded, place, weight, j)
                else:
                    s = accumulate(4, direction, s, padded, place, weight, j)
                j += n
            lit = at(is_lit, kind) != 0
            rate = spread(at(leak, kind))
            own = position + kind * stride
            for k in range(width):
                total = s[k]
                if lit:
                    total = add(total, load(light, (column + k) * LANES))
                finish(total, i + k, old + own + k, new + own + k, rate, state, padded, gate)
            i += width

    return strip


def _strips(widths, direction):
    """A function that runs the strip of the right width."""
    width, strip = widths[0], _strip(widths[0], direction)
    if len(widths) == 1:

        @jitable
        def last(_, *rest):
            strip(*rest)

        return last
    others = _strips(widths[1:], direction)

    @jitable
    def choose(count, *rest):
        if count == width:
            strip(*rest)
        else:
            others(count, *rest)

    return choose


_forward_strips = _strips(WIDTHS, FORWARD)
_adjoint_strips = _strips(WIDTHS, TRANSPOSED)


@jitable
def _rule(rule):
    first, length, shift, first_tap, weight = rule
    return pointer(first), pointer(length), pointer(shift), pointer(first_tap), pointer(weight)


@jitable
def _gather(numbers, items, state, blocks, low, high):
    """Numbers of the items, `(., cells)`, into the lanes of a state; zero in those left over."""
    cell, count, first = blocks
    state_, numbers_ = pointer(state), pointer(numbers)
    for b in range(low, high):
        for lane in range(LANES):
            place = first[b] * LANES + lane
            if lane < items.shape[0]:
                start = items[lane] * numbers.shape[1] + cell[b]
                for k in range(count[b]):
                    put(state_, place + k * LANES, at(numbers_, start + k))
            else:
                for k in range(count[b]):
                    put(state_, place + k * LANES, 0)


@jitable
def _scatter(state, numbers, items, blocks, low, high):
    """The reverse of `_gather`."""
    cell, count, first = blocks
    state_, numbers_ = pointer(state), pointer(numbers)
    for b in range(low, high):
        for lane in range(items.shape[0]):
            place = first[b] * LANES + lane
            start = items[lane] * numbers.shape[1] + cell[b]
            for k in range(count[b]):
                put(numbers_, start + k, at(state_, place + k * LANES))


def forward_items(
    luminance, initial, voltages, final, gates, items, scratch, rule, drive, blocks, readout, share
):
    """All frames of up to eight items, for a run of blocks.

    Args:
        luminance: `(all items, frames, columns)`.
        initial: `(all items, cells)`.
        voltages: written, `(all items, frames, k)`.
        final: written, `(all items, cells)`.
        gates: written, a bit for each lane: V > 0 before each frame, `(frames or 0, cells)`.
        items: which of all items, `(up to 8,)`.
        scratch: shared by the calls on these items: V in packed order, and max(V, 0) before and
            after a frame in padded order, `(2, size)`, with zeros where there is no cell.
        rule: first, length and shift of the runs, first tap of each type, and weight of the taps.
        drive: leak and bias, and whether the type is a photoreceptor, `(types,)` each.
        blocks: kind, position, column, cell, count, first, strip, packed, position_of_column and
            stride; see `Blocks`.
        readout: cells to report, `(all items, k)`.
        share: first block, one past the last, number of this call and of all calls on the items
            (each in a thread of its own), and two counters at zero that they share.
    """
    leak, bias, is_input = drive
    kind, position, column, cell, count, first, strip, packed, _, stride = blocks
    low, high, _, parts, counters = share
    v, rectified = scratch
    n_frames, n_columns = luminance.shape[1:]
    size = rectified.shape[1] // LANES
    light = np.zeros(n_columns * LANES, v.dtype)
    any_lit = (is_input[kind[low:high]] != 0).any()
    plan = (pointer(kind), pointer(position), pointer(column), pointer(first), stride)
    rule_ = _rule(rule)
    drive_ = (pointer(leak), pointer(bias), pointer(is_input))
    v_, rectified_, light_, gates_ = pointer(v), pointer(rectified), pointer(light), pointer(gates)
    luminance_, counters_ = pointer(luminance), pointer(counters)
    _gather(initial, items, v, (cell, count, first), low, high)
    for b in range(low, high):
        for k in range(count[b]):
            place = position[b] + kind[b] * stride + k
            store(rectified_, place * LANES, rectify(load(v_, (first[b] + k) * LANES)))
    for t in range(n_frames):
        if not meet(counters_, parts, t + 1):
            return
        old = (t % 2) * size
        gate = (gates_, t * gates.shape[1] if gates.shape[0] > 0 else -1)
        if any_lit:
            for lane in range(items.shape[0]):
                frame = (items[lane] * n_frames + t) * n_columns
                for c in range(n_columns):
                    light[c * LANES + lane] = at(luminance_, frame + c)
        b = low
        while b < high:
            stop = min(strip[b], high)
            halves = (old, size - old)
            _forward_strips(
                count[b], b, stop, plan, rule_, drive_, light_, v_, rectified_, *halves, gate
            )
            b = stop
        for lane in range(items.shape[0]):
            for i in range(readout.shape[1]):
                place = packed[readout[items[lane], i]]
                if first[low] <= place < first[high]:
                    voltages[items[lane], t, i] = v[place * LANES + lane]
    _scatter(v, final, items, (cell, count, first), low, high)


def adjoint_items(
    grad_voltages,
    grad_final,
    grad_luminance,
    grad_initial,
    gates,
    items,
    scratch,
    rule,
    drive,
    blocks,
    readout,
    share,
):
    """The adjoint of `forward_items`; g and a as in `stimopt.dynamics`.

    Args:
        grad_voltages: `(all items, frames, k)`.
        grad_final: `(all items, cells)`.
        grad_luminance: written, `(all items, frames, columns)`.
        grad_initial: written, `(all items, cells)`.
        gates: as `forward_items` left them.
        items: as for `forward_items`.
        scratch: shared by the calls on these items: g in packed order, and a g before and after a
            frame in padded order, with zeros where there is no cell.
        rule: of the transposed taps.
        drive: leak, and the numbers of the photoreceptor types.
        blocks: as for `forward_items`.
        readout: as for `forward_items`.
        share: as for `forward_items`.
    """
    leak, inputs = drive
    kind, position, column, cell, count, first, strip, packed, position_of_column, stride = blocks
    low, high, part, parts, counters = share
    g, driven = scratch
    n_frames, n_columns = grad_luminance.shape[1:]
    size = driven.shape[1] // LANES
    lanes, nothing = np.zeros_like(g[:LANES]), np.zeros_like(leak)
    plan = (pointer(kind), pointer(position), pointer(column), pointer(first), stride)
    rule_, nothing_ = _rule(rule), pointer(nothing)
    drive_ = (pointer(leak), nothing_, nothing_)
    g_, driven_, gates_ = pointer(g), pointer(driven), pointer(gates)
    lanes_, counters_ = pointer(lanes), pointer(counters)
    _gather(grad_final, items, g, (cell, count, first), low, high)
    # The read-out of a frame joins g before its leak is taken: for the last frame that is here.
    if n_frames > 0:
        _join(g, grad_voltages, n_frames - 1, items, readout, packed, first[low], first[high])
    for b in range(low, high):
        rate = spread(leak[kind[b]])
        for k in range(count[b]):
            place = position[b] + kind[b] * stride + k
            store(driven_, place * LANES, multiply(rate, load(g_, (first[b] + k) * LANES)))
    for step in range(n_frames):
        if not meet(counters_, parts, step + 1):
            return
        t = n_frames - 1 - step
        old = (step % 2) * size
        for c in range(n_columns * part // parts, n_columns * (part + 1) // parts):
            total = spread(nothing[0])
            for i in range(inputs.shape[0]):
                place = old + inputs[i] * stride + position_of_column[c]
                total = add(total, load(driven_, place * LANES))
            store(lanes_, 0, total)
            for lane in range(items.shape[0]):
                grad_luminance[items[lane], t, c] = lanes[lane]
        if t > 0:
            _join(g, grad_voltages, t - 1, items, readout, packed, first[low], first[high])
        gate = (gates_, t * gates.shape[1])
        b = low
        while b < high:
            stop = min(strip[b], high)
            halves = (old, size - old)
            _adjoint_strips(
                count[b], b, stop, plan, rule_, drive_, nothing_, g_, driven_, *halves, gate
            )
            b = stop
    _scatter(g, grad_initial, items, (cell, count, first), low, high)


@jitable
def _join(g, grad_voltages, t, items, readout, packed, low, high):
    """Add the derivatives with respect to what was read out of a frame."""
    for lane in range(items.shape[0]):
        for i in range(readout.shape[1]):
            place = packed[readout[items[lane], i]]
            if low <= place < high:
                g[place * LANES + lane] += grad_voltages[items[lane], t, i]
