"""The vector instructions against NumPy, on the values at which they could differ."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from stimopt.dynamics import simd
from stimopt.dynamics.padded_grid import LANES

VALUES = [-np.inf, -1.5, -0.0, 0.0, 2.5, np.inf, np.nan, 1e-3]


@numba.njit
def rectified(x, out):  # type: ignore[no-untyped-def]
    simd.store(simd.pointer(out), 0, simd.rectify(simd.load(simd.pointer(x), 0)))


@numba.njit
def gates(x):  # type: ignore[no-untyped-def]
    return simd.positive(simd.load(simd.pointer(x), 0))


@numba.njit
def chosen(bits, x, out):  # type: ignore[no-untyped-def]
    simd.store(simd.pointer(out), 0, simd.where(bits, simd.load(simd.pointer(x), 0)))


@numba.njit
def line(w, x, z, out):  # type: ignore[no-untyped-def]
    total = simd.multiply_add(
        simd.spread(w), simd.load(simd.pointer(x), 1), simd.load(simd.pointer(z), 0)
    )
    simd.store(simd.pointer(out), 1, total)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rectify_and_gates_treat_zero_and_nan_as_torch_does(dtype: type) -> None:
    x, out = np.array(VALUES, dtype), np.empty(LANES, dtype)
    rectified(x, out)
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    bits = np.unpackbits(np.uint8([gates(x)]), bitorder="little")
    np.testing.assert_array_equal(bits, x > 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_chooses_so_that_infinity_does_not_pass_a_shut_gate(dtype: type) -> None:
    x, out = np.array(VALUES, dtype), np.empty(LANES, dtype)
    for bits in (0, 0b10110100, 255):
        chosen(np.uint8(bits), x, out)
        is_open = np.unpackbits(np.uint8([bits]), bitorder="little").astype(bool)
        np.testing.assert_array_equal(out, np.where(is_open, x, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_multiply_add_loads_and_stores_at_any_place(dtype: type) -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=LANES + 1).astype(dtype), rng.normal(size=LANES).astype(dtype)
    out = np.zeros(LANES + 2, dtype)
    line(dtype(0.3), x, z, out)
    np.testing.assert_allclose(out[1:-1], dtype(0.3) * x[1:] + z, rtol=1e-6)
    assert out[0] == out[-1] == 0
