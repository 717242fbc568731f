"""Serial lines and TCP sockets as plain byte ports with time-outs, for links above them.

Every failure comes out as a LinkError: pyserial reports an unplugged device as whatever exception
its reading happened to meet.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import threading
from typing import Final, Protocol
from urllib.parse import urlsplit

from gearshift.runtime.errors import ConfigurationError, LinkError, MissingExtraError
from gearshift.runtime.installation import install_line

AIDECK_PORT: Final = 5000
_CHUNK: Final = 65_536


class Port(Protocol):
    """An open byte stream. One thread reads and closes, any thread may write."""

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, waiting for at least one byte; empty when none came in time.

        Raises LinkError when the other end is gone.
        """

    def write(self, data: bytes) -> None:
        """Pass all bytes on; raises LinkError when they are not taken in time."""

    def close(self) -> None:
        """Give the port back; closing twice does nothing."""


class SerialPort:
    """A serial line through pyserial; url: a device's path or any URL that pyserial takes.

    Raises MissingExtraError without pyserial, LinkError when it cannot be opened.
    """

    def __init__(self, url: str, baud: int, write_timeout_s: float = 1.0) -> None:
        try:
            import serial
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"the serial line {url} needs pyserial: {install_line('board')}"
            ) from error
        self._url = url
        self._timeout_s = 0.0
        self._write_lock = threading.Lock()
        try:
            self._serial = serial.serial_for_url(
                url, baudrate=baud, timeout=0, write_timeout=write_timeout_s, do_not_open=True
            )
            if "://" not in url:
                self._serial.exclusive = True  # two readers of one line would each get half of it
            self._serial.open()
        except (OSError, ValueError) as error:
            raise LinkError(f"cannot open the serial line {url}: {error}") from error
        try:
            self._descriptor: int | None = self._serial.fileno()
        except (AttributeError, io.UnsupportedOperation):
            self._descriptor = None  # a URL without one, such as rfc2217://

    def read(self, timeout_s: float) -> bytes:
        """See `Port`."""
        try:
            if self._descriptor is not None:
                # Waiting here spares pyserial's setting every line parameter anew for a time-out,
                # and a socket:// its reading byte by byte.
                ready, _, _ = select.select([self._descriptor], [], [], timeout_s)
                return bytes(self._serial.read(_CHUNK)) if ready else b""
            if timeout_s != self._timeout_s:
                self._serial.timeout = self._timeout_s = timeout_s
            first = self._serial.read(1)
            return first + self._serial.read(min(self._serial.in_waiting, _CHUNK)) if first else b""
        except Exception as error:
            raise LinkError(f"the serial line {self._url} failed: {error}") from error

    def write(self, data: bytes) -> None:
        """See `Port`."""
        try:
            with self._write_lock:
                written = self._serial.write(data)
        except Exception as error:
            raise LinkError(f"the serial line {self._url} takes no bytes: {error}") from error
        if written is not None and written != len(data):
            raise LinkError(f"the serial line {self._url} took {written} of {len(data)} bytes")

    def close(self) -> None:
        """See `Port`."""
        with contextlib.suppress(Exception):  # what is already gone cannot be closed
            self._serial.close()


class TcpPort:
    """A TCP connection; raises LinkError when it is not made in time.

    A peer that vanished without a word is noticed by keep-alive after about 5 s.
    """

    def __init__(
        self, host: str, port: int, connect_timeout_s: float = 3.0, write_timeout_s: float = 1.0
    ) -> None:
        self._name = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), connect_timeout_s)
        except OSError as error:
            raise LinkError(f"cannot connect to {self._name}: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        # A time-out belongs to a socket object: the writing one has its own.
        self._writing = self._socket.dup()
        self._writing.settimeout(write_timeout_s)
        self._write_lock = threading.Lock()

    def read(self, timeout_s: float) -> bytes:
        """See `Port`."""
        try:
            self._socket.settimeout(max(timeout_s, 1e-3))
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            return b""
        except OSError as error:
            raise LinkError(f"the connection to {self._name} failed: {error}") from error
        if not data:
            raise LinkError(f"{self._name} closed the connection")
        return data

    def write(self, data: bytes) -> None:
        """See `Port`."""
        try:
            with self._write_lock:
                self._writing.sendall(data)
        except OSError as error:
            raise LinkError(f"{self._name} takes no bytes: {error}") from error

    def close(self) -> None:
        """See `Port`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._writing.close()
        self._socket.close()


def split_tcp(url: str) -> tuple[str, int] | None:
    """Host and port of `tcp://host[:port]`, None for another kind of URL.

    Raises ConfigurationError when it is one without a host or with a wrong port.
    """
    if not url.startswith("tcp://"):
        return None
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or port == 0 or parts.path.strip("/") or parts.query:
        raise ConfigurationError(f"{url!r} is not tcp://HOST or tcp://HOST:PORT")
    return parts.hostname, AIDECK_PORT if port is None else port
