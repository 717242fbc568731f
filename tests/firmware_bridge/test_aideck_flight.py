"""A whole flight over the real protocols: an AI-deck that freezes, a Crazyflie that listens."""

import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

import numpy as np
import pytest

from gearshift.firmware_bridge.crazyflie.cpx import CpxTarget
from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention, encode_tcp
from gearshift.firmware_bridge.crazyflie.nanocockpit_streamer import (
    StreamedBuffer,
    StreamedImage,
    pack_image,
    packets_of,
)
from gearshift.firmware_bridge.crazyflie.nanocockpit_uart import (
    InferenceMessage,
    StateMessage,
    TofMessage,
    encode,
)

pytest.importorskip("serial", reason="pyserial is not installed (extra 'board')")

NOTHING = (0, 0, 0)
MESSAGE = struct.Struct("<4sI4f")
GEARSHIFT = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"
CONNECTIONS = 2
IMAGES = 25


def state(ticks: int) -> StateMessage:
    return StateMessage(ticks, NOTHING, NOTHING, NOTHING, 0xC0000000, NOTHING)


def image(number: int) -> bytes:
    """A buffer of the streamer with noise that no two images share."""
    pixels = np.random.default_rng(number).integers(60, 190, (96, 160), dtype=np.uint8)
    stamp_us = time.monotonic_ns() // 1000 % 2**32
    tof, said = TofMessage(0, bytes(64)), InferenceMessage(0, 0, 0, 0, ticks=0)
    streamed = StreamedImage(pixels, number % 256, stamp_us, stamp_us, state(1), 0, tof, 0, 0, said)
    return b"".join(
        encode_tcp(packet, LengthConvention.NANOCOCKPIT)
        for packet in packets_of(
            StreamedBuffer(1, pack_image(streamed)),
            source=CpxTarget.GAP8,
            destination=CpxTarget.HOST,
            max_data=4088,
        )
    )


def deck(server: socket.socket, landed: threading.Event) -> None:
    """Streams at 30 Hz, freezes in the middle of an image, and does so again when reconnected."""
    for connection_number in range(CONNECTIONS):
        try:
            connection, _ = server.accept()
        except OSError:
            return  # the flight ended before it connected
        with connection:
            for number in range(IMAGES):
                connection.sendall(image(100 * connection_number + number))
                time.sleep(1 / 30)
            connection.sendall(image(99)[:5000])
            # Frozen: the socket stays open until the other side gives up.
            while not landed.is_set() and connection.recv(4096):
                continue


def crazyflie(descriptor: int, landed: threading.Event, heard: bytearray) -> None:
    """Sends its state at 50 Hz and keeps what it is told."""
    ticks = 0
    while not landed.is_set():
        ticks += 20
        os.write(descriptor, encode(state(ticks)))
        time.sleep(0.02)
        while select.select([descriptor], [], [], 0)[0]:
            heard += os.read(descriptor, 4096)


@pytest.mark.slow
def test_a_flight_with_a_deck_that_freezes(tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    landed, heard = threading.Event(), bytearray()
    estimates = tmp_path / "estimates.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as server:
        flight = tmp_path / "flight.toml"
        flight.write_text(
            f"""
            schema_version = 1
            [source]
            kind = "aideck"
            url = "tcp://127.0.0.1:{server.getsockname()[1]}"
            max_age_ms = 500
            [policy]
            threshold = 0.4
            [presence]
            every = 0
            [limits]
            rate_hz = 30
            [[sinks]]
            kind = "nanocockpit-uart"
            port = "{os.ttyname(slave)}"
            [[sinks]]
            kind = "jsonl"
            path = "{estimates}"
            """
        )
        threads = [
            threading.Thread(target=deck, args=(server, landed), daemon=True),
            threading.Thread(target=crazyflie, args=(master, landed, heard), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            run = subprocess.run(
                [sys.executable, "-c", GEARSHIFT, "run", flight, "--seconds", "6"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            landed.set()
            for thread in threads:
                thread.join(10)
    while select.select([master], [], [], 0.1)[0]:
        heard += os.read(master, 4096)
    os.close(master)
    os.close(slave)
    assert run.returncode == 0, run.stderr
    reports = [json.loads(line) for line in estimates.read_text().splitlines()]
    valid = [report for report in reports if report["valid"]]
    changes = [report["state"] for report in reports]
    changes = [now for before, now in zip([None, *changes], changes, strict=False) if now != before]
    tracked = changes.index("tracking")
    assert changes[tracked : tracked + 3] == ["tracking", "lost", "tracking"], run.stderr
    # What was said to the ground was said to the Crazyflie, in the same order and nothing else.
    messages = list(MESSAGE.iter_unpack(bytes(heard)))
    assert {tag for tag, *_ in messages} == {bytes.fromhex("90190832")}
    said = [[report["values"][name] for name in ("x", "y", "z", "phi")] for report in valid]
    assert len(said) > CONNECTIONS * IMAGES / 2
    assert np.allclose([values for _, _, *values in messages], said, atol=1e-5)
    # Stamped with the state at the time of the image; the first may come before any state.
    ticks = [stamp for _, stamp, *_ in messages]
    assert ticks == sorted(ticks)
    assert all(stamp % 20 == 0 for stamp in ticks)
    assert ticks[-1] > 1000
