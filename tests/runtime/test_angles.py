"""Angles have a fast path in flight; the plain formula is what it has to equal, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gearshift.runtime.decide.angles import AngleWrapper
from gearshift.runtime.decide.policy import wrap_angle
from gearshift.runtime.types import FloatArray

PI = np.float32(math.pi)
TURNS = [float(np.float32(k * math.pi)) for k in range(-5, 6)]
NEAR = [
    float(np.nextafter(np.float32(t), np.float32(t + sign), dtype=np.float32))
    for t in TURNS
    for sign in (-1, 1)
]
angles = st.one_of(
    st.floats(-4, 4, width=32),
    st.floats(2.9375, 3.25, width=32),
    st.floats(-3.25, -2.9375, width=32),
    st.sampled_from([*TURNS, *NEAR, -0.0, 3.0, -3.0]),
    st.floats(-(2.0**20), 2.0**20, width=32),
)
vectors = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float32, n, elements=angles),
        hnp.arrays(np.bool_, n),
    )
)


def plain(values: FloatArray, angular: NDArray[np.bool_]) -> bytes:
    wrapped: FloatArray = np.where(angular, wrap_angle(values), values)
    return wrapped.tobytes()


@given(vectors)
def test_the_fast_path_is_the_plain_one_to_the_bit(
    vector: tuple[FloatArray, NDArray[np.bool_]],
) -> None:
    values, angular = vector
    expected = plain(values, angular)
    wrapper = AngleWrapper(angular)
    one = values.copy()
    wrapper.wrap_in_place(one, np.empty_like(one))  # one vector: looks before it computes
    assert one.tobytes() == expected
    many = np.stack([values, values])
    wrapper.wrap_in_place(many, np.empty_like(many))  # several: computes
    assert many.tobytes() == 2 * expected


@pytest.mark.parametrize("place", [0, 1])
def test_every_angle_is_looked_at(place: int) -> None:
    wrapper = AngleWrapper(np.array([True, True]))
    values = np.zeros(2, dtype=np.float32)
    values[place] = PI
    wrapper.wrap_in_place(values, np.empty_like(values))
    assert values[place] == -PI
    assert values[1 - place] == 0
