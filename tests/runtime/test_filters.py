from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.filters import (
    FILTERS,
    Filter,
    Gains,
    make_filter,
    make_flight_filter,
)
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scheduling.scripted import FRAME_NS, scripted_calibration
from gearshift.runtime.types import FloatArray

TRUTH = np.array([1.0, -0.5, 0.2, 3.1], dtype=np.float32)
BIAS = np.array([0.3, -0.1, 0.05, 0.2], dtype=np.float32)
YES, NO = np.array(True), np.array(False)


def filter_of(name: str = "anchor", **parameters: tuple[float, ...]) -> Filter:
    made = make_filter(name, (), calibration_with(name, parameters), 0.5)
    assert made is not None
    return made


def calibration_with(name: str, parameters: dict[str, tuple[float, ...]]) -> Calibration:
    named = {f"{name}.{gain}": values for gain, values in parameters.items()}
    return dataclasses.replace(scripted_calibration(), parameters=named)


def step(
    filter_: Filter, frame: int, small: FloatArray | None, large: FloatArray | None
) -> FloatArray:
    nothing = np.full(4, np.nan, dtype=np.float32)
    accepted = large if large is not None else small if small is not None else nothing
    return filter_.update(
        frame * FRAME_NS,
        accepted,
        nothing if small is None else small,
        nothing if large is None else large,
        small_ran=YES if small is not None else NO,
        large_ran=YES if large is not None else NO,
    )


def angle_error(a: float, b: float) -> float:
    return abs(math.remainder(a - b, 2 * math.pi))


@pytest.mark.parametrize("name", ["anchor", "smooth"])
def test_a_constant_is_published_at_once_and_kept(name: str) -> None:
    filter_ = filter_of(name)
    for frame in range(50):
        values = step(filter_, frame, None, TRUTH)
        np.testing.assert_allclose(values, TRUTH, atol=1e-6)


def test_small_carries_without_its_bias() -> None:
    filter_ = filter_of("anchor")
    biased = TRUTH + BIAS
    step(filter_, 0, biased, TRUTH)
    for frame in range(1, 30):
        values = step(filter_, frame, biased, None)
        np.testing.assert_allclose(values[:3], TRUTH[:3], atol=1e-5)
        assert angle_error(float(values[3]), float(TRUTH[3])) < 1e-5
    plain = filter_of("smooth")
    step(plain, 0, biased, TRUTH)
    for frame in range(1, 30):
        values = step(plain, frame, biased, None)
    np.testing.assert_allclose(values[:3], biased[:3], atol=1e-2)


def test_the_bias_follows_a_slow_drift() -> None:
    filter_ = filter_of("anchor", gamma=(0.7,))
    worst = 0.0
    for frame in range(300):
        drift = (BIAS * math.sin(frame / 60)).astype(np.float32)
        values = step(filter_, frame, TRUTH + drift, TRUTH if frame % 4 == 0 else None)
        worst = max(worst, float(np.abs(values[:3] - TRUTH[:3]).max()))
    assert worst < 0.03


def test_a_constant_velocity_is_followed_without_lag() -> None:
    filter_ = filter_of("smooth", alpha_large=(0.5,), beta_large=(0.1,))
    speed = np.array([1.0, 0.5, 0.0, 2.0], dtype=np.float32)
    for frame in range(200):
        truth = speed * np.float32(frame * FRAME_NS * 1e-9)
        values = step(filter_, frame, None, truth)
    np.testing.assert_allclose(values[:3], truth[:3], atol=1e-3)
    # It has turned twice by then, and the angle stays wrapped.
    assert angle_error(float(values[3]), float(truth[3])) < 1e-3
    assert abs(values[3]) <= math.pi + 1e-6


def test_angles_are_averaged_the_short_way() -> None:
    filter_ = filter_of("smooth", alpha_large=(0.5,), beta_large=(0.0,))
    east = np.array([0, 0, 0, 3.0], dtype=np.float32)
    west = np.array([0, 0, 0, -3.0], dtype=np.float32)
    step(filter_, 0, None, east)
    values = step(filter_, 1, None, west)
    assert angle_error(float(values[3]), math.pi) < 1e-5


def test_a_gap_starts_anew() -> None:
    filter_ = filter_of("anchor")
    step(filter_, 0, TRUTH + BIAS, TRUTH)
    other = np.array([9, 9, 9, 0], dtype=np.float32)
    # 17 frames are 0.57 s: nothing of the old state or bias is left.
    np.testing.assert_array_equal(step(filter_, 17, other, None), other)


def test_frames_without_outputs_leave_the_state() -> None:
    filter_ = filter_of("anchor")
    assert np.isnan(step(filter_, 0, None, None)).all()
    first = step(filter_, 1, None, TRUTH).copy()
    np.testing.assert_array_equal(step(filter_, 2, None, None), first)


def test_gain_tables_follow_the_updates_since_large() -> None:
    filter_ = filter_of(
        "anchor", alpha_small=(0.5,) * 4 + (0.0,) * 4, beta_small=(0.0,), beta_large=(0.0,)
    )
    start, moved = np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.float32)
    step(filter_, 0, start, start)
    np.testing.assert_allclose(step(filter_, 1, moved, None), 0.5)
    np.testing.assert_allclose(step(filter_, 2, moved, None), 0.5)
    np.testing.assert_allclose(step(filter_, 3, moved, None), 0.5)


@pytest.mark.parametrize("bad", [(), (0.1, 0.2, 0.3), (math.nan,)])
def test_gains_that_do_not_fit_are_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"anchor\.gamma"):
        Gains.from_calibration(calibration_with("anchor", {"gamma": bad}), "anchor")


def test_unknown_filters_are_refused() -> None:
    for make in (
        lambda: make_filter("kalman", (), scripted_calibration(), 0.5),
        lambda: make_flight_filter("kalman", scripted_calibration(), 0.5),
    ):
        with pytest.raises(ConfigurationError, match="there are none, anchor, smooth"):
            make()
    assert make_filter("none", (), scripted_calibration(), 0.5) is None
    assert FILTERS[0] == "none"


@given(st.lists(st.sampled_from(["small", "large", "both"]), min_size=1, max_size=40))
def test_the_output_stays_between_what_was_said(ran: list[str]) -> None:
    filter_ = filter_of("smooth", beta_small=(0.0,), beta_large=(0.0,))
    low, high = np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.float32)
    for frame, who in enumerate(ran):
        values = step(
            filter_, frame, None if who == "large" else low, None if who == "small" else high
        )
        assert (values >= -1e-6).all()
        assert (values <= 1 + 1e-6).all()
