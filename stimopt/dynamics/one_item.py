"""The time loop of the fused step and its adjoint for one item, compiled with Numba.

The forward loop, for each cell type and with all columns as one array, is

    for t in range(frames):
        for kind in types:
            total = bias[kind] + (luminance[t] if kind is a photoreceptor)
            for tap in taps that lead to kind:
                total += weight[tap] * rectified[columns of kind + shift[tap]]
            gate[t, kind] = V[kind] > 0
            V[kind] += leak[kind] * (total - V[kind])
        rectified = max(V, 0)

and the adjoint is the same loop from the last frame to the first with the transposed taps. Columns
are worked on in vectors of `LANES` = 8, and the sums of `GROUP` = 8 vectors run over the taps of a
type at once: each run of eight lines below, from index 0 to 7, stands for `for k in range(GROUP)`.
They are written out, and not left to the compiler, for two reasons. The eight sums stay in
registers over all taps of a type, which plain Numba loops do not achieve. And every sum is one
fixed chain of multiply-adds, so that a result does not depend on how types and items are shared
out between threads.
"""

# What numba compiles has no types for Python, and only some versions of numba have any.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator, misc"

from __future__ import annotations

import numpy as np

from stimopt.dynamics.barrier import wait_for_all
from stimopt.dynamics.padded_grid import GROUP, LANES
from stimopt.dynamics.simd import (
    add,
    at,
    jitable,
    load,
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


@jitable
def _places(position, k):
    return (
        at(position, k),
        at(position, k + 1),
        at(position, k + 2),
        at(position, k + 3),
        at(position, k + 4),
        at(position, k + 5),
        at(position, k + 6),
        at(position, k + 7),
    )


@jitable
def _sums(start, source, first, shift, weight, kind, q):
    """Start plus all taps leading to a type, for the eight vectors at places `q`."""
    q0, q1, q2, q3, q4, q5, q6, q7 = q
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = start
    for j in range(at(first, kind), at(first, kind + 1)):
        w = spread(at(weight, j))
        d = source[1] + at(shift, j)
        s0 = multiply_add(w, load(source[0], d + q0), s0)
        s1 = multiply_add(w, load(source[0], d + q1), s1)
        s2 = multiply_add(w, load(source[0], d + q2), s2)
        s3 = multiply_add(w, load(source[0], d + q3), s3)
        s4 = multiply_add(w, load(source[0], d + q4), s4)
        s5 = multiply_add(w, load(source[0], d + q5), s5)
        s6 = multiply_add(w, load(source[0], d + q6), s6)
        s7 = multiply_add(w, load(source[0], d + q7), s7)
    return s0, s1, s2, s3, s4, s5, s6, s7


@jitable
def _advance(total, i, place, rate, v, rectified, gate, mask):
    """One vector: store its gate, move V towards the total, store max(V, 0) for the next frame."""
    now = load(v, i * LANES)
    put(gate[0], gate[1] + i, positive(now))
    now = multiply_add(rate, subtract(total, now), now)
    now = where(at(mask, i), now)
    store(v, i * LANES, now)
    store(rectified, place, rectify(now))


@jitable
def _retreat(total, i, place, old, new, rate, driven, gate):
    """One vector of a g: move it towards a times what came back through the gate.

    Where there is no cell the gate is shut and a g stays zero, except where the end of a row
    overlaps the next, which that row then overwrites.
    """
    now = load(driven, old + place)
    total = where(at(gate[0], gate[1] + i), total)
    store(driven, new + place, multiply_add(rate, subtract(total, now), now))


def forward_item(
    luminance, initial, voltages, final, gates, scratch, rule, drive, grid, readout, share
):
    """All frames of one item, for a run of types.

    Args:
        luminance: `(frames, columns)`.
        initial: `(cells,)`.
        voltages: written, `(frames, k)`.
        final: written, `(cells,)`.
        gates: written, a bit a cell: V > 0 before each frame, `(frames, types * vectors)`; or one
            row, which all frames write to.
        scratch: zeros, shared by the calls on one item: V in packed order, and max(V, 0) before
            and after a frame in padded order, `(2, size)`.
        rule: first, shift and weight of the taps; see `TapTable`.
        drive: leak and bias, and whether the type is a photoreceptor, `(types,)` each.
        grid: position, column_of_lane, mask (flat), lane_of_cell, first_cell and stride; see
            `PaddedGrid`.
        readout: packed places to report, `(k,)`.
        share: first type, one past the last, number of this call and of all calls on the item (each
            in a thread of its own), and two counters at zero that they share.
    """
    leak, bias, is_input = drive
    position, column_of_lane, mask, lane_of_cell, first_cell, stride = grid
    low, high, _, parts, counters = share
    v, rectified = scratch
    n_vectors = position.shape[0]
    width = n_vectors * LANES
    size = rectified.shape[1]
    light = np.zeros_like(v[:width])
    any_lit = is_input[low:high].any()
    for cell in range(first_cell[low], first_cell[high]):
        v[lane_of_cell[cell]] = initial[cell]
    first_, shift_, weight_ = pointer(rule[0]), pointer(rule[1]), pointer(rule[2])
    position_, mask_, light_ = pointer(position), pointer(mask), pointer(light)
    v_, rectified_, counters_ = pointer(v), pointer(rectified), pointer(counters)
    gates_ = pointer(gates)
    gates_step = gates.shape[1] if gates.shape[0] > 1 else 0
    for kind in range(low, high):
        for k in range(n_vectors):
            now = load(v_, kind * width + k * LANES)
            store(rectified_, kind * stride + at(position_, k), rectify(now))
    for t in range(luminance.shape[0]):
        if not wait_for_all(counters_, parts, t + 1):
            return
        old = (t % 2) * size
        new = size - old
        gate = (gates_, t * gates_step)
        if any_lit:
            for lane in range(width):
                if column_of_lane[lane] >= 0:
                    light[lane] = luminance[t, column_of_lane[lane]]
        for kind in range(low, high):
            r = spread(leak[kind])
            b = spread(bias[kind])
            base = new + kind * stride
            for k in range(0, n_vectors, GROUP):
                q = _places(position_, k)
                s = _sums(b, (rectified_, old), first_, shift_, weight_, kind, q)
                if is_input[kind]:
                    s = _lit(s, light_, k * LANES)
                i = kind * n_vectors + k
                _advance(s[0], i, base + q[0], r, v_, rectified_, gate, mask_)
                _advance(s[1], i + 1, base + q[1], r, v_, rectified_, gate, mask_)
                _advance(s[2], i + 2, base + q[2], r, v_, rectified_, gate, mask_)
                _advance(s[3], i + 3, base + q[3], r, v_, rectified_, gate, mask_)
                _advance(s[4], i + 4, base + q[4], r, v_, rectified_, gate, mask_)
                _advance(s[5], i + 5, base + q[5], r, v_, rectified_, gate, mask_)
                _advance(s[6], i + 6, base + q[6], r, v_, rectified_, gate, mask_)
                _advance(s[7], i + 7, base + q[7], r, v_, rectified_, gate, mask_)
        for i in range(readout.shape[0]):
            if low * width <= readout[i] < high * width:
                voltages[t, i] = v[readout[i]]
    for cell in range(first_cell[low], first_cell[high]):
        final[cell] = v[lane_of_cell[cell]]


@jitable
def _lit(s, light, lane):
    """The luminance on top of the sums of eight vectors."""
    return (
        add(s[0], load(light, lane)),
        add(s[1], load(light, lane + LANES)),
        add(s[2], load(light, lane + 2 * LANES)),
        add(s[3], load(light, lane + 3 * LANES)),
        add(s[4], load(light, lane + 4 * LANES)),
        add(s[5], load(light, lane + 5 * LANES)),
        add(s[6], load(light, lane + 6 * LANES)),
        add(s[7], load(light, lane + 7 * LANES)),
    )


def adjoint_item(
    grad_voltages,
    grad_final,
    grad_luminance,
    grad_initial,
    gates,
    scratch,
    rule,
    drive,
    grid,
    readout,
    share,
):
    """The adjoint of `forward_item`; g and a as in `stimopt.dynamics`.

    Args:
        grad_voltages: `(frames, k)`.
        grad_final: a times the derivatives with respect to the last state, `(cells,)`.
        grad_luminance: written, `(frames, columns)`.
        grad_initial: written, a times the gradient, `(cells,)`.
        gates: as `forward_item` left them.
        scratch: zeros, shared by the calls on one item; the second is a g before and after a frame
            in padded order.
        rule: the transposed taps.
        drive: leak, zeros, False for each type, and the numbers of the photoreceptor types.
        grid: as for `forward_item`.
        readout: as for `forward_item`.
        share: as for `forward_item`.
    """
    leak, _, _, inputs = drive
    position, column_of_lane, _, lane_of_cell, first_cell, stride = grid
    low, high, part, parts, counters = share
    _, driven = scratch
    n_frames = grad_voltages.shape[0]
    n_vectors = position.shape[0]
    size = driven.shape[1]
    driven = driven.reshape(-1)
    lanes = np.zeros_like(driven[:LANES])
    for cell in range(first_cell[low], first_cell[high]):
        driven[_place(lane_of_cell[cell], position, stride)] = grad_final[cell]
    if n_frames > 0:
        _join(driven, 0, grad_voltages, n_frames - 1, readout, leak, position, stride, low, high)
    first_, shift_, weight_ = pointer(rule[0]), pointer(rule[1]), pointer(rule[2])
    position_, lanes_ = pointer(position), pointer(lanes)
    driven_, counters_, gates_ = pointer(driven), pointer(counters), pointer(gates)
    zeros = load(lanes_, 0)
    for step in range(n_frames):
        if not wait_for_all(counters_, parts, step + 1):
            return
        t = n_frames - 1 - step
        old = (step % 2) * size
        new = size - old
        gate = (gates_, t * gates.shape[1])
        for k in range(n_vectors * part // parts, n_vectors * (part + 1) // parts):
            total = zeros
            for i in range(inputs.shape[0]):
                place = old + inputs[i] * stride + at(position_, k)
                total = add(total, load(driven_, place))
            store(lanes_, 0, total)
            for lane in range(LANES):
                column = column_of_lane[k * LANES + lane]
                if column >= 0:
                    grad_luminance[t, column] = lanes[lane]
        for kind in range(low, high):
            r = spread(leak[kind])
            base = kind * stride
            for k in range(0, n_vectors, GROUP):
                q = _places(position_, k)
                s = _sums(zeros, (driven_, old), first_, shift_, weight_, kind, q)
                i = kind * n_vectors + k
                _retreat(s[0], i, base + q[0], old, new, r, driven_, gate)
                _retreat(s[1], i + 1, base + q[1], old, new, r, driven_, gate)
                _retreat(s[2], i + 2, base + q[2], old, new, r, driven_, gate)
                _retreat(s[3], i + 3, base + q[3], old, new, r, driven_, gate)
                _retreat(s[4], i + 4, base + q[4], old, new, r, driven_, gate)
                _retreat(s[5], i + 5, base + q[5], old, new, r, driven_, gate)
                _retreat(s[6], i + 6, base + q[6], old, new, r, driven_, gate)
                _retreat(s[7], i + 7, base + q[7], old, new, r, driven_, gate)
        if t > 0:
            _join(driven, new, grad_voltages, t - 1, readout, leak, position, stride, low, high)
    last = (n_frames % 2) * size
    for cell in range(first_cell[low], first_cell[high]):
        grad_initial[cell] = driven[last + _place(lane_of_cell[cell], position, stride)]


@jitable
def _place(lane, position, stride):
    """Padded place of a packed place."""
    vector = lane // LANES
    kind = vector // position.shape[0]
    return position[vector - kind * position.shape[0]] + kind * stride + lane % LANES


@jitable
def _join(driven, begin, grad_voltages, t, readout, leak, position, stride, low, high):
    """Add a times the derivatives with respect to what was read out of a frame."""
    width = position.shape[0] * LANES
    for i in range(readout.shape[0]):
        kind = readout[i] // width
        if low <= kind < high:
            place = begin + _place(readout[i], position, stride)
            driven[place] += leak[kind] * grad_voltages[t, i]
