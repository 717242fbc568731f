"""MAVLink as pymavlink's own parser hears it, over a real socket and a real pty."""

from __future__ import annotations

import math
import os
import select
import socket
import tty
from collections.abc import Iterator
from typing import Any

import pytest
from pymavlink.dialects.v20 import common

from gearshift.runtime.errors import SinkError
from gearshift.runtime.sinks.mavlink import COMPONENT, Mavlink, MavlinkOptions
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.sinks.sink_conformance import report
from gearshift.runtime.types import POSE_COMPONENTS, Component

INFO = FlightInfo(POSE_COMPONENTS, None, 0, 0)
TRACKING, LOST, ABSENT = FlightState.TRACKING, FlightState.LOST, FlightState.ABSENT
COMMANDS = {"COMMAND_LONG", "COMMAND_INT", "MISSION_ITEM_INT", "MANUAL_CONTROL"}


@pytest.fixture
def ground_station() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        yield listener


def to(listener: socket.socket) -> str:
    return f"udp:127.0.0.1:{listener.getsockname()[1]}"


def heard(listener: socket.socket) -> list[Any]:
    """Everything sent so far, parsed."""
    parser = common.MAVLink(None)
    listener.setblocking(False)
    messages: list[Any] = []
    while True:
        try:
            messages += parser.parse_buffer(listener.recv(2048)) or []
        except BlockingIOError:
            return messages


def fly(listener: socket.socket, reports: list[Report], **options: Any) -> list[Any]:
    sink = Mavlink(MavlinkOptions(to=to(listener), **options))
    sink.open(INFO)
    for each in reports:
        sink.write(each)
    sink.close()
    sink.close()
    return heard(listener)


def of_kind(messages: list[Any], kind: str) -> list[Any]:
    return [message for message in messages if message.get_type() == kind]


def test_the_person_is_where_the_estimate_says_in_frd(ground_station: socket.socket) -> None:
    (target,) = of_kind(fly(ground_station, [report(0)]), "LANDING_TARGET")
    assert (target.x, target.y, target.z) == (2.0, -0.5, 0.25)
    assert target.position_valid == 1
    assert target.frame == common.MAV_FRAME_BODY_FRD == 12
    assert target.distance == pytest.approx(math.sqrt(4 + 0.25 + 0.0625))
    assert target.angle_x == pytest.approx(math.atan2(-0.5, 2))
    assert target.angle_y == pytest.approx(math.atan2(0.25, 2))
    assert target.time_usec == 1_000_000
    assert (target.get_srcSystem(), target.get_srcComponent()) == (1, COMPONENT)
    w, _, _, z = target.q
    # phi = 0.3 in FLU is a heading of pi + 0.3 to the left of the vehicle's own.
    assert math.remainder(2 * math.atan2(z, w) + math.pi + 0.3, 2 * math.pi) == pytest.approx(
        0, abs=1e-6
    )


def test_facing_the_drone_is_opposite_its_own_heading(ground_station: socket.socket) -> None:
    (target,) = of_kind(fly(ground_station, [report(0, values=(1, 0, 0, 0))]), "LANDING_TARGET")
    assert abs(target.q[3]) == pytest.approx(1)


@pytest.mark.parametrize("state", [LOST, ABSENT, FlightState.WAITING])
def test_nothing_is_said_of_a_person_who_is_not_there(
    ground_station: socket.socket, state: FlightState
) -> None:
    reports = [report(0, state), Report(5_000_000_000, state)]
    assert of_kind(fly(ground_station, reports), "LANDING_TARGET") == []
    flagged = of_kind(fly(ground_station, reports, when_invalid="flag"), "LANDING_TARGET")
    assert [(m.position_valid, m.x, m.y, m.z, m.distance) for m in flagged] == [(0,) * 5] * 2


def test_no_value_that_is_not_a_number_leaves(ground_station: socket.socket) -> None:
    reports = [report(0, values=(math.nan,) * 4), report(1, values=(1, math.inf, 0, 0))]
    messages = fly(ground_station, reports, when_invalid="flag", heading=True)
    for message in of_kind(messages, "LANDING_TARGET"):
        assert message.position_valid == 0
    assert of_kind(messages, "NAMED_VALUE_FLOAT") == []


