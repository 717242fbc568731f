"""Telling systemd that the flight is up, alive and how it fares (sd_notify), over its own socket.

The protocol is one datagram of KEY=VALUE lines to the socket in NOTIFY_SOCKET:
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class Supervisor:
    """systemd, or nobody where NOTIFY_SOCKET is not set."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with @ and begins with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._watchdog_us = 0
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            text = environment.get("WATCHDOG_USEC", "0")
            self._watchdog_us = int(text) if text.isdecimal() else 0

    @property
    def watchdog_s(self) -> float | None:
        """How often to say that the flight is alive: half of what systemd allows; None: never."""
        return self._watchdog_us / 2e6 if self._watchdog_us and self._socket else None

    def ready(self) -> None:
        """The first estimates may come."""
        self._send("READY=1")

    def alive(self) -> None:
        """Whatever has to turn round does."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The flight ends by itself."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            logger.debug("systemd cannot be told: %s", error)
