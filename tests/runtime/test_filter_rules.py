"""The filter's rules, written down a second time in plain arithmetic, against both ways it runs.

`AnchorFilter` steps many flights at once, `FlightAnchorFilter` one without allocating: they agree
to the bit, and with the rules of the module's docstring to rounding.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.filters import (
    DEFAULT_GAINS,
    Gains,
    make_filter,
    make_flight_filter,
)
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scheduling.scripted import scripted_calibration
from gearshift.runtime.types import FloatArray

MAX_GAP_S = 0.25
N = 4
ANGULAR = [False, False, False, True]
GAINS = tuple(DEFAULT_GAINS)
# What is rare in a draw of equal chances is a bias that is learnt twice and then used.
WHO = ("small", "both", "small", "both", "large", "nothing")
STEPS_NS = (33_333_333, 100_000_000, 0, 400_000, 1_000_000, 249_999_999, 250_000_100, 10**10)

gain_tables = st.one_of(
    st.just(()),
    st.floats(0, 1, width=32).map(lambda x: (x,)),
    st.integers(1, 3).flatmap(
        lambda rows: st.lists(st.floats(0, 1, width=32), min_size=N * rows, max_size=N * rows).map(
            tuple
        )
    ),
)
frames = st.tuples(
    st.one_of(st.just(STEPS_NS[0]), st.sampled_from(STEPS_NS)),
    st.sampled_from(WHO),
    st.lists(st.floats(-3, 3, width=32), min_size=2 * N, max_size=2 * N),
)


def calibration_with(name: str, tables: dict[str, tuple[float, ...]]) -> Calibration:
    parameters = {f"{name}.{gain}": table for gain, table in tables.items() if table}
    return dataclasses.replace(
        scripted_calibration(), parameters=parameters, angular=np.array(ANGULAR)
    )


class Rules:
    """The docstring of `filters`, component by component, in double precision."""

    def __init__(self, name: str, tables: dict[str, tuple[float, ...]]) -> None:
        self.tables = {
            gain: tables.get(gain) or (default,) for gain, default in DEFAULT_GAINS.items()
        }
        self.use_bias = name == "anchor"
        self.value: list[float] | None = None
        self.velocity = [0.0] * N
        self.bias: list[float] | None = None
        self.time = 0
        self.since_large = 0
        self.nearest_half_turn = math.inf

    def wrap(self, value: float, component: int) -> float:
        if not ANGULAR[component]:
            return value
        value = math.remainder(value, 2 * math.pi)
        self.nearest_half_turn = min(self.nearest_half_turn, math.pi - abs(value))
        return value

    def gain(self, name: str, component: int, k: int) -> float:
        table = self.tables[name]
        if len(table) == 1:
            return table[0]
        return table[N * (min(k, len(table) // N) - 1) + component]

    def update(self, time_ns: int, who: str, small: list[float], large: list[float]) -> list[float]:
        if who == "nothing":
            return self.value or [math.nan] * N
        dt = (time_ns - self.time) * 1e-9
        k = self.since_large + 1
        accepted = small if who == "small" else large
        if self.value is None or float(np.float32(dt)) > MAX_GAP_S:
            self.value = [self.wrap(accepted[i], i) for i in range(N)]
            self.velocity, self.bias = [0.0] * N, None
        else:
            kind = "small" if who == "small" else "large"
            for i in range(N):
                bias = self.bias[i] if self.bias else 0.0
                measured = small[i] - bias if who == "small" else accepted[i]
                predicted = self.value[i] + self.velocity[i] * dt
                error = self.wrap(measured - predicted, i)
                self.value[i] = self.wrap(predicted + self.gain(f"alpha_{kind}", i, k) * error, i)
                self.velocity[i] += self.gain(f"beta_{kind}", i, k) / max(dt, 1e-3) * error
        if self.use_bias and who == "both":
            new = []
            for i in range(N):
                bias = self.bias[i] if self.bias else 0.0
                gamma = self.gain("gamma", i, k) if self.bias else 1.0
                new.append(self.wrap(bias + gamma * self.wrap(small[i] - large[i] - bias, i), i))
            self.bias = new
        self.time = time_ns
        self.since_large = 0 if who in ("large", "both") else self.since_large + 1
        return list(self.value)


def accepted_of(who: str, small: FloatArray, large: FloatArray) -> FloatArray:
    return small if who == "small" else large


@pytest.mark.parametrize("name", ["anchor", "smooth"])
@settings(max_examples=40)
@given(
    tables=st.fixed_dictionaries(dict.fromkeys(GAINS, gain_tables)),
    steps=st.lists(st.tuples(frames, frames), min_size=1, max_size=15),
    start=st.sampled_from([0, 10**9, 2**61]),
)
def test_many_flights_are_filtered_as_one_by_one(
    name: str,
    tables: dict[str, tuple[float, ...]],
    steps: list[tuple[tuple[int, str, list[float]], ...]],
    start: int,
) -> None:
    calibration = calibration_with(name, tables)
    lanes = make_filter(name, (2,), calibration, MAX_GAP_S)
    flights = [make_flight_filter(name, calibration, MAX_GAP_S) for _ in range(2)]
    assert lanes is not None
    for _ in range(2):
        now = np.full(2, start, dtype=np.int64)
        last = [np.full(N, np.nan, dtype=np.float32)] * 2
        for step in steps:
            now = now + np.array([frame[0] for frame in step])
            both = np.array([frame[2] for frame in step], dtype=np.float32).reshape(2, 2, N)
            small, large = both[:, 0], both[:, 1]
            who = [frame[1] for frame in step]
            accepted = np.stack(
                [accepted_of(w, s, x) for w, s, x in zip(who, small, large, strict=True)]
            )
            together = lanes.update(
                now,
                accepted,
                small,
                large,
                small_ran=np.array([w in ("small", "both") for w in who]),
                large_ran=np.array([w in ("large", "both") for w in who]),
            )
            assert together.dtype == np.float32
            for i, flight in enumerate(flights):
                assert flight is not None
                if who[i] != "nothing":
                    last[i] = flight.update(
                        int(now[i]),
                        accepted[i],
                        small[i],
                        large[i],
                        small_ran=who[i] in ("small", "both"),
                        large_ran=who[i] in ("large", "both"),
                    ).copy()
                assert together[i].tobytes() == last[i].tobytes()
        # The second time, after a reset, nothing is left of the first.
        lanes.reset()
        for flight in flights:
            assert flight is not None
            flight.reset()


@pytest.mark.parametrize("name", ["anchor", "smooth"])
@settings(max_examples=40)
@given(
    tables=st.fixed_dictionaries(dict.fromkeys(GAINS, gain_tables)),
    steps=st.lists(frames, min_size=4, max_size=10),
)
def test_the_filter_follows_its_rules(
    name: str, tables: dict[str, tuple[float, ...]], steps: list[tuple[int, str, list[float]]]
) -> None:
    # A velocity that runs away is no case of interest: rounding grows with it.
    for gain in ("beta_large", "beta_small"):
        tables[gain] = tuple(0.05 * x for x in tables[gain])
    filter_ = make_filter(name, (), calibration_with(name, tables), MAX_GAP_S)
    rules = Rules(name, tables)
    assert filter_ is not None
    now = 10**9
    for step_ns, who, values in steps:
        now += max(step_ns, 400_000)
        small, large = (np.array(v, dtype=np.float32) for v in (values[:N], values[N:]))
        found = filter_.update(
            now,
            accepted_of(who, small, large),
            small,
            large,
            small_ran=np.array(who in ("small", "both")),
            large_ran=np.array(who in ("large", "both")),
        )
        expected = rules.update(now, who, values[:N], values[N:])
        if rules.nearest_half_turn < 1e-2:
            # There rounding decides which way round the next step goes.
            return
        off = [
            math.remainder(float(f) - e, 2 * math.pi) if angle else float(f) - e
            for f, e, angle in zip(found, expected, ANGULAR, strict=True)
        ]
        if rules.value is None:
            assert np.isnan(off).all()
            continue
        speed = 1 + max(abs(v) for v in rules.velocity)
        np.testing.assert_allclose(off, 0, atol=2e-4 * speed)


def test_gains_are_read_by_name_and_the_rest_are_the_defaults() -> None:
    tables = {"gamma": (0.5,), "alpha_small": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)}
    gains = Gains.from_calibration(calibration_with("anchor", tables), "anchor")
    assert gains.gamma.tolist() == [[0.5] * N]
    np.testing.assert_allclose(gains.alpha_small, [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
    for gain, default in (("alpha_large", 0.7), ("beta_large", 0), ("beta_small", 0)):
        table = getattr(gains, gain)
        assert table.dtype == np.float32
        np.testing.assert_allclose(table, [[default] * N])
    # Another filter's gains are not its own.
    other = Gains.from_calibration(calibration_with("anchor", tables), "smooth")
    np.testing.assert_allclose(other.gamma, [[0.4] * N])
    np.testing.assert_allclose(other.alpha_small, [[0.3] * N])


@pytest.mark.parametrize("size", [2, 3, 5, 9])
def test_how_many_gains_there_are_is_said(size: int) -> None:
    calibration = calibration_with("smooth", {"gamma": (0.5,) * size})
    with pytest.raises(
        ConfigurationError,
        match=rf"^parameter smooth\.gamma has {size} values; it needs 1 or rows of 4, all finite$",
    ):
        make_flight_filter("smooth", calibration, MAX_GAP_S)


@pytest.mark.parametrize("name", ["anchor", "smooth"])
def test_a_negative_zero_stays_one_without_a_velocity(name: str) -> None:
    """Where 0 were added to it in a sweep alone, swept would not be flown to the bit."""
    zero, no = np.full(N, -0.0, dtype=np.float32), np.array(False)
    calibration = calibration_with(name, {"alpha_large": (0.0,)})
    lanes = make_filter(name, (), calibration, MAX_GAP_S)
    flight = make_flight_filter(name, calibration, MAX_GAP_S)
    assert lanes is not None
    assert flight is not None
    below = np.full(N, -1, dtype=np.float32)
    for now, values in ((0, zero), (10**8, below)):
        alone = flight.update(now, values, values, values, small_ran=False, large_ran=True)
        swept = lanes.update(now, values, values, values, small_ran=no, large_ran=~no)
        assert np.signbit(alone[:3]).all()
        assert swept.tobytes() == alone.tobytes()


def test_the_bias_is_learnt_at_once_and_then_followed() -> None:
    """Small is 1 too large, then 2: of the second step, gamma's share is believed."""
    calibration = calibration_with("anchor", {"gamma": (0.25,), "alpha_small": (0.5,)})
    flight = make_flight_filter("anchor", calibration, MAX_GAP_S)
    lanes = make_filter("anchor", (), calibration, MAX_GAP_S)
    assert flight is not None
    assert lanes is not None
    large = np.zeros(N, dtype=np.float32)
    for reset in (False, True):
        if reset:
            flight.reset()
            lanes.reset()
        for i, (said, both, expected) in enumerate(
            (
                (1.0, True, 0.0),
                # The bias is 1: this is 0.
                (1.0, False, 0.0),
                # The bias becomes 1 + (2 - 1) / 4.
                (2.0, True, 0.0),
                (2.25, False, 0.5),
                # 1.25 + (0.25 - 1.25) / 4 is 1; large pulls 0.5 to 0.15.
                (0.25, True, 0.15),
                (1.15, False, 0.15),
            )
        ):
            small = np.full(N, said, dtype=np.float32)
            accepted = large if both else small
            alone = flight.update(i * 10**8, accepted, small, large, small_ran=True, large_ran=both)
            swept = lanes.update(
                *(i * 10**8, accepted, small, large),
                small_ran=np.array(True),
                large_ran=np.array(both),
            )
            assert alone.tolist() == pytest.approx([expected] * N, abs=1e-6)
            assert swept.tobytes() == alone.tobytes()


