"""Where a board is: a device, a USB serial number or a URL, found again under another name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import parse_qsl

from gearshift.firmware_bridge.line.ports import Port, SerialPort, TcpPort
from gearshift.runtime.errors import ConfigurationError, LinkError, MissingExtraError
from gearshift.runtime.installation import install_line

logger = logging.getLogger(__name__)

DEFAULT_BAUD = 1_000_000
DEFAULT_TIMEOUT_S = 0.5
BITS_PER_BYTE = 10
"""On an 8N1 line."""
USB = "usb:"
SOCKET = "socket://"


@dataclass(frozen=True, slots=True)
class BoardAddress:
    """What `URL?baud=N&timeout=S` says.

    url: a device (`/dev/ttyACM0`, best `/dev/serial/by-id/...`), `usb:SERIAL_NUMBER`, or any URL
    that pyserial takes. baud: of a serial line, 8N1. timeout_s: for one frame or command.
    """

    url: str
    baud: int = DEFAULT_BAUD
    timeout_s: float = DEFAULT_TIMEOUT_S

    @property
    def line_rate(self) -> float:
        """Bytes per second in each direction; of a socket it is a guess."""
        return self.baud / BITS_PER_BYTE


def parse_address(text: str) -> BoardAddress:
    """Raises ConfigurationError for an option that does not exist or has no proper value."""
    url, separator, query = text.partition("?")
    address = BoardAddress(url)
    if not url:
        raise ConfigurationError(
            "no board was named: give a device, usb:SERIAL_NUMBER or a URL such as "
            "/dev/ttyACM0?baud=3000000"
        )
    if not separator:
        return address
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "baud" and value.isdecimal() and int(value) > 0:
            address = replace(address, baud=int(value))
        elif key == "timeout" and (seconds := _positive(value)) is not None:
            address = replace(address, timeout_s=seconds)
        elif key in ("baud", "timeout"):
            raise ConfigurationError(f"{text}: {key}={value} is not a positive number")
        else:
            raise ConfigurationError(f"{text}: unknown option {key!r}; there are baud and timeout")
    return address


class SerialDevice(Protocol):
    """What pyserial's `list_ports.comports` says of a port, as far as it is used here."""

    device: str
    serial_number: str | None


ListDevices = Callable[[], Iterable[SerialDevice]]


def list_devices() -> Iterable[SerialDevice]:
    """The serial ports of this computer; raises MissingExtraError without pyserial."""
    try:
        from serial.tools.list_ports import comports
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"finding a board needs pyserial: {install_line('board')}"
        ) from error
    devices: Iterable[SerialDevice] = comports()
    return devices


class PortFinder:
    """Opens the port of an address, and the same board again when it has come back elsewhere.

    A device that was opened by its path is remembered by the serial number of its USB adapter:
    `/dev/ttyACM0` may return as `/dev/ttyACM1`.
    """

    def __init__(self, address: BoardAddress, devices: ListDevices = list_devices) -> None:
        self.address = address
        self._devices = devices
        self._serial_number: str | None = None

    def open(self) -> Port:
        """Raises LinkError when the port cannot be opened now, ConfigurationError for a URL that
        never can."""
        url, baud, patience_s = self.address.url, self.address.baud, self.address.timeout_s
        if url.startswith(SOCKET):
            host, port = _host_and_port(url)
            return TcpPort(
                host, port, connect_timeout_s=1.0, write_timeout_s=self.address.timeout_s
            )
        if "://" in url:
            return SerialPort(url, baud, patience_s)
        return SerialPort(self._device(), baud, patience_s)

    def _device(self) -> str:
        url = self.address.url
        if url.startswith(USB):
            return self._by_serial_number(url.removeprefix(USB))
        present = {device.device: device.serial_number for device in self._devices()}
        known = self._serial_number
        if known is not None and present.get(url) != known:
            return self._by_serial_number(known)
        self._serial_number = present.get(url)
        return url

    def _by_serial_number(self, number: str) -> str:
        devices = list(self._devices())
        for device in devices:
            if device.serial_number == number:
                return device.device
        known = ", ".join(f"{d.serial_number} ({d.device})" for d in devices if d.serial_number)
        raise LinkError(f"no USB device with serial number {number}; there are: {known or 'none'}")


def _host_and_port(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix(SOCKET).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigurationError(f"{url!r} is not socket://HOST:PORT")
    return host, int(port)


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
