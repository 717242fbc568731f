"""Estimates to a Crazyflie that runs NanoCockpit: stands in for the AI-deck on its serial line.

The Crazyflie sends its state all the time and keeps a history of it. An inference carries the clock
of the last state received before the image was taken; that is how the Crazyflie finds where it was
then, and it ignores an inference whose state it does not find.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from typing import Annotated, Final

import msgspec

from gearshift.firmware_bridge.crazyflie.nanocockpit_uart import (
    BAUD,
    TO_GAP8,
    InferenceMessage,
    MessageParser,
    StateMessage,
    encode,
)
from gearshift.firmware_bridge.line.link import BoardAddress, PortFinder
from gearshift.firmware_bridge.line.ports import Port
from gearshift.runtime.errors import LinkError, MissingExtraError, SinkError, SinkStoppedError
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report, SinkPlugin
from gearshift.runtime.types import POSE_COMPONENTS

_log = logging.getLogger(__name__)

_NAMES: Final = tuple(component.name for component in POSE_COMPONENTS)
_QUIET_S: Final = 0.05
_WRITE_TIMEOUT_S: Final = 1.0
_STATES: Final = 512
"""How many states are remembered: some seconds at the rate of any Crazyflie."""


class NanocockpitUartOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a flight's sink of kind "nanocockpit-uart".

    port: the serial line, as `BoardAddress.url` has it. stamped: with the state's clock, 24
    bytes; without, 20 bytes, for older firmware.
    """

    port: str
    baud: Annotated[int, msgspec.Meta(gt=0)] = BAUD
    stamped: bool = True


class NanocockpitUartSink:
    """Sends a message per estimate while somebody is tracked, nothing otherwise.

    Without messages the Crazyflie hovers where it is; that is its own rule. Values are x, y, z [m]
    and phi [rad] as they are, its convention being ours. See `gearshift.runtime.sinks.sink.Sink`.
    """

    def __init__(self, options: NanocockpitUartOptions) -> None:
        self._options = options
        self._finder = PortFinder(BoardAddress(options.port, options.baud, _WRITE_TIMEOUT_S))
        self._port: Port | None = None
        self._reader: threading.Thread | None = None
        self._stop = threading.Event()
        self._failure: LinkError | None = None
        self._lock = threading.Lock()
        self._states: deque[tuple[int, int]] = deque(maxlen=_STATES)

    def open(self, info: FlightInfo, /) -> None:
        """See `Sink.open`; raises SinkStoppedError when the networks do not say a pose."""
        self.close()
        names = tuple(component.name for component in info.components)
        if names != _NAMES:
            raise SinkStoppedError(
                f"the sink 'nanocockpit-uart' sends {', '.join(_NAMES)}; these networks say "
                f"{', '.join(names)}"
            )
        try:
            self._port = self._finder.open()
        except (LinkError, MissingExtraError) as error:
            raise SinkError(str(error)) from error
        self._failure = None
        self._states.clear()
        self._stop.clear()
        self._reader = threading.Thread(
            target=self._read, args=(self._port,), name="nanocockpit-uart", daemon=True
        )
        self._reader.start()

    def write(self, report: Report) -> None:
        """See `Sink.write`."""
        if self._port is None:
            raise SinkError(f"the serial line {self._options.port} is not open")
        if self._failure is not None:
            raise SinkError(str(self._failure)) from self._failure
        estimate = report.estimate
        if estimate is None or report.state is not FlightState.TRACKING:
            return
        if not all(map(math.isfinite, estimate.values)):
            return
        x, y, z, phi = estimate.values
        ticks = self._ticks_at(estimate.capture_time_ns) if self._options.stamped else None
        try:
            self._port.write(encode(InferenceMessage(x, y, z, phi, ticks)))
        except LinkError as error:
            raise SinkError(str(error)) from error

    def close(self) -> None:
        """See `Sink.close`."""
        self._stop.set()
        if self._reader is not None:
            self._reader.join()
            self._reader = None
        if self._port is not None:
            self._port.close()
            self._port = None

    def _ticks_at(self, time_ns: int) -> int:
        """The Crazyflie's clock in the last state heard by then; 0 when there is none."""
        with self._lock:
            for heard_ns, ticks in reversed(self._states):
                if heard_ns <= time_ns:
                    return ticks
        return 0

    def _read(self, port: Port) -> None:
        parser = MessageParser(TO_GAP8)
        try:
            while not self._stop.is_set():
                data = port.read(_QUIET_S)
                heard_ns = time.monotonic_ns()
                messages = parser.feed(data) if data else parser.idle()
                with self._lock:
                    for message in messages:
                        if isinstance(message, StateMessage):
                            self._states.append((heard_ns, message.ticks))
        except LinkError as error:
            _log.warning("%s", error)
            self._failure = error


def make_sink(options: NanocockpitUartOptions) -> NanocockpitUartSink:
    """The line as a sink that is not yet open."""
    return NanocockpitUartSink(options)


PLUGIN = SinkPlugin(
    "NanoCockpit's serial messages to a Crazyflie", NanocockpitUartOptions, make_sink
)