def test_one_heartbeat_a_second_and_a_word_when_the_state_changes(
    ground_station: socket.socket,
) -> None:
    reports = [report(i, TRACKING if i < 60 else LOST) for i in range(90)]
    messages = fly(ground_station, reports)
    heartbeats = of_kind(messages, "HEARTBEAT")
    assert len(heartbeats) == 3
    assert {m.type for m in heartbeats} == {common.MAV_TYPE_ONBOARD_CONTROLLER}
    assert [m.system_status for m in heartbeats] == [
        common.MAV_STATE_ACTIVE,
        common.MAV_STATE_ACTIVE,
        common.MAV_STATE_STANDBY,
    ]
    said = [m.text for m in of_kind(messages, "STATUSTEXT")]
    assert said == ["gearshift: tracking", "gearshift: lost"]


def test_it_never_commands_the_vehicle(ground_station: socket.socket) -> None:
    states = [*FlightState] * 20
    reports = [report(i, state) for i, state in enumerate(states)]
    messages = fly(ground_station, reports, when_invalid="flag", heading=True)
    kinds = {message.get_type() for message in messages}
    assert kinds == {"HEARTBEAT", "LANDING_TARGET", "STATUSTEXT", "NAMED_VALUE_FLOAT"}
    assert not kinds & COMMANDS
    sequence = [message.get_seq() for message in messages]
    assert sequence == [number % 256 for number in range(len(sequence))]


def test_other_frame_and_heading_by_option(ground_station: socket.socket) -> None:
    messages = fly(ground_station, [report(0)], frame="local-frd", heading=True, system=7)
    (target,) = of_kind(messages, "LANDING_TARGET")
    assert target.frame == common.MAV_FRAME_LOCAL_FRD
    (phi,) = of_kind(messages, "NAMED_VALUE_FLOAT")
    assert (phi.name, phi.value) == ("phi", pytest.approx(0.3))
    assert {m.get_srcSystem() for m in messages} == {7}


def test_nobody_listening_is_no_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        target = to(closed)
    sink = Mavlink(MavlinkOptions(to=target))
    sink.open(INFO)
    for index in range(5):
        sink.write(report(index))
    sink.close()


def test_over_a_serial_line_that_goes_away_and_comes_back() -> None:
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    sink = Mavlink(MavlinkOptions(to=os.ttyname(slave), baud=921_600))
    sink.open(INFO)
    sink.write(report(0))
    parser = common.MAVLink(None)
    targets: list[Any] = []
    while not targets:  # the kernel hands over the bytes when it pleases
        assert select.select([master], [], [], 5)[0]
        targets = of_kind(parser.parse_buffer(os.read(master, 4096)) or [], "LANDING_TARGET")
    assert targets[0].x == 2.0
    os.close(master)
    os.close(slave)

    def go_on() -> None:
        for index in range(1, 20):
            sink.write(report(index))

    with pytest.raises(SinkError, match="MAVLink to /dev/pts"):
        go_on()
    sink.close()
    with pytest.raises(SinkError, match="is closed"):
        sink.write(report(20))
    master, slave = os.openpty()
    tty.setraw(slave)
    sink = Mavlink(MavlinkOptions(to=os.ttyname(slave)))
    sink.open(INFO)
    sink.write(report(21))
    assert os.read(master, 4096)
    sink.close()
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/dev/no-such-port", "no-such-port"),
        ("udp:127.0.0.1:port", "write udp:HOST:PORT"),
        ("udp:127.0.0.1", "write udp:HOST:PORT"),
        ("nonsense://x", "nonsense"),
    ],
)
def test_a_target_that_is_none_is_named_in_one_line(target: str, message: str) -> None:
    with pytest.raises(SinkError, match=message) as raised:
        Mavlink(MavlinkOptions(to=target)).open(INFO)
    assert "\n" not in str(raised.value)


def test_outputs_that_are_no_position_are_refused() -> None:
    gate = FlightInfo((Component("distance", "m"), Component("bearing", "rad")), None, 0, 0)
    with pytest.raises(SinkError, match="needs outputs x, y and z in metres"):
        Mavlink(MavlinkOptions()).open(gate)
