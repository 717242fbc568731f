"""The NanoCockpit sink against a Crazyflie at the other end of a pty, byte for byte."""

import os
import select
import struct
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import pytest

from gearshift.firmware_bridge.crazyflie.nanocockpit_sink import (
    NanocockpitUartOptions,
    NanocockpitUartSink,
)
from gearshift.firmware_bridge.crazyflie.nanocockpit_uart import (
    EntropyMessage,
    StateMessage,
    encode,
)
from gearshift.runtime.errors import SinkError, SinkStoppedError
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.sinks.sink_conformance import SINK_CHECKS, SinkCheck, SinkUnderTest
from gearshift.runtime.sinks.sink_registry import find_sink
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Component,
    Estimate,
    NetworkRole,
    Reason,
    StageTimes,
)

from ..waiting import PATIENCE_S, wait_until

pytest.importorskip("serial", reason="pyserial is not installed (extra 'board')")

INFO = FlightInfo(POSE_COMPONENTS, None, 1_700_000_000_000_000_000, 0)
NOTHING = (0, 0, 0)


@dataclass
class Crazyflie:
    """The master side of a pty, raw, as the STM32 sees it."""

    descriptor: int
    port: str

    def state(self, ticks: int) -> None:
        """Send a state with noise around it: the line also carries console text and entropy."""
        state = StateMessage(ticks, NOTHING, NOTHING, NOTHING, 0xC0000000, NOTHING)
        os.write(self.descriptor, b"GAP8?\n!ST" + encode(state) + encode(EntropyMessage(5)))

    def read(self, count: int) -> bytes:
        data = b""
        deadline = time.monotonic() + PATIENCE_S
        while len(data) < count and time.monotonic() < deadline:
            if select.select([self.descriptor], [], [], 0.05)[0]:
                data += os.read(self.descriptor, 4096)
        return data

    def hears_nothing(self) -> bool:
        return not select.select([self.descriptor], [], [], 0.1)[0]


@pytest.fixture
def crazyflie() -> Iterator[Crazyflie]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield Crazyflie(master, os.ttyname(slave))
    for descriptor in (master, slave):
        try:
            os.close(descriptor)
        except OSError:
            continue


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("stamped", [True, False])
def test_conformance(stamped: bool, check: SinkCheck, crazyflie: Crazyflie) -> None:
    message = struct.Struct("<4sI4f" if stamped else "<4s4f")
    tag = bytes.fromhex("90190832" if stamped else "90190831")

    def heard() -> list[tuple[float, ...]]:
        data = b""
        while not crazyflie.hears_nothing():
            data += os.read(crazyflie.descriptor, 4096)
        found = list(message.iter_unpack(data))
        assert all(fields[0] == tag for fields in found)
        return [fields[-4:] for fields in found]

    options = {"port": crazyflie.port, "stamped": stamped}
    check(SinkUnderTest(find_sink("nanocockpit-uart"), options, heard))


@pytest.fixture
def sink(crazyflie: Crazyflie) -> Iterator[NanocockpitUartSink]:
    made = NanocockpitUartSink(NanocockpitUartOptions(port=crazyflie.port))
    made.open(INFO)
    yield made
    made.close()


def report(
    capture_ns: int,
    values: tuple[float, ...] = (2.0, -0.5, 0.25, 1.5),
    state: FlightState = FlightState.TRACKING,
) -> Report:
    estimate = Estimate(
        sequence=1,
        capture_time_ns=capture_ns,
        publish_time_ns=capture_ns + 1,
        components=POSE_COMPONENTS,
        values=values,
        standard_deviation=(0.1,) * 4,
        presence=None,
        answered=NetworkRole.SMALL,
        networks=(NetworkRole.SMALL,),
        signal=0.0,
        threshold=1.0,
        reason=Reason.EASY,
        times=StageTimes(),
    )
    return Report(capture_ns + 1, state, estimate=estimate)


