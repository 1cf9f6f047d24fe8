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

from stimopt.dynamics.barrier import wait_for_all
from stimopt.dynamics.blocks import RUNS_AHEAD, WIDTHS
from stimopt.dynamics.padded_grid import LANES
from stimopt.dynamics.simd import (
    FAR,
    NEAR,
    accumulate,
    add,
    add_all,
    at,
    fetch,
    fill,
    from_lanes,
    jitable,
    jitable_closure,
    load,
    multiply_add,
    pointer,
    positive,
    put,
    spread,
    store,
    subtract,
    to_lanes,
    where,
)

FORWARD, TRANSPOSED = -1, 1
"""By how much the place read by a tap grows from tap to tap of a run."""
READ_AHEAD, WRITTEN_AHEAD = 3, 1
"""Rows between the one that is computed and those whose state is fetched into the second-level
cache: the state before the frame, which taps read rows ahead, and the state after it."""


@jitable
def _advance(total, i, old, new, rate, state, gate):
    """One vector: store its gate and move V towards the total."""
    now = load(state, old * LANES)
    put(gate[0], gate[1] + i, positive(now))
    store(state, new * LANES, multiply_add(rate, subtract(total, now), now))


@jitable
def _retreat(total, i, old, new, rate, state, gate):
    """One vector of a g: move it towards a times what came back through the gate."""
    now = load(state, old * LANES)
    total = where(at(gate[0], gate[1] + i), total)
    store(state, new * LANES, multiply_add(rate, subtract(total, now), now))


def _strip(width, direction):
    """A function for one frame of a strip of blocks of so many cells."""
    finish = _advance if direction == FORWARD else _retreat

    @jitable_closure(width, direction)
    def strip(b, stop, plan, rule, drive, light, state, places, gate):
        first_run, length, shift, first_tap, weight = rule
        leak, start, is_lit = drive
        kinds, position, column, first, stride = plan
        old, new, old_ahead, new_ahead = places
        position, column, i = at(position, b), at(column, b), at(first, b)
        for block in range(b, stop):
            kind = at(kinds, block)
            own = position + kind * stride
            fetch(width, NEAR, state, (new + own) * LANES)
            fetch(width, FAR, state, (old_ahead + own) * LANES)
            fetch(width, FAR, state, (new_ahead + own) * LANES)
            s = fill(width, spread(at(start, kind)))
            j = at(first_tap, kind)
            for run in range(at(first_run, kind), at(first_run, kind + 1)):
                place = (old + position + at(shift, run)) * LANES
                n = at(length, run)
                fetch(1, NEAR, state, (old + position + at(shift, run + RUNS_AHEAD)) * LANES)
                if n == 1:
                    s = accumulate(1, direction, s, state, place, weight, j)
                elif n == 2:
                    s = accumulate(2, direction, s, state, place, weight, j)
                elif n == 3:
                    s = accumulate(3, direction, s, state, place, weight, j)
                else:
                    s = accumulate(4, direction, s, state, place, weight, j)
                j += n
            if at(is_lit, kind) != 0:
                s = add_all(s, light, column * LANES)
            rate = spread(at(leak, kind))
            for k in range(width):
                finish(s[k], i + k, old + own + k, new + own + k, rate, state, gate)
            i += width

    return strip


def _strips(widths, direction):
    """A function that runs the strip of the right width."""
    width, strip = widths[0], _strip(widths[0], direction)
    if len(widths) == 1:

        @jitable_closure(width, direction)
        def last(_, *rest):
            strip(*rest)

        return last
    others = _strips(widths[1:], direction)

    @jitable_closure(width, direction)
    def choose(count, *rest):
        if count == width:
            strip(*rest)
        else:
            others(count, *rest)

    return choose


def _frame(direction):
    """A function for one frame of the strips from `low` to before `high`."""
    strips = _strips(WIDTHS, direction)

    @jitable_closure(direction)
    def frame(t, low, high, bounds, count, plan, rule, drive, light, state, places, gate):
        # To and fro: what one frame worked on last is still near when the next begins.
        up = t % 2 == 0
        old, new, row = places
        step = row if up else -row
        places_ahead = old, new, old + READ_AHEAD * step, new + WRITTEN_AHEAD * step
        for number in range(low, high):
            s = number if up else low + high - 1 - number
            b = at(bounds, s)
            stop = at(bounds, s + 1)
            strips(at(count, b), b, stop, plan, rule, drive, light, state, places_ahead, gate)

    return frame


