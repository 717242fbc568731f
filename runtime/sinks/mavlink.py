"""MAVLink: where the person is, for an autopilot or a ground station. It never commands a vehicle.

LANDING_TARGET is what autopilots support best for a relative position. They read one whose
`position_valid` is 0 as a measurement by angles alone, so that by default nothing is sent while
there is nothing to say; the heartbeat goes on, and changes of state are said in STATUSTEXT.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from gearshift.runtime.errors import SinkError
from gearshift.runtime.plugins import raise_missing_extra
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report, SinkPlugin

COMPONENT = 191
"""MAV_COMP_ID_ONBOARD_COMPUTER."""
HEARTBEAT_NS = 1_000_000_000
WRITE_TIMEOUT_S = 1.0
NEEDED = ("x", "y", "z")
Write = Callable[[bytes], object]


class MavlinkOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """to: `udp:HOST:PORT`, or a serial port as pyserial names it (a device or a URL).

    frame: body-frd (12), or local-frd (20), which says that the pose is levelled. when_invalid:
    silent sends no LANDING_TARGET while the estimate may not be acted upon, flag one with
    position_valid 0 and all else 0. heading: also send phi [rad] as NAMED_VALUE_FLOAT. system: that
    of the vehicle.
    """

    to: str = "udp:127.0.0.1:14550"
    baud: Annotated[int, msgspec.Meta(gt=0)] = 115_200
    frame: Literal["body-frd", "local-frd"] = "body-frd"
    when_invalid: Literal["silent", "flag"] = "silent"
    heading: bool = False
    system: Annotated[int, msgspec.Meta(ge=1, le=255)] = 1


class Mavlink:
    """Sends LANDING_TARGET, HEARTBEAT and STATUSTEXT, MAVLink 2; reads nothing."""

    def __init__(self, options: MavlinkOptions) -> None:
        self._options = options
        self._dialect: Any = None
        self._encoder: Any = None
        self._write: Write | None = None
        self._close: Callable[[], object] = lambda: None
        self._state: FlightState | None = None
        self._heartbeat_ns: int | None = None

    def open(self, info: FlightInfo, /) -> None:
        """See `Sink.open`; raises MissingExtraError without pymavlink."""
        try:
            from pymavlink.dialects.v20 import common
        except ModuleNotFoundError as error:
            raise_missing_extra("sink 'mavlink'", "mavlink", error)

        self._dialect = common
        self.close()
        names = [component.name for component in info.components]
        if not set(NEEDED) <= set(names):
            raise SinkError(
                f"MAVLink needs outputs x, y and z in metres; these are {', '.join(names)}"
            )
        self._encoder = common.MAVLink(None, srcSystem=self._options.system, srcComponent=COMPONENT)
        self._state, self._heartbeat_ns = None, None
        self._write, self._close = _connect(self._options)

    def write(self, report: Report) -> None:
        """See `Sink.write`."""
        if self._write is None:
            raise SinkError(f"MAVLink to {self._options.to} is closed")
        if self._heartbeat_ns is None or report.time_ns - self._heartbeat_ns >= HEARTBEAT_NS:
            self._heartbeat_ns = report.time_ns
            self._send(self._heartbeat(report.state))
        if report.state is not self._state:
            self._state = report.state
            self._send(self._status(report.state))
        values = _values(report)
        if values is not None:
            self._send(self._target(report, values))
            if self._options.heading and "phi" in values:
                milliseconds = report.time_ns // 1_000_000 & 0xFFFFFFFF
                phi = self._encoder.named_value_float_encode(milliseconds, b"phi", values["phi"])
                self._send(phi)
        elif self._options.when_invalid == "flag":
            self._send(self._nowhere(report.time_ns))

    def close(self) -> None:
        """See `Sink.close`."""
        self._write = None
        self._close()
        self._close = lambda: None

    def _heartbeat(self, state: FlightState) -> Any:
        common = self._dialect
        working = state in (FlightState.TRACKING, FlightState.ABSENT)
        return self._encoder.heartbeat_encode(
            common.MAV_TYPE_ONBOARD_CONTROLLER,
            common.MAV_AUTOPILOT_INVALID,
            0,
            0,
            common.MAV_STATE_ACTIVE if working else common.MAV_STATE_STANDBY,
        )

    def _status(self, state: FlightState) -> Any:
        common = self._dialect
        lost = state is FlightState.LOST
        severity = common.MAV_SEVERITY_WARNING if lost else common.MAV_SEVERITY_INFO
        return self._encoder.statustext_encode(severity, f"gearshift: {state}".encode())

    def _target(self, report: Report, values: dict[str, float]) -> Any:
        x, y, z = (values[name] for name in NEEDED)
        # FLU to FRD.
        right, down = -y, -z
        return self._landing_target(
            report.time_ns,
            angles=(math.atan2(right, x), math.atan2(down, x)),
            distance=math.sqrt(x * x + y * y + z * z),
            position=(x, right, down),
            heading=_heading(values.get("phi")),
            valid=1,
        )

    def _nowhere(self, time_ns: int) -> Any:
        return self._landing_target(
            time_ns,
            angles=(0.0, 0.0),
            distance=0.0,
            position=(0.0, 0.0, 0.0),
            heading=_heading(None),
            valid=0,
        )

    def _landing_target(
        self,
        time_ns: int,
        *,
        angles: tuple[float, float],
        distance: float,
        position: tuple[float, float, float],
        heading: tuple[float, float, float, float],
        valid: int,
    ) -> Any:
        common = self._dialect
        frames = {"body-frd": common.MAV_FRAME_BODY_FRD, "local-frd": common.MAV_FRAME_LOCAL_FRD}
        return self._encoder.landing_target_encode(
            time_ns // 1000,
            0,
            frames[self._options.frame],
            *angles,
            distance,
            0.0,
            0.0,
            *position,
            heading,
            common.LANDING_TARGET_TYPE_VISION_OTHER,
            valid,
        )

    def _send(self, message: Any) -> None:
        assert self._write is not None
        try:
            self._write(message.pack(self._encoder))
        except ConnectionRefusedError:
            # An earlier datagram found nobody; a ground station may come later.
            return
        except OSError as error:
            raise SinkError(f"MAVLink to {self._options.to}: {error}") from error
        self._encoder.seq = (self._encoder.seq + 1) % 256


def _values(report: Report) -> dict[str, float] | None:
    """The values by name while they may be acted upon, else None."""
    estimate = report.estimate
    if report.state is not FlightState.TRACKING or estimate is None:
        return None
    if not all(map(math.isfinite, estimate.values)):
        return None
    names = (component.name for component in estimate.components)
    return dict(zip(names, estimate.values, strict=True))


def _heading(phi: float | None) -> tuple[float, float, float, float]:
    """The person's heading in FRD as a quaternion w, x, y, z; phi = 0 faces the vehicle."""
    if phi is None:
        return (1.0, 0.0, 0.0, 0.0)
    yaw = -(phi + math.pi)
    return (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))


def _connect(options: MavlinkOptions) -> tuple[Write, Callable[[], object]]:
    """How to write and how to close; raises SinkError."""
    kind, _, rest = options.to.partition(":")
    try:
        if kind == "udp":
            host, _, port = rest.rpartition(":")
            if not host or not port.isdecimal():
                raise SinkError(f"MAVLink to {options.to}: write udp:HOST:PORT")
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
            family, socket_kind, protocol, _, address = found[0]
            link = socket.socket(family, socket_kind, protocol)
            link.connect(address)
            return link.send, link.close
        import serial

        port_link = serial.serial_for_url(
            options.to, options.baud, timeout=0, write_timeout=WRITE_TIMEOUT_S
        )
        return port_link.write, port_link.close
    except (OSError, ValueError) as error:
        raise SinkError(f"MAVLink to {options.to}: {error}") from error


PLUGIN = SinkPlugin(
    summary="MAVLink LANDING_TARGET over UDP or serial", options=MavlinkOptions, make=Mavlink
)
