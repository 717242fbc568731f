"""The state machine: no old value ever passes as fresh, and presence has hysteresis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.flight.state import FlightStateMachine, Presence, PresenceRule
from gearshift.runtime.sinks.sink import FlightState

MAX_AGE = 750
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 400),  # time that passes
        st.one_of(st.none(), st.integers(0, 1500)),  # age of a value, None: nothing comes
        st.one_of(st.none(), st.floats(0, 1)),  # presence
    )
)


@given(EVENTS)
def test_what_the_state_promises_holds(
    events: list[tuple[int, int | None, float | None]],
) -> None:
    machine = FlightStateMachine(MAX_AGE, PresenceRule())
    now, newest = 10_000, None
    for passed, age, presence in events:
        now += passed
        if presence is not None:
            machine.presence.update(presence)
        fresh = False
        if age is not None:
            fresh = machine.on_value(now, now - age)
            assert fresh == (age <= MAX_AGE)
            if fresh:
                newest = max(newest or 0, now - age)
        state = machine.on_time(now)
        if newest is None:
            assert state is FlightState.WAITING
            assert machine.expires_ns is None
        elif now - newest > MAX_AGE:
            assert state is FlightState.LOST
        else:
            assert state in (FlightState.TRACKING, FlightState.ABSENT)
            assert machine.expires_ns == newest + MAX_AGE
            assert machine.on_time(newest + MAX_AGE) is state
            now = max(now, newest + MAX_AGE)
        if fresh and state is not FlightState.LOST:
            somebody = machine.presence.somebody
            assert state is (FlightState.TRACKING if somebody else FlightState.ABSENT)


@given(st.lists(st.floats(0, 1)), st.integers(1, 5))
def test_presence_turns_only_after_enough_in_a_row(values: list[float], frames: int) -> None:
    rule = PresenceRule(appear=0.7, vanish=0.3, frames=frames)
    presence = Presence(rule)
    for index, value in enumerate(values):
        before = presence.somebody
        presence.update(value)
        if presence.somebody is not before:
            recent = values[index + 1 - frames : index + 1]
            assert len(recent) == frames
            limit = 0.3 if before else 0.7
            assert all(v < limit if before else v > limit for v in recent)


RULE = PresenceRule(appear=0.6, vanish=0.4, frames=3)
NOBODY, BETWEEN, SOMEBODY = 0.39, 0.5, 0.61


@pytest.mark.parametrize(
    ("values", "turns"),
    [
        ([NOBODY] * 3, [3]),
        ([NOBODY] * 2 + [0.4] + [NOBODY] * 3, [6]),
        ([NOBODY] * 3 + [SOMEBODY] * 3, [3, 6]),
        ([NOBODY] * 4 + [SOMEBODY] * 2 + [BETWEEN] + [SOMEBODY] * 3, [3, 10]),
        ([NOBODY] * 3 + [0.6] * 5, [3]),
        ([SOMEBODY] * 9 + [BETWEEN] * 9, []),
        ([0.4] * 9, []),
    ],
)
def test_presence_turns_with_the_last_of_enough(values: list[float], turns: list[int]) -> None:
    """turns: after how many values it turns; somebody is there at first."""
    presence = Presence(RULE)
    said = [presence.somebody]
    for value in values:
        presence.update(value)
        said.append(presence.somebody)
    assert said[0] is True
    assert [n for n in range(1, len(said)) if said[n] is not said[n - 1]] == turns


def test_one_is_enough_where_the_rule_says_so() -> None:
    presence = Presence(PresenceRule(appear=0.5, vanish=0.5, frames=1))
    for value, somebody in ((0.5, True), (0.49, False), (0.5, False), (0.51, True)):
        presence.update(value)
        assert presence.somebody is somebody


def test_absent_is_said_of_the_value_after_the_turn_and_tracking_after_the_next() -> None:
    machine = FlightStateMachine(MAX_AGE, RULE)
    states = []
    for now, value in enumerate([NOBODY] * 3 + [SOMEBODY] * 3):
        machine.presence.update(value)
        assert machine.on_value(now, now)
        states.append(machine.on_time(now))
    tracking, absent = FlightState.TRACKING, FlightState.ABSENT
    assert states == [tracking, tracking, absent, absent, absent, tracking]


def test_a_value_of_just_that_age_is_fresh_and_an_older_one_is_not() -> None:
    machine = FlightStateMachine(MAX_AGE, RULE)
    assert not machine.on_value(10_000, 10_000 - MAX_AGE - 1)
    assert machine.state is FlightState.WAITING
    assert machine.on_value(10_000, 10_000 - MAX_AGE)
    assert machine.on_time(10_000) is FlightState.TRACKING
    assert machine.on_time(10_001) is FlightState.LOST


def test_a_rule_may_ask_for_certainty_or_for_nothing() -> None:
    PresenceRule(vanish=0.0, appear=1.0, frames=1)
    PresenceRule(vanish=0.5, appear=0.5)


@pytest.mark.parametrize("bad", [{"appear": 0.2}, {"vanish": -0.1}, {"frames": 0}, {"appear": 2}])
def test_a_rule_that_makes_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="presence"):
        PresenceRule(**bad)  # type: ignore[arg-type]
