"""The channel against a list, and between threads."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.flight.report_queue import Channel, ChannelClosedError

from ...waiting import PATIENCE_S

STEPS = st.lists(
    st.one_of(st.tuples(st.just("put"), st.integers()), st.tuples(st.just("take"), st.just(0)))
)


@given(capacity=st.integers(1, 5), batch=st.integers(1, 5), steps=STEPS)
def test_it_keeps_the_newest_in_order(
    capacity: int, batch: int, steps: list[tuple[str, int]]
) -> None:
    channel: Channel[int] = Channel(capacity, batch=batch)
    model: list[int] = []
    for step, item in steps:
        if step == "put":
            assert channel.put(item) == (len(model) == capacity)
            model = [*model, item][-capacity:]
        else:
            assert channel.take(0) == model
            model = []
        assert len(channel) == len(model)
    channel.close()
    assert channel.put(0) == 1
    if model:
        assert channel.take() == model
    with pytest.raises(ChannelClosedError):
        channel.take()


def test_a_batch_wakes_the_consumer() -> None:
    channel: Channel[int] = Channel(8, batch=3)
    got: list[list[int]] = []
    consumer = threading.Thread(target=lambda: got.append(channel.take()))
    consumer.start()
    for item in range(3):
        assert consumer.is_alive()
        channel.put(item)
    consumer.join(PATIENCE_S)
    assert got == [[0, 1, 2]]


@given(st.integers(0, 3))
def test_what_is_left_is_discarded(count: int) -> None:
    channel: Channel[int] = Channel(3)
    for item in range(count):
        channel.put(item)
    assert channel.close(discard=True) == count
    with pytest.raises(ChannelClosedError):
        channel.take()
    assert channel.close() == 0


def test_a_lossless_channel_passes_everything_on_in_order() -> None:
    channel: Channel[int] = Channel(2, lossless=True)
    got: list[int] = []

    def consume() -> None:
        try:
            while True:
                got.extend(channel.take())
        except ChannelClosedError:
            return

    consumer = threading.Thread(target=consume)
    consumer.start()
    for item in range(5000):
        assert channel.put(item) == 0
    channel.close()
    consumer.join(PATIENCE_S)
    assert got == list(range(5000))


def test_closing_frees_a_producer_that_waits() -> None:
    channel: Channel[int] = Channel(1, lossless=True)
    channel.put(1)
    dropped: list[int] = []
    producers = [threading.Thread(target=lambda: dropped.append(channel.put(2))) for _ in range(3)]
    for producer in producers:
        producer.start()
    assert channel.close(discard=True) == 1
    for producer in producers:
        producer.join(PATIENCE_S)
    assert dropped == [1, 1, 1]
