"""`gearshift cpx monitor`: what a device that speaks CPX says, to check wiring and Wi-Fi with."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearshift.firmware_bridge.crazyflie.cpx import CpxPacket

HELP = "talk to a Crazyflie AI-deck over CPX"
EXTRA: str | None = "board"

_AUTO: Final = "auto"
_EXAMPLES: Final = """examples:
  gearshift cpx monitor tcp://192.168.4.1          an AI-deck that is an access point
  gearshift cpx monitor /dev/ttyAMA0 --baud 576000 a Crazyflie on a Pi's UART
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands of `gearshift cpx`."""
    commands = parser.add_subparsers(dest="cpx", metavar="COMMAND", required=True)
    text = "print console text, and every second what else came"
    monitor = commands.add_parser(
        "monitor",
        help=text,
        description=text,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    monitor.add_argument("url", help="tcp://HOST[:PORT], a serial device, or a URL of pyserial")
    monitor.add_argument("--baud", type=int, default=576_000, help="default: %(default)s")
    monitor.add_argument(
        "--convention",
        choices=(_AUTO, "bitcraze", "nanocockpit"),
        default=_AUTO,
        help="what the length field over TCP counts (default: found out)",
    )
    monitor.add_argument(
        "--seconds", type=float, metavar="N", help="end after so long (default: until Ctrl-C)"
    )
    monitor.set_defaults(run=run_monitor)


def run_monitor(options: argparse.Namespace) -> int:
    """Print until the time is over; fails when nothing came at all."""
    from gearshift.firmware_bridge.crazyflie.cpx_link import CpxLink
    from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention
    from gearshift.runtime.errors import LinkError

    chosen = options.convention
    convention = None if chosen == _AUTO else LengthConvention(chosen)
    tally = _Tally()
    end = None if options.seconds is None else time.monotonic() + options.seconds
    with CpxLink(options.url, baud=options.baud, convention=convention) as link:
        shown = time.monotonic()
        while end is None or time.monotonic() < end:
            packet = link.receive(0.1)
            if packet is not None:
                tally.add(packet)
            now = time.monotonic()
            if now - shown >= 1:
                sys.stdout.write(tally.line(now - shown) + "\n")
                sys.stdout.flush()
                shown = now
        statistics = link.statistics
    sys.stdout.write(
        f"{statistics.received} packets, {statistics.checksum_errors} wrong checksums, "
        f"{statistics.discarded_bytes} bytes discarded, {statistics.connections} connections\n"
    )
    if not statistics.received:
        raise LinkError(
            f"{options.url} said nothing in CPX"
            + (f": {statistics.failure}" if statistics.failure else "")
        )
    return 0


class _Tally:
    """What came since the last line; console text is printed as it comes."""

    def __init__(self) -> None:
        from gearshift.firmware_bridge.crazyflie.aideck_stream import ImageAssembler
        from gearshift.firmware_bridge.crazyflie.nanocockpit_streamer import BufferAssembler

        self._images = ImageAssembler()
        self._buffers = BufferAssembler()
        self._packets = self._bytes = self._whole = 0
        self._seen = ""

    def add(self, packet: CpxPacket) -> None:
        from gearshift.firmware_bridge.crazyflie.cpx import CpxFunction

        self._packets += 1
        self._bytes += len(packet.data)
        if packet.function == CpxFunction.CONSOLE:
            text = packet.data.rstrip(b"\0\n").decode("utf-8", "backslashreplace")
            sys.stdout.write(f"{packet.source.name}: {text}\n")
        elif packet.function == CpxFunction.APP:
            image = self._images.feed(packet.data)
            if image is not None:
                header = image.header
                self._whole += 1
                self._seen = f" {header.width}x{header.height} {header.encoding.name.lower()}"
        elif packet.function == CpxFunction.STREAMER:
            buffer = self._buffers.feed(packet)
            if buffer is not None:
                self._whole += 1
                self._seen = f" of {len(buffer.content)} bytes"

    def line(self, seconds: float) -> str:
        """The line of the last `seconds`; starts anew."""
        torn = self._images.torn + self._buffers.torn + self._buffers.corrupt
        text = (
            f"{self._packets / seconds:.0f} packets/s, {self._bytes / seconds / 1000:.1f} kB/s, "
            f"{self._whole / seconds:.1f} images/s{self._seen}, {torn} torn so far"
        )
        self._packets = self._bytes = self._whole = 0
        return text