def test_only_the_anchor_learns_a_bias() -> None:
    small, large = np.full(N, 1.0, dtype=np.float32), np.zeros(N, dtype=np.float32)
    found = {}
    for name in ("anchor", "smooth"):
        flight = make_flight_filter(name, calibration_with(name, {}), MAX_GAP_S)
        assert flight is not None
        flight.update(0, large, small, large, small_ran=True, large_ran=True)
        flight.update(10**8, small, small, large, small_ran=True, large_ran=False)
        found[name] = flight.update(
            2 * 10**8, small, small, large, small_ran=True, large_ran=False
        ).tolist()
    assert found["anchor"] == [0.0] * N
    assert found["smooth"] == pytest.approx([1 - 0.7**2] * N)


def test_a_gap_is_longer_than_max_gap_to_the_float() -> None:
    one, two = np.ones(N, dtype=np.float32), np.full(N, 2.0, dtype=np.float32)
    for gap_ns, expected in ((250_000_000, 1.7), (250_000_100, 2.0)):
        flight = make_flight_filter("smooth", calibration_with("smooth", {}), MAX_GAP_S)
        lanes = make_filter("smooth", (), calibration_with("smooth", {}), MAX_GAP_S)
        assert flight is not None
        assert lanes is not None
        flight.update(0, one, one, one, small_ran=False, large_ran=True)
        found = flight.update(gap_ns, two, one, two, small_ran=False, large_ran=True)
        assert found.tolist() == pytest.approx([expected] * N)
        yes, no = np.array(True), np.array(False)
        lanes.update(0, one, one, one, small_ran=no, large_ran=yes)
        found = lanes.update(gap_ns, two, one, two, small_ran=no, large_ran=yes)
        assert found.tolist() == pytest.approx([expected] * N)
