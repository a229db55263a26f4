# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arrays for tests: values that a storage type can hold, routings, and how far a result may be from its exact value.

Values are float64 and exactly representable in their storage type until they are handed to the runtime, so that the
reference computes from what the kernel reads.
"""

import numpy as np

from mohd.weights import from_bf16, to_bf16

TOKENS = (0, 1, 3, 17, 129)
STORAGE = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "i32": np.int32, "i8": np.int8}
SPACING = {"f32": 2.0**-23, "f16": 2.0**-10, "bf16": 2.0**-7}
"""Distance of neighbouring values near 1: a rounding to nearest is off by half of it."""


def to_storage(values, dtype):
    """`values` as the array of `dtype` that the runtime takes; bf16 as bit patterns."""
    return to_bf16(np.asarray(values, np.float32)) if dtype == "bf16" else np.asarray(values).astype(STORAGE[dtype])


def from_storage(array, dtype):
    """What an array of `dtype` holds, in float64; integers as they are."""
    if dtype in ("i32", "i8"):
        return array
    return (from_bf16(array) if dtype == "bf16" else array).astype(np.float64)


def rounded(values, dtype):
    """`values` rounded to `dtype`, in float64."""
    return from_storage(to_storage(values, dtype), dtype)


def normal(rng, shape, dtype="f32", scale=1.0):
    """Random values of `dtype` with standard deviation `scale`."""
    return rounded(scale * rng.standard_normal(shape), dtype)


def dyadic(rng, shape, largest=1.0):
    """Random multiples of 1/8 up to `largest`, exact in every type: their products add up without rounding in f32."""
    bound = int(8 * largest)
    return rng.integers(-bound, bound + 1, shape) / 8


def routing(rng, tokens, n, shared, routed):
    """Random active sets [T, K], ascending, and gates of either sign."""
    draw = np.argsort(rng.random((tokens, n - shared)), -1)[:, :routed] + shared
    prefix = np.broadcast_to(np.arange(shared), (tokens, shared))
    return np.concatenate([prefix, np.sort(draw, -1)], -1).astype(np.int32), normal(rng, (tokens, shared + routed))


def identical_routing(rng, tokens, n, shared, routed):
    """Every token has the last groups."""
    indices, gates = routing(rng, tokens, n, shared, routed)
    indices[:, shared:] = np.arange(n - routed, n)
    return indices, gates


def disjoint_routing(rng, tokens, n, shared, routed):
    """Neighbouring tokens have no routed group in common, as far as there are enough groups."""
    indices, gates = routing(rng, tokens, n, shared, routed)
    if routed:
        start = (np.arange(tokens)[:, None] * routed + np.arange(routed)) % (n - shared)
        indices[:, shared:] = np.sort(start, -1) + shared
    return indices, gates


def allowed_error(expected, dtype, length):
    """How far a result of `dtype` may be from `expected`, elementwise.

    One rounding to the storage type (and one neighbour, as what is rounded has an error of its own), and for `length`
    f32 operations in a row an error of half a spacing each, relative to the largest value of the result: sums may cancel.
    """
    size = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    scale = size.max(initial=0.0)
    narrow = SPACING[dtype] if dtype != "f32" else 0.0
    return narrow * size + (length + 32) * SPACING["f32"] / 2 * scale


def compare(actual, expected, dtype, length):
    """A sentence on the worst element if `actual` is not `expected`, else None. NaN and infinities must be in the same places."""
    if actual.shape != expected.shape:
        return f"shape {actual.shape} is not {expected.shape}"
    if dtype == "i32":
        wrong = actual != expected
        allowed = np.zeros(actual.shape)
    else:
        special = ~np.isfinite(expected) | ~np.isfinite(actual)
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        allowed = allowed_error(expected, dtype, length)
        with np.errstate(invalid="ignore"):
            wrong = np.where(special, ~same, ~(np.abs(actual - expected) <= allowed))
    if not wrong.any():
        return None
    with np.errstate(invalid="ignore"):
        excess = np.where(wrong, np.nan_to_num(np.abs(actual - expected) - allowed, nan=np.inf), -1)
    at = np.unravel_index(np.argmax(excess), actual.shape)
    place = [int(i) for i in at]
    return f"{wrong.sum()} of {wrong.size} elements, at {place} {actual[at]!r} is not {expected[at]!r} within {allowed[at]:.3g}"


ROUNDED = {"bf16": 5e-3, "f16": 1e-3}
"""Relative error (Frobenius norm) that a product may have whose tokens are rounded to a type (docs/performance.md)."""


def compare_rounded(actual, expected, dtype):
    """What is wrong with the result of products whose tokens were rounded to `dtype`, or None."""
    if actual.shape != expected.shape:
        return f"shape {actual.shape} is not {expected.shape}"
    finite = np.isfinite(expected)
    special = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    if not np.all(special | finite) or not np.all(np.isfinite(actual[finite])):
        wrong = tuple(int(i) for i in np.argwhere(np.where(finite, ~np.isfinite(actual), ~special))[0])
        return f"at {list(wrong)} {actual[wrong]} is not {expected[wrong]}"
    error, size = np.linalg.norm(actual[finite] - expected[finite]), np.linalg.norm(expected[finite])
    return None if error <= ROUNDED[dtype] * size else f"relative error {error / size if size else error:.3g}, at most {ROUNDED[dtype]:.3g}"
