"""`gearshift cpx monitor` against a deck on a socket."""

import socket
import struct
import threading

import pytest

from gearshift.firmware_bridge.crazyflie.cpx import CpxFunction, CpxPacket, CpxTarget
from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention, encode_tcp
from gearshift.firmware_bridge.crazyflie.nanocockpit_streamer import StreamedBuffer, packets_of
from gearshift.runtime.cli import main


def to_host(function: CpxFunction, data: bytes) -> CpxPacket:
    return CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, function, data)


IMAGE = [
    to_host(CpxFunction.APP, struct.pack("<BHHBBI", 0xBC, 40, 30, 1, 0, 1200)),
    to_host(CpxFunction.APP, bytes(range(200)) * 5),
    to_host(CpxFunction.APP, bytes(200)),
]
BUFFER = list(
    packets_of(
        StreamedBuffer(1, bytes(700)),
        source=CpxTarget.GAP8,
        destination=CpxTarget.HOST,
        max_data=500,
    )
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("convention", "packets", "seen"),
    [
        (LengthConvention.BITCRAZE, [*IMAGE, *IMAGE[:2], *IMAGE], "40x30 raw, 1 torn so far"),
        (LengthConvention.NANOCOCKPIT, BUFFER, "of 700 bytes, 0 torn so far"),
    ],
)
def test_it_shows_text_and_images(
    convention: LengthConvention,
    packets: list[CpxPacket],
    seen: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = threading.Event()
    hello = to_host(CpxFunction.CONSOLE, b"Camera ready!\n")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def deck() -> None:
            connection, _ = server.accept()
            with connection:
                for packet in [hello, *packets, hello]:
                    connection.sendall(encode_tcp(packet, convention))
                done.wait(30)

        thread = threading.Thread(target=deck, daemon=True)
        thread.start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert main(["cpx", "monitor", url, "--seconds", "2.2"]) == 0
        done.set()
        thread.join()
    output = capsys.readouterr().out
    assert output.count("GAP8: Camera ready!") == 2
    assert seen in output
    assert output.splitlines()[-1].startswith(f"{len(packets) + 2} packets, 0 wrong checksums")


def test_silence_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert main(["cpx", "monitor", url, "--seconds", "0.1"]) == 1
    assert capsys.readouterr().err == f"gearshift: {url} said nothing in CPX\n"