def stamped(ticks: int) -> bytes:
    return bytes.fromhex("90190832") + struct.pack("<I4f", ticks, 2.0, -0.5, 0.25, 1.5)


def written(crazyflie: Crazyflie, sink: NanocockpitUartSink, capture_ns: int) -> bytes:
    sink.write(report(capture_ns))
    return crazyflie.read(24)


def test_bytes_before_any_state(crazyflie: Crazyflie, sink: NanocockpitUartSink) -> None:
    assert written(crazyflie, sink, time.monotonic_ns()) == stamped(0)


def test_the_stamp_is_of_the_last_state_before_the_image(
    crazyflie: Crazyflie, sink: NanocockpitUartSink
) -> None:
    heard: list[int] = [time.monotonic_ns()]
    for ticks in (1000, 1010, 1020):
        crazyflie.state(ticks)
        wait_until(lambda: written(crazyflie, sink, time.monotonic_ns()) == stamped(ticks))  # noqa: B023
        heard.append(time.monotonic_ns())
    for capture_ns, ticks in zip(heard, (0, 1000, 1010, 1020), strict=True):
        assert written(crazyflie, sink, capture_ns) == stamped(ticks)


def test_without_stamps(crazyflie: Crazyflie) -> None:
    sink = NanocockpitUartSink(NanocockpitUartOptions(port=crazyflie.port, stamped=False))
    sink.open(INFO)
    try:
        sink.write(report(0))
        expected = bytes.fromhex("90190831") + struct.pack("<4f", 2.0, -0.5, 0.25, 1.5)
        assert crazyflie.read(20) == expected
    finally:
        sink.close()


@pytest.mark.parametrize(
    "silent",
    [
        report(0, state=FlightState.ABSENT),
        report(0, state=FlightState.LOST),
        report(0, values=(2.0, float("nan"), 0.25, 1.5)),
        Report(0, FlightState.TRACKING),
    ],
)
def test_what_may_not_be_acted_upon_is_not_sent(
    silent: Report, crazyflie: Crazyflie, sink: NanocockpitUartSink
) -> None:
    sink.write(silent)
    assert crazyflie.hears_nothing()


def test_an_unplugged_line_is_an_error_and_comes_back(
    crazyflie: Crazyflie, sink: NanocockpitUartSink
) -> None:
    os.close(crazyflie.descriptor)

    def fails() -> bool:
        try:
            sink.write(report(0))
        except SinkError as error:
            return "serial line" in str(error)
        return False

    wait_until(fails)
    sink.close()
    with pytest.raises(SinkError, match="not open"):
        sink.write(report(0))
    with pytest.raises(SinkError, match="cannot open the serial line"):
        sink.open(INFO)
    sink.close()
    sink.close()


def test_opened_again_it_forgets_the_states(
    crazyflie: Crazyflie, sink: NanocockpitUartSink
) -> None:
    crazyflie.state(7)
    wait_until(lambda: written(crazyflie, sink, time.monotonic_ns()) == stamped(7))
    sink.open(INFO)
    assert written(crazyflie, sink, time.monotonic_ns()) == stamped(0)


def test_networks_that_say_no_pose_are_refused(crazyflie: Crazyflie) -> None:
    sink = NanocockpitUartSink(NanocockpitUartOptions(port=crazyflie.port))
    with pytest.raises(SinkStoppedError, match="sends x, y, z, phi; these networks say depth"):
        sink.open(replace(INFO, components=(Component("depth", "m"),)))


def test_it_is_found_by_name_and_its_options_are_checked() -> None:
    plugin = find_sink("nanocockpit-uart")
    options = msgspec.convert({"port": "/dev/ttyAMA0"}, plugin.options)
    assert isinstance(plugin.make(options), NanocockpitUartSink)
    with pytest.raises(msgspec.ValidationError, match="port"):
        msgspec.convert({}, plugin.options)