_forward_frame = _frame(FORWARD)
_adjoint_frame = _frame(TRANSPOSED)


@jitable
def _pointers(arrays):
    a, b, c, d, e = arrays
    return pointer(a), pointer(b), pointer(c), pointer(d), pointer(e)


@jitable
def _rows(items, length):
    """Start of each lane's row among rows of so many numbers; lanes left over repeat an item."""
    rows = np.empty(LANES, np.int64)
    for lane in range(LANES):
        rows[lane] = items[min(lane, items.shape[0] - 1)] * length
    return rows


@jitable
def _to_lanes(numbers, rows, start, n, lanes, place):
    """`n` numbers of each row into the lanes of as many vectors."""
    numbers_, rows_, lanes_ = pointer(numbers), pointer(rows), pointer(lanes)
    if n < LANES:
        for lane in range(LANES):
            for k in range(n):
                put(lanes_, (place + k) * LANES + lane, at(numbers_, rows[lane] + start + k))
    else:
        for k in range(0, n, LANES):
            k = min(k, n - LANES)
            to_lanes(numbers_, rows_, start + k, lanes_, (place + k) * LANES)


@jitable
def _from_lanes(lanes, place, n, numbers, rows, start):
    """The reverse of `_to_lanes`."""
    numbers_, rows_, lanes_ = pointer(numbers), pointer(rows), pointer(lanes)
    if n < LANES:
        for lane in range(LANES):
            for k in range(n):
                put(numbers_, rows[lane] + start + k, at(lanes_, (place + k) * LANES + lane))
    else:
        for k in range(0, n, LANES):
            k = min(k, n - LANES)
            from_lanes(lanes_, (place + k) * LANES, numbers_, rows_, start + k)


def forward_items(
    luminance, initial, voltages, final, gates, items, state, rule, drive, blocks, readout, share
):
    """All frames of up to eight items, for a run of strips.

    Args:
        luminance: `(all items, frames, columns)`.
        initial: `(all items, cells)`.
        voltages: written, `(all items, frames, k)`.
        final: written, `(all items, cells)`.
        gates: written, a bit for each lane: V > 0 before each frame, `(frames, cells)`; or one row,
            which all frames write to.
        items: which of all items, `(up to 8,)`; lanes left over repeat the last.
        state: shared by the calls on these items: V before and after a frame in padded order,
            `(2, size)`, with zeros where there is no cell.
        rule: first, length and shift of the runs, first tap of each type, and weight of the taps.
        drive: leak and bias, and whether the type is a photoreceptor, `(types,)` each.
        blocks: arrays of `Blocks`, in the order of its arguments from `kind`, and its stride.
        readout: cells to report, `(all items, k)`.
        share: first strip, one past the last, number of this call and of all calls on the items
            (each in a thread of its own), and two counters at zero that they share.
    """
    leak, bias, is_input = drive
    kind, position, column, cell, count, first, strip, packed, place, _, _, stride, row = blocks
    low, high, _, parts, counters = share
    low_block, high_block = strip[low], strip[high]
    n_frames, n_columns = luminance.shape[1:]
    size, state = state.shape[1] // LANES, state.reshape(-1)
    light = np.empty(n_columns * LANES, state.dtype)
    gates_step = gates.shape[1] if gates.shape[0] > 1 else 0
    any_lit = is_input[kind[low_block:high_block]].any()
    plan = (pointer(kind), pointer(position), pointer(column), pointer(first), stride)
    rule_, drive_ = _pointers(rule), (pointer(leak), pointer(bias), pointer(is_input))
    strip_, count_, counters_ = pointer(strip), pointer(count), pointer(counters)
    state_, light_, gates_ = pointer(state), pointer(light), pointer(gates)
    rows = _rows(items, initial.shape[1])
    for b in range(low_block, high_block):
        own = position[b] + kind[b] * stride
        _to_lanes(initial, rows, cell[b], count[b], state, own)
    lit_rows = _rows(items, n_frames * n_columns)
    for t in range(n_frames):
        if not wait_for_all(counters_, parts, t + 1):
            return
        old = (t % 2) * size
        new = size - old
        gate = (gates_, t * gates_step)
        if any_lit:
            _to_lanes(luminance, lit_rows, t * n_columns, n_columns, light, 0)
        places = (old, new, row)
        _forward_frame(
            t, low, high, strip_, count_, plan, rule_, drive_, light_, state_, places, gate
        )
        for lane in range(items.shape[0]):
            for i in range(readout.shape[1]):
                c = readout[items[lane], i]
                if first[low_block] <= packed[c] < first[high_block]:
                    voltages[items[lane], t, i] = state[(new + place[c]) * LANES + lane]
    last = (n_frames % 2) * size
    for b in range(low_block, high_block):
        own = last + position[b] + kind[b] * stride
        _from_lanes(state, own, count[b], final, rows, cell[b])


