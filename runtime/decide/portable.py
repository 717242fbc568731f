"""Arithmetic specified to the bit, so that a microcontroller computes the same signals.

Everything is IEEE float32, rounded after each operation, in the order written: no fused
multiply-add (compile C with -ffp-contract=off), no platform `exp`, whose last bit differs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.types import FloatArray

OUTPUT_LIMIT = 1e18
"""An output is valid when its magnitudes sum to less than this, which no NaN does.

A corrupt link delivers 1e38 as readily as NaN; beyond the limit float32 distances would overflow.
"""
# Arrays without axes, which NumPy multiplies by in two thirds of the time of its scalars.
_LOG2_E: FloatArray = np.array(1.44269504, dtype=np.float32)
_LOWEST_EXPONENT: FloatArray = np.array(-126, dtype=np.float32)
# 2^f on [0, 1) as 1 + f q(f), q of degree 4 with q(1) = 1: relative error below 2e-7.
_EXP2: tuple[FloatArray, ...] = tuple(
    np.array(c, dtype=np.float32)
    for c in (0.6931517, 0.24015969, 0.05581672, 0.008993916, 0.0018779412)
)
_ONE: FloatArray = np.array(1, dtype=np.float32)


def exponentials(scores: FloatArray) -> FloatArray:
    """exp(score - largest score) over the last axis, float32 (..., classes); NaN stays NaN.

    t = (score - largest) * log2(e), not below -126; n = floor(t); f = t - n;
    (((((c4 f + c3) f + c2) f + c1) f + c0) f + 1) * 2^n.
    """
    t: FloatArray = np.subtract(scores, scores.max(axis=-1, keepdims=True))
    np.multiply(t, _LOG2_E, out=t)
    np.maximum(t, _LOWEST_EXPONENT, out=t)
    # fmax drops the NaN of a failed row, which has no integer; f keeps it.
    n: FloatArray = np.floor(np.fmax(t, _LOWEST_EXPONENT))
    np.subtract(t, n, out=t)
    y: FloatArray = np.multiply(t, _EXP2[4])
    for coefficient in _EXP2[3::-1]:
        np.add(y, coefficient, out=y)
        np.multiply(y, t, out=y)
    np.add(y, _ONE, out=y)
    return np.ldexp(y, n.astype(np.int32), out=y)


def sequential_sum(values: FloatArray) -> FloatArray:
    """Sum over the last axis from its first element on, float32 (...,).

    `add.accumulate` is sequential by definition, which `add.reduce` is not.
    """
    total: FloatArray = np.add.accumulate(values, axis=-1)[..., -1]
    return total


def softmax(scores: FloatArray) -> FloatArray:
    """Probabilities over the last axis: `exponentials` / their `sequential_sum`, float32."""
    e = exponentials(scores)
    probabilities: FloatArray = np.divide(e, sequential_sum(e)[..., None])
    return probabilities


def softmax_margin(scores: FloatArray) -> FloatArray:
    """p1 - p2 of the two largest softmax probabilities, float32 (...,): e1 / sum - e2 / sum."""
    e = exponentials(scores)
    total = sequential_sum(e)
    largest = np.partition(e, -2, axis=-1)
    first: FloatArray = np.divide(largest[..., -1], total)
    margin: FloatArray = np.subtract(first, np.divide(largest[..., -2], total))
    return margin


_MASK = 0xFFFFFFFF
_MASKS = np.uint64(_MASK)


def _mix(x: int) -> int:
    """The 32-bit finaliser `lowbias32` (C. Wellons)."""
    x ^= x >> 16
    x = x * 0x7FEB352D & _MASK
    x ^= x >> 15
    x = x * 0x846CA68B & _MASK
    return x ^ x >> 16


def _mix_array(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`_mix` of every element; in 64 bits, so that no product overflows."""
    x = x ^ (x >> np.uint64(16))
    x = (x * np.uint64(0x7FEB352D)) & _MASKS
    x = x ^ (x >> np.uint64(15))
    x = (x * np.uint64(0x846CA68B)) & _MASKS
    return x ^ (x >> np.uint64(16))


def counter_uniform(seed: int, index: int | NDArray[np.int64]) -> FloatArray:
    """A uniform number in [0, 1) per index, float32: a hash of (seed, index), both modulo 2^32.

    (mix(index ^ mix(seed + 0x9E3779B9)) >> 8) * 2^-24, all in unsigned 32 bits.
    """
    key = _mix(seed + 0x9E3779B9 & _MASK)
    if isinstance(index, int):
        # One number at a time is five times faster without arrays.
        return np.asarray((_mix(index & _MASK ^ key) >> 8) * 2.0**-24, dtype=np.float32)
    counter = np.bitwise_and(index, _MASK).astype(np.uint64) ^ np.uint64(key)
    top = _mix_array(counter) >> np.uint64(8)
    uniform: FloatArray = np.multiply(top.astype(np.float32), np.float32(2.0**-24))
    return uniform
