"""Addresses, and ports that come back under another name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.firmware_bridge.line.link import (
    BoardAddress,
    PortFinder,
    SerialDevice,
    parse_address,
)
from gearshift.runtime.errors import ConfigurationError, LinkError


@dataclass
class Device:
    device: str
    serial_number: str | None


def test_an_address_says_where_how_fast_and_how_long() -> None:
    assert parse_address("/dev/ttyACM0") == BoardAddress("/dev/ttyACM0", 1_000_000, 0.5)
    full = parse_address("usb:A10?baud=3000000&timeout=0.25")
    assert full == BoardAddress("usb:A10", 3_000_000, 0.25)
    assert full.line_rate == 300_000


@given(st.text(max_size=40))
def test_any_other_address_is_refused_or_taken(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert parse_address(text).url == text.partition("?")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no board was named"),
        ("/dev/tty?baud=fast", "baud=fast is not a positive number"),
        ("/dev/tty?timeout=0", "timeout=0 is not"),
        ("/dev/tty?timeout=nan", "timeout=nan is not"),
        ("/dev/tty?bauds=9600", "unknown option 'bauds'"),
    ],
)
def test_wrong_addresses_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_address(text)


@pytest.mark.parametrize("url", ["socket://", "socket://host", "socket://host:x", "socket://h:0"])
def test_sockets_need_host_and_port(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        PortFinder(parse_address(url)).open()


@pytest.fixture
def ptys() -> Iterator[list[tuple[int, str]]]:
    """Two lines: (our end, the name of the other)."""
    pairs = [os.openpty() for _ in range(2)]
    yield [(master, os.ttyname(slave)) for master, slave in pairs]
    for pair in pairs:
        for end in pair:
            os.close(end)


def test_a_board_is_found_by_its_usb_serial_number(ptys: list[tuple[int, str]]) -> None:
    (master, name), (_, other) = ptys
    devices: list[SerialDevice] = [Device(other, "B20"), Device(name, "A10")]
    port = PortFinder(parse_address("usb:A10"), lambda: devices).open()
    os.write(master, b"hello")
    assert port.read(5.0) == b"hello"
    port.close()
    with pytest.raises(LinkError, match=r"no USB device with serial number C30; there are: B20"):
        PortFinder(parse_address("usb:C30"), lambda: devices).open()


def test_a_device_is_followed_to_its_new_name(ptys: list[tuple[int, str]]) -> None:
    """Opened as one name, unplugged, back as another; a stranger sits at the old one."""
    (_, first), (master, second) = ptys
    devices: list[SerialDevice] = [Device(first, "A10")]
    finder = PortFinder(parse_address(first), lambda: devices)
    finder.open().close()
    devices[:] = []
    with pytest.raises(LinkError, match="A10; there are: none"):
        finder.open()
    devices[:] = [Device(second, "A10"), Device(first, "B20")]
    port = finder.open()
    os.write(master, b"it is me")
    assert port.read(5.0) == b"it is me"
    port.close()


def test_a_line_without_a_serial_number_is_opened_by_its_name(
    ptys: list[tuple[int, str]],
) -> None:
    (master, name), _ = ptys
    finder = PortFinder(parse_address(name), list)
    for _ in range(2):
        port = finder.open()
        os.write(master, b"x")
        assert port.read(5.0) == b"x"
        port.close()


def test_a_line_that_hangs_up_is_a_link_error() -> None:
    master, slave = os.openpty()
    port = PortFinder(parse_address(os.ttyname(slave)), list).open()
    os.close(slave)
    os.close(master)
    with pytest.raises(LinkError, match="failed"):
        port.read(5.0)
    port.close()
