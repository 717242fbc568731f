"""A metrics endpoint for Prometheus on the loopback interface, in its text format 0.0.4."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.flight.pipeline import Flight
from gearshift.runtime.sinks.sink import FlightState
from gearshift.runtime.status.status import StatusReader

logger = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(flight: Flight, reader: StatusReader) -> str:
    """Every metric of a flight; see docs/onboard.md."""
    return "\n".join(_lines(flight, reader)) + "\n"


def _lines(flight: Flight, reader: StatusReader) -> Iterator[str]:
    status = reader.read()
    yield from _metric("gearshift_state", "gauge", "1 for the state the flight is in")
    for state in FlightState:
        yield f'gearshift_state{{state="{state}"}} {int(state is status.state)}'
    gauges = {
        "rate_hertz": (status.rate_hz, "estimates per second since the last scrape"),
        "age_seconds": (status.age_ms / 1e3, "age of the last estimate when it was published"),
        "large_share": (status.large_share, "share of frames on large since the last scrape"),
        "signal": (status.signal, "difficulty signal of the last estimate"),
        "threshold": (status.threshold, "threshold in use"),
        "temperature_celsius": (status.celsius, "temperature of the processor"),
    }
    for name, (value, text) in gauges.items():
        yield from _metric(f"gearshift_{name}", "gauge", text)
        yield f"gearshift_{name} {_number(value)}"
    yield from _counters("capture", flight.capture.counts, "frames before inference, by fate")
    yield from _counters("inference", flight.counts, "frames in inference, by fate")
    yield from _metric("gearshift_sink_reports_total", "counter", "reports by sink and fate")
    for box in flight.outboxes:
        for field in fields(box.counts):
            count = getattr(box.counts, field.name)
            labels = f'sink="{box.name}",fate="{field.name}"'
            yield f"gearshift_sink_reports_total{{{labels}}} {count}"


def _counters(name: str, counts: Any, text: str) -> Iterator[str]:
    full = f"gearshift_{name}_frames_total"
    yield from _metric(full, "counter", text)
    for field in fields(counts):
        yield f'{full}{{fate="{field.name}"}} {getattr(counts, field.name)}'


def _metric(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


class MetricsServer:
    """Answers GET /metrics from a thread of its own; port 0 takes a free one."""

    def __init__(self, flight: Flight, port: int) -> None:
        reader = StatusReader(flight)
        reading = threading.Lock()  # every request has a thread of its own

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.split("?")[0] != "/metrics":
                    self.send_error(404, "only /metrics is here")
                    return
                with reading:
                    body = exposition(flight, reader).encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                logger.debug(format, *args)

        try:
            self._server = ThreadingHTTPServer((ADDRESS, port), Handler)
        except OSError as error:
            raise ConfigurationError(
                f"prometheus: port {port} of {ADDRESS} cannot be used: {error.strerror}"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.5},
            name="prometheus",
            daemon=True,
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use."""
        port: int = self._server.server_address[1]
        return port

    def close(self) -> None:
        """Stop answering."""
        # Wakes the thread, which else would only look after a while whether it is to end.
        self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
