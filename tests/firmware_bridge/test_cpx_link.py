"""The CPX link against Bitcraze's own library, over ptys and sockets, with faults on the way."""

import functools
import io
import os
import random
import select
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gearshift.firmware_bridge.crazyflie import cpx_link
from gearshift.firmware_bridge.crazyflie.cpx import (
    CLEAR_TO_SEND,
    CpxFunction,
    CpxPacket,
    CpxTarget,
    UartParser,
    encode_uart,
)
from gearshift.firmware_bridge.crazyflie.cpx_link import CpxLink
from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention, TcpParser, encode_tcp
from gearshift.firmware_bridge.line.ports import TcpPort, split_tcp
from gearshift.runtime.errors import ConfigurationError, LinkError

from ..waiting import PATIENCE_S, wait_until

pytest.importorskip("serial", reason="pyserial is not installed (extra 'board')")

Tamper = Callable[[bytes], bytes]


class Wire:
    """Two ptys joined by a thread: what goes into one comes out of the other, unless tampered."""

    def __init__(self) -> None:
        self.tampers: list[Tamper] = [bytes, bytes]
        self._pairs = [os.openpty(), os.openpty()]
        for _, slave in self._pairs:
            tty.setraw(slave)
        self.names = [os.ttyname(slave) for _, slave in self._pairs]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        masters = [master for master, _ in self._pairs]
        while not self._stop.is_set():
            for master in select.select(masters, [], [], 0.02)[0]:
                side = masters.index(master)
                with suppress(OSError):
                    os.write(masters[1 - side], self.tampers[side](os.read(master, 4096)))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for pair in self._pairs:
            for descriptor in pair:
                os.close(descriptor)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire()) as made:
        yield made


def numbered(number: int, size: int = 98) -> bytes:
    return number.to_bytes(4, "little") + random.Random(number).randbytes(size - 4)


def app(data: bytes) -> CpxPacket:
    return CpxPacket(CpxTarget.HOST, CpxTarget.GAP8, CpxFunction.APP, data)


class Peer:
    """cflib at one end: a thread that reads, and whatever the test wants to write."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.received: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        # It has no time-out: it ends when its line does, with whatever exception that gives it.
        with suppress(Exception):
            while True:
                self.received.append(bytes(self.transport.readPacket().data))

    def send(self, data: bytes) -> None:
        from cflib.cpx import CPXFunction, CPXPacket, CPXTarget

        packet = CPXPacket(CPXFunction.APP, CPXTarget.HOST, CPXTarget.GAP8, data)
        packet.lastPacket = True
        self.transport.writePacket(packet)

    def send_numbered(self, count: int) -> None:
        for number in range(count):
            self.send(numbered(number))


def uart_peer(name: str) -> Peer:
    transports = pytest.importorskip("cflib.cpx.transports", reason="cflib is not installed")
    return Peer(transports.UARTTransport(name, 576_000))


def only_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on clear-to-sends are answers to something, none is offered."""
    monkeypatch.setattr(cpx_link, "OFFER_S", 1e6)


