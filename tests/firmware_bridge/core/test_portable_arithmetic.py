"""The core's arithmetic against portable.py and policy.py of runtime/decide, by function."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gearshift.runtime.decide.policy import wrap_angle
from gearshift.runtime.decide.portable import counter_uniform, exponentials, softmax, softmax_margin
from gearshift.runtime.engines.integer_network import halve
from gearshift.runtime.types import FloatArray, Image

FLOAT = ctypes.c_float
FLOATS = ctypes.POINTER(ctypes.c_float)
UNSIGNED = ctypes.c_uint32

angles = st.floats(-1e9, 1e9, width=32)
scores = arrays.arrays(
    np.float32,
    st.integers(2, 60),
    elements=st.one_of(
        st.floats(-100, 100, width=32), st.floats(-(2.0**50), 2.0**50, width=32), st.just(0.5)
    ),
)


def pointer(values: FloatArray) -> Any:
    return values.ctypes.data_as(FLOATS)


@pytest.mark.slow
@settings(max_examples=300)
@given(values=scores)
def test_exponentials(core: Any, values: FloatArray) -> None:
    function = core.function("gs_exponential", FLOAT, FLOAT, FLOAT)
    found = [function(value, values.max()) for value in values.tolist()]
    assert np.array(found, np.float32).tobytes() == exponentials(values).tobytes()


@pytest.mark.slow
@settings(max_examples=300)
@given(values=scores)
def test_softmax(core: Any, values: FloatArray) -> None:
    margin = core.function("gs_softmax_margin", FLOAT, FLOATS, UNSIGNED)
    last = core.function("gs_softmax_last", FLOAT, FLOATS, UNSIGNED)
    largest = core.function("gs_argmax", UNSIGNED, FLOATS, UNSIGNED)
    size = len(values)
    assert np.float32(margin(pointer(values), size)) == softmax_margin(values)
    assert np.float32(last(pointer(values), size)) == softmax(values)[-1]
    assert largest(pointer(values), size) == int(values.argmax())


@given(seed=st.integers(0, 2**32 - 1), index=st.integers(0, 2**32 - 1))
def test_uniform_numbers(core: Any, seed: int, index: int) -> None:
    function = core.function("gs_counter_uniform", FLOAT, UNSIGNED, UNSIGNED)
    assert np.float32(function(seed, index)) == counter_uniform(seed, index)


@pytest.mark.slow
@settings(max_examples=300)
@given(angle=st.one_of(angles, st.sampled_from((np.pi, -np.pi, -0.0, 1e-40, 9.42477))))
def test_wrapping(core: Any, angle: float) -> None:
    function = core.function("gs_wrap_angle", FLOAT, FLOAT)
    value = np.array([angle], np.float32)
    assert np.float32(function(value[0])).tobytes() == wrap_angle(value).tobytes()


@settings(max_examples=300)
@given(value=st.floats(width=32))
def test_floor(core: Any, value: float) -> None:
    function = core.function("gs_floor", FLOAT, FLOAT)
    found, expected = np.float32(function(value)), np.floor(np.float32(value))
    assert found == expected or (np.isnan(found) and np.isnan(expected))


@given(
    image=arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda s: (2 * s[0], 2 * s[1])),
    )
)
def test_halving(core: Any, image: Image) -> None:
    height, width = image.shape
    out = np.zeros((height // 2, width // 2), np.uint8)
    function = core.function("gs_halve", None)
    function.argtypes = None
    function(image.ctypes, UNSIGNED(height), UNSIGNED(width), out.ctypes)
    assert np.array_equal(out, halve(image))
