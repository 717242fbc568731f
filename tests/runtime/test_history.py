from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.decide.history import FlightHistory, History
from gearshift.runtime.decide.policy import PolicyOptions, SignalContext

OPTIONS = PolicyOptions(max_gap_s=0.25)
frame_steps = st.tuples(
    st.sampled_from([0, 33_333_333, 249_999_999, 250_000_001, 3_600_000_000_000]),
    st.sampled_from(["small", "large", "both", "nothing"]),
)


def bits(context: SignalContext) -> dict[str, object]:
    fields = {f.name: getattr(context, f.name) for f in dataclasses.fields(context)}
    index = int(fields.pop("index"))
    for name, value in fields.items():
        assert value.dtype == np.float32, name
    return {"index": index, **{name: value.tobytes() for name, value in fields.items()}}


@given(
    st.lists(frame_steps, max_size=25), st.sampled_from([0, 1_700_000_000_123_456_789, 2**62 + 1])
)
def test_one_flight_is_one_lane(steps: list[tuple[int, str]], start: int) -> None:
    lane, flight = History((), 2, OPTIONS), FlightHistory(2, OPTIONS)
    now, probe = start, np.zeros(2, dtype=np.float32)
    for number, (step, who) in enumerate(steps):
        now += step
        assert bits(lane.context(now, probe)) == bits(flight.look(now, probe))
        values = np.full(2, number, dtype=np.float32)
        accepted, large, both = who != "nothing", who in ("large", "both"), who == "both"
        lane.update(
            now,
            values=values,
            accepted=np.array(accepted),
            answered_large=np.array(large),
            small=values + 1,
            both_ran=np.array(both),
        )
        if accepted:
            flight.update(now, values=values, answered_large=large, small=values + 1, both_ran=both)
        else:
            flight.skip()
    flight.reset()
    lane.reset()
    assert flight.has_previous is False
    assert not flight.any_accepted
    nothing_yet = [flight.context.age, flight.context.frames_since_large, flight.context.interval]
    assert np.isposinf(nothing_yet).all()
    assert bits(lane.context(now, probe)) == bits(flight.look(now, probe))


@given(
    st.lists(
        st.tuples(*[st.sampled_from(["small", "large", "both", "nothing", "absent"])] * 3),
        max_size=20,
    ),
    st.sampled_from([0, 1_700_000_000_123_456_789, 2**62 + 1]),
)
def test_lanes_are_flights_and_those_that_miss_a_frame_do_not_change(
    steps: list[tuple[str, ...]], start: int
) -> None:
    lanes = History((3,), 2, OPTIONS)
    flights = [FlightHistory(2, OPTIONS) for _ in range(3)]
    probe = np.zeros(2, dtype=np.float32)
    for number, who in enumerate(steps):
        # Every lane has a time of its own.
        now = start + 100_000_000 * number + 7_000_000 * np.arange(3, dtype=np.int64)
        values = number + np.arange(6, dtype=np.float32).reshape(3, 2)
        # What an absent lane says means nothing.
        accepted, large, both = (
            np.array([w in said for w in who])
            for said in (
                ("small", "large", "both", "absent"),
                ("large", "both", "absent"),
                ("both", "absent"),
            )
        )
        active = np.array([w != "absent" for w in who])
        lanes.update(
            now,
            values=values,
            accepted=accepted,
            answered_large=large,
            small=values + 1,
            both_ran=both,
            active=None if active.all() else active,
        )
        for i, flight in enumerate(flights):
            if not active[i]:
                continue
            if accepted[i]:
                flight.update(
                    int(now[i]),
                    values=values[i],
                    answered_large=bool(large[i]),
                    small=values[i] + 1,
                    both_ran=bool(both[i]),
                )
            else:
                flight.skip()
        then = start + 100_000_000 * number + 60_000_000
        context = lanes.context(then, probe)
        for i, flight in enumerate(flights):
            alone = bits(flight.look(then, probe))
            assert bits(lane_of(context, i)) == alone
            assert bool(lanes.any_accepted[i]) is flight.any_accepted
            assert lanes.accepted[i].tobytes() == flight.context.accepted.tobytes()


def lane_of(context: SignalContext, i: int) -> SignalContext:
    fields = {f.name: getattr(context, f.name) for f in dataclasses.fields(context)}
    assert fields["index"].dtype == np.int64
    probe = fields.pop("probe")
    return SignalContext(probe=probe, **{n: np.asarray(v[i]) for n, v in fields.items()})


def test_what_a_signal_reads() -> None:
    history = FlightHistory(1, OPTIONS)
    one, two, three = (np.array([v], dtype=np.float32) for v in (1, 2, 3))
    context = history.look(0, one)
    assert np.isnan([context.accepted, context.previous, context.small_at_large]).all()
    assert np.isinf([context.age, context.interval, context.seconds_since_large]).all()
    history.update(0, values=one, answered_large=True, small=three, both_ran=True)
    history.update(100_000_000, values=two, answered_large=False, small=two, both_ran=False)
    history.skip()
    context = history.look(200_000_000, one)
    assert (context.accepted, context.previous, context.small_at_large) == (two, one, three)
    np.testing.assert_allclose([context.age, context.interval], 0.1)
    np.testing.assert_allclose(context.seconds_since_large, 0.2)
    assert context.frames_since_large == 3
    # After a gap there is nothing to compare with, whatever was accepted before it.
    history.update(900_000_000, values=one, answered_large=False, small=one, both_ran=False)
    context = history.look(950_000_000, one)
    assert context.accepted == one
    assert np.isnan(context.previous)
    assert np.isinf(context.interval)


def test_frames_since_large_are_counted_as_long_as_a_flight_lasts() -> None:
    """Past what a byte and what two bytes hold; frames that accept nothing count as well."""
    one = np.ones(1, dtype=np.float32)
    flight, lane = FlightHistory(1, OPTIONS), History((), 1, OPTIONS)
    for frame in range(300):
        now, large, accepted = frame * 33_333_333, frame == 0, frame % 3 != 1
        expected = np.inf if frame == 0 else frame
        assert flight.look(now, one).frames_since_large == expected
        assert lane.context(now, one).frames_since_large == expected
        if accepted:
            flight.update(now, values=one, answered_large=large, small=one, both_ran=large)
        else:
            flight.skip()
        lane.update(
            now,
            values=one,
            accepted=np.array(accepted),
            answered_large=np.array(large),
            small=one,
            both_ran=np.array(large),
        )
    for _ in range(70_000):
        flight.skip()
    context = flight.look(10**12, one)
    assert context.frames_since_large == 70_300
    assert context.index == 70_300