def adjoint_items(
    grad_voltages,
    grad_final,
    grad_luminance,
    grad_initial,
    gates,
    items,
    state,
    rule,
    drive,
    blocks,
    readout,
    share,
):
    """The adjoint of `forward_items`; g and a as in `stimopt.dynamics`.

    Args:
        grad_voltages: `(all items, frames, k)`.
        grad_final: a times the derivatives with respect to the last state, `(all items, cells)`.
        grad_luminance: written, `(all items, frames, columns)`.
        grad_initial: written, a times the gradient, `(all items, cells)`.
        gates: as `forward_items` left them, `(frames, cells)`.
        items: as for `forward_items`.
        state: shared by the calls on these items: a g before and after a frame in padded order,
            with zeros where there is no cell.
        rule: of the transposed taps.
        drive: leak, zeros, False for each type, and the numbers of the photoreceptor types.
        blocks: as for `forward_items`.
        readout: as for `forward_items`.
        share: as for `forward_items`.
    """
    leak, nothing, unlit, inputs = drive
    kind, position, column, cell, count, first, strip = blocks[:7]
    packed, place, kinds, columns, stride, row = blocks[7:]
    low, high, part, parts, counters = share
    low_block, high_block = strip[low], strip[high]
    own_cells = (packed, first[low_block], first[high_block])
    n_frames, n_columns = grad_luminance.shape[1:]
    size, state = state.shape[1] // LANES, state.reshape(-1)
    begin, end = n_columns * part // parts, n_columns * (part + 1) // parts
    light = np.empty((end - begin) * LANES, state.dtype)
    plan = (pointer(kind), pointer(position), pointer(column), pointer(first), stride)
    rule_, drive_ = _pointers(rule), (pointer(leak), pointer(nothing), pointer(unlit))
    strip_, count_, counters_ = pointer(strip), pointer(count), pointer(counters)
    state_, light_, gates_ = pointer(state), pointer(light), pointer(gates)
    rows = _rows(items, grad_final.shape[1])
    for b in range(low_block, high_block):
        own = position[b] + kind[b] * stride
        _to_lanes(grad_final, rows, cell[b], count[b], state, own)
    if n_frames > 0:
        _join(state, 0, grad_voltages, n_frames - 1, items, readout, leak, place, kinds, own_cells)
    lit_rows = _rows(items, n_frames * n_columns)
    for step in range(n_frames):
        if not wait_for_all(counters_, parts, step + 1):
            return
        t = n_frames - 1 - step
        old = (step % 2) * size
        new = size - old
        for c in range(begin, end):
            total = spread(nothing[0])
            for i in range(inputs.shape[0]):
                source = old + inputs[i] * stride + columns[c]
                total = add(total, load(state_, source * LANES))
            store(light_, (c - begin) * LANES, total)
        _from_lanes(light, 0, end - begin, grad_luminance, lit_rows, t * n_columns + begin)
        gate = (gates_, t * gates.shape[1])
        places = (old, new, row)
        _adjoint_frame(
            step, low, high, strip_, count_, plan, rule_, drive_, light_, state_, places, gate
        )
        if t > 0:
            _join(state, new, grad_voltages, t - 1, items, readout, leak, place, kinds, own_cells)
    last = (n_frames % 2) * size
    for b in range(low_block, high_block):
        own = last + position[b] + kind[b] * stride
        _from_lanes(state, own, count[b], grad_initial, rows, cell[b])


@jitable
def _join(state, begin, grad_voltages, t, items, readout, leak, place, kinds, own_cells):
    """Add a times the derivatives with respect to what was read out of a frame."""
    packed, low, high = own_cells
    for lane in range(LANES):
        # Also in the lanes that repeat an item, which write its gradients again.
        item = items[min(lane, items.shape[0] - 1)]
        for i in range(readout.shape[1]):
            c = readout[item, i]
            if low <= packed[c] < high:
                grad = leak[kinds[c]] * grad_voltages[item, t, i]
                state[(begin + place[c]) * LANES + lane] += grad
