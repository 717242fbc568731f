"""UDP: the document of `json_lines`, one report per datagram."""

from __future__ import annotations

import socket
from typing import Annotated

import msgspec

from gearshift.runtime.errors import SinkError
from gearshift.runtime.sinks.document import ReportEncoder
from gearshift.runtime.sinks.sink import FlightInfo, Report, SinkPlugin


class UdpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """host: name or address, IPv4 or IPv6."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 14660


class Udp:
    """Sends and forgets: nobody listening is no error."""

    def __init__(self, options: UdpOptions) -> None:
        self._host, self._port = options.host, options.port
        self._encoder = ReportEncoder()
        self._socket: socket.socket | None = None

    def open(self, _info: FlightInfo, /) -> None:
        """See `Sink.open`."""
        self.close()
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        except OSError as error:
            raise SinkError(f"udp {self._host}:{self._port}: {error.strerror or error}") from error

    def write(self, report: Report) -> None:
        """See `Sink.write`."""
        if self._socket is None:
            raise SinkError(f"udp {self._host}:{self._port} is closed")
        try:
            self._socket.send(self._encoder.encode(report))
        except ConnectionRefusedError:
            # An earlier datagram found nobody; the listener may come later.
            return
        except OSError as error:
            raise SinkError(f"udp {self._host}:{self._port}: {error.strerror}") from error

    def close(self) -> None:
        """See `Sink.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


PLUGIN = SinkPlugin(summary="one JSON document per UDP datagram", options=UdpOptions, make=Udp)