def test_both_directions_with_cflib_on_a_serial_line(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 150
    with CpxLink(wire.names[0]) as link:
        peer = uart_peer(wire.names[1])
        only_answers(monkeypatch)
        sender = threading.Thread(target=peer.send_numbered, args=(count,), daemon=True)
        sender.start()
        for number in range(count):
            link.send(app(numbered(1000 + number)))
        received = []
        for _ in range(count):
            received.append(link.receive(PATIENCE_S))
            assert received[-1] is not None
        sender.join(PATIENCE_S)
        wait_until(lambda: len(peer.received) == count)
        statistics = link.statistics
    assert [packet.data for packet in received if packet] == [numbered(n) for n in range(count)]
    assert {(packet.source, packet.function) for packet in received if packet} == {(4, 5)}
    assert peer.received == [numbered(1000 + n) for n in range(count)]
    assert statistics.checksum_errors == statistics.lost_clear_to_sends == statistics.dropped == 0
    assert (statistics.received, statistics.sent) == (count, count)


def until(link: CpxLink, data: bytes, condition: Callable[[], bool]) -> None:
    def came() -> bool:
        link.send(app(data))
        return condition()

    wait_until(came, "a clear-to-send was waited for in vain")


@pytest.mark.slow
def test_spoilt_packets_never_arrive_and_nothing_locks_up(wire: Wire) -> None:
    """Bytes are flipped in both directions, clear-to-sends among them."""
    draw = random.Random(5)
    frames = [0]

    def flip(data: bytes) -> bytes:
        spoilt = bytearray(data)
        if draw.random() < 0.04:
            spoilt[draw.randrange(len(data))] ^= draw.randrange(1, 256)
        return bytes(spoilt)

    def flip_towards_us(data: bytes) -> bytes:
        """One frame in eight inside its data for certain, whatever else chance does."""
        frames[0] += len(data) > 90
        if len(data) > 90 and frames[0] % 8 == 0:
            return data[:60] + bytes([data[60] ^ 1]) + data[61:]
        return flip(data)

    count = 120
    with CpxLink(wire.names[0], cts_timeout_s=0.3) as link:
        peer = uart_peer(wire.names[1])
        wire.tampers = [flip, flip_towards_us]
        sender = threading.Thread(target=peer.send_numbered, args=(count,), daemon=True)
        sender.start()
        for number in range(count):
            link.send(app(numbered(1000 + number)))
        # cflib reads on until a spoilt length is filled, so it has to be kept fed.
        until(link, b"more", lambda: not sender.is_alive())
        wire.tampers = [bytes, bytes]
        # Whatever was spoilt last, the line works afterwards, in both directions.
        until(link, b"end!", lambda: peer.received[-1:] == [b"end!"])
        peer.send(b"end!")
        got: list[bytes] = []
        while not got or got[-1] != b"end!":
            packet = link.receive(PATIENCE_S)
            assert packet is not None
            got.append(packet.data)
        statistics = link.statistics
    assert statistics.checksum_errors > 0
    sent = {numbered(n) for n in range(count)}
    assert set(got[:-1]) <= sent, "a packet arrived that nobody sent"
    assert len(got) - 1 < count
    numbers = [int.from_bytes(data[:4], "little") for data in got[:-1]]
    assert numbers == sorted(set(numbers))


def test_garbage_and_half_a_packet_do_not_stop_the_sender(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deck whose packet was cut off waits for a clear-to-send and must get one."""
    device = os.open(wire.names[1], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(device)
    with closing(os.fdopen(device, "r+b", buffering=0)) as deck, CpxLink(wire.names[0]) as link:
        deck.write(CLEAR_TO_SEND)
        wait_until(lambda: link.statistics.connections == 1)
        only_answers(monkeypatch)
        drain_until_silent(deck)
        deck.write(b"\xff\x40" + bytes(10))
        wait_until(lambda: select.select([deck], [], [], 0)[0] != [])
        assert deck.read(2) == CLEAR_TO_SEND
        packet = CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.CONSOLE, b"still here")
        deck.write(encode_uart(packet))
        assert link.receive(PATIENCE_S) == packet
        assert link.statistics.discarded_bytes == 12


def drain_until_silent(stream: io.RawIOBase) -> None:
    while select.select([stream], [], [], 0.15)[0]:
        stream.read(4096)


def test_a_lost_clear_to_send_is_made_up_for(wire: Wire) -> None:
    """The deck takes packets but its second clear-to-send never comes."""
    device = os.open(wire.names[1], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(device)
    with (
        closing(os.fdopen(device, "r+b", buffering=0)) as deck,
        CpxLink(wire.names[0], cts_timeout_s=0.2) as link,
    ):
        ready = CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.CONSOLE, b"ready")
        deck.write(CLEAR_TO_SEND + encode_uart(ready))
        assert link.receive(PATIENCE_S) == ready
        for number in range(3):
            link.send(app(numbered(number)))
        assert link.statistics.lost_clear_to_sends == 2
        parser = UartParser()
        seen: list[bytes] = []
        while len(seen) < 3:
            items = parser.feed(deck.read(4096))
            seen += [item.data for item in items if isinstance(item, CpxPacket)]
        assert seen == [numbered(n) for n in range(3)]


def test_a_deck_that_was_reset_gets_the_clear_to_send_that_it_waits_for(wire: Wire) -> None:
    """After a reset it says FF 00 over and over until it is answered, so there is no silence."""
    device = os.open(wire.names[1], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(device)
    with closing(os.fdopen(device, "r+b", buffering=0)) as deck, CpxLink(wire.names[0]) as link:
        packet = CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.CONSOLE, b"up")
        for _ in range(2):
            drain_until_silent(deck)

            def answered() -> bool:
                deck.write(CLEAR_TO_SEND)
                return bool(select.select([deck], [], [], 0.01)[0])

            wait_until(answered, "nobody answers the deck")
            deck.write(encode_uart(packet))
            assert link.receive(PATIENCE_S) == packet


def test_nobody_at_the_other_end_is_an_error_that_says_so(wire: Wire) -> None:
    with (
        CpxLink(wire.names[0], cts_timeout_s=0.1) as link,
        pytest.raises(LinkError, match=r"never said .* baud rate \(576000\)"),
    ):
        link.send(app(b"hello?"))


def test_a_deck_that_nobody_listens_to_is_not_blocked(wire: Wire) -> None:
    with CpxLink(wire.names[0], queue=10) as link:
        peer = uart_peer(wire.names[1])
        for number in range(40):
            peer.send(numbered(number))
        wait_until(lambda: link.statistics.received == 40)
        assert link.statistics.dropped == 30
        kept = [link.receive(0) for _ in range(10)]
        assert [packet.data for packet in kept if packet] == [numbered(n) for n in range(30, 40)]
        assert link.receive(0) is None


def test_an_unplugged_line_comes_back(tmp_path: Path) -> None:
    port = tmp_path / "deck"
    first = Wire()
    port.symlink_to(first.names[0])
    with CpxLink(str(port)) as link:
        uart_peer(first.names[1]).send(b"before")
        packet = link.receive(PATIENCE_S)
        assert packet is not None
        assert packet.data == b"before"
        first.close()
        wait_until(lambda: link.statistics.failure is not None)
        with closing(Wire()) as second:
            port.unlink()
            port.symlink_to(second.names[0])
            peer = uart_peer(second.names[1])
            peer.send(b"after")
            packet = link.receive(PATIENCE_S)
            assert packet is not None
            assert packet.data == b"after"
            link.send(app(b"hello again"))
            wait_until(lambda: peer.received == [b"hello again"])
            assert link.statistics.connections == 2
            assert link.statistics.failure is None


def test_without_reconnecting_a_lost_line_is_an_error(tmp_path: Path) -> None:
    wire = Wire()
    with CpxLink(wire.names[0], reconnect=False) as link:
        wire.close()
        with pytest.raises(LinkError, match="serial line"):
            link.receive(PATIENCE_S)
        with pytest.raises(LinkError, match="serial line"):
            link.send(app(b""))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        yield server


def address(server: socket.socket) -> str:
    return f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_both_directions_with_cflib_over_tcp(listening: socket.socket) -> None:
    transports = pytest.importorskip("cflib.cpx.transports", reason="cflib is not installed")
    with CpxLink(address(listening)) as link:
        connection, _ = listening.accept()
        with connection:
            transport = transports.SocketTransport.__new__(transports.SocketTransport)
            transport._socket = connection
            peer = Peer(transport)
            for number in range(50):
                peer.send(numbered(number, 1000))
            got = [link.receive(PATIENCE_S) for _ in range(50)]
            assert [packet.data for packet in got if packet] == [
                numbered(n, 1000) for n in range(50)
            ]
            for number in range(50):
                link.send(app(numbered(number, 1000)))
            wait_until(lambda: len(peer.received) == 50)
            assert peer.received == [numbered(n, 1000) for n in range(50)]
            connection.shutdown(socket.SHUT_RDWR)


def test_cflib_as_the_host_of_our_frames(listening: socket.socket) -> None:
    transports = pytest.importorskip("cflib.cpx.transports", reason="cflib is not installed")
    host, port = listening.getsockname()
    peer = Peer(transports.SocketTransport(host, port))
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(PATIENCE_S)
        packet = CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.CONSOLE, b"text")
        connection.sendall(encode_tcp(packet, LengthConvention.BITCRAZE))
        wait_until(lambda: peer.received == [b"text"])
        peer.send(numbered(7))
        parser = TcpParser(LengthConvention.BITCRAZE)
        got: list[CpxPacket] = []
        while not got:
            got = parser.feed(connection.recv(4096))
        assert [packet.data for packet in got] == [numbered(7)]
        connection.shutdown(socket.SHUT_RDWR)
    peer.transport._socket.close()


def test_full_buffers_on_both_sides_do_not_lock_the_link(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deck reads nothing before it has sent everything; nobody calls receive."""
    # On a busy machine the deck takes its time, which is not what is tested here.
    patient = functools.partial(TcpPort, write_timeout_s=3 * PATIENCE_S)
    monkeypatch.setattr(cpx_link, "TcpPort", patient)
    convention, count = LengthConvention.NANOCOCKPIT, 2000
    data = bytes(4000)
    received: list[int] = []

    def deck() -> None:
        connection, _ = listening.accept()
        with connection:
            back = CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.APP, data)
            for _ in range(count):
                connection.sendall(encode_tcp(back, convention))
            parser = TcpParser(convention)
            total = 0
            while total < count:
                total += len(parser.feed(connection.recv(65_536)))
            received.append(total)

    thread = threading.Thread(target=deck, daemon=True)
    thread.start()
    with CpxLink(address(listening), convention=convention, queue=8) as link:
        for _ in range(count):
            link.send(app(data))
        thread.join(3 * PATIENCE_S)
        assert received == [count]
        assert link.statistics.dropped == link.statistics.received - 8


def test_a_closed_connection_is_made_again(listening: socket.socket) -> None:
    packet = CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.CONSOLE, b"one")
    with CpxLink(address(listening), convention=LengthConvention.BITCRAZE) as link:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(encode_tcp(packet, LengthConvention.BITCRAZE))
                assert link.receive(PATIENCE_S) == packet
        wait_until(lambda: link.statistics.connections >= 2)


def test_sending_before_the_convention_is_known_is_refused(listening: socket.socket) -> None:
    with (
        CpxLink(address(listening)) as link,
        pytest.raises(LinkError, match="length convention is known"),
    ):
        link.send(app(b""))


def test_what_cannot_be_opened_says_so(tmp_path: Path, listening: socket.socket) -> None:
    with pytest.raises(LinkError, match="cannot open the serial line"):
        CpxLink(str(tmp_path / "nothing")).open()
    url = address(listening)
    listening.close()
    with pytest.raises(LinkError, match=r"cannot connect to 127\.0"):
        CpxLink(url).open()


def test_urls() -> None:
    assert split_tcp("tcp://192.168.4.1") == ("192.168.4.1", 5000)
    assert split_tcp("tcp://deck:6000/") == ("deck", 6000)
    assert split_tcp("/dev/ttyAMA0") is None
    for wrong in (
        "tcp://",
        "tcp://deck:port",
        "tcp://deck:0",
        "tcp://deck/path",
        "tcp://deck:70000",
    ):
        with pytest.raises(ConfigurationError, match="is not tcp://HOST"):
            split_tcp(wrong)
