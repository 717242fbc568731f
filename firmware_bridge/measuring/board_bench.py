"""How much of a line the bridge uses, and what a frame costs on it: ratios measured in one run."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from gearshift.firmware_bridge.board.board import Board, Inference
from gearshift.firmware_bridge.emulation.relay import Relay
from gearshift.firmware_bridge.line.link import BITS_PER_BYTE
from gearshift.firmware_bridge.line.messages import Type, infer_payload, write_payloads
from gearshift.firmware_bridge.line.transfer import Transfer
from gearshift.firmware_bridge.line.wire import Message, to_line
from gearshift.firmware_bridge.measuring.board_target import Target
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Image

SCHEMA_VERSION = 1
TARGET_RATIO = 0.97
SINGLE_FRAMES = 20


@dataclass(frozen=True, slots=True)
class LineBench:
    """One baud rate. ratio: pixels that went through, 10 bits each, over what the line carries in
    the same time; acknowledgements and everything else of the protocol count against it.

    single_ms: median round trip of a frame that is waited for; compute_ms: the board's share of it.
    paced: the line is this computer's, slowed down; else it is the board's own.
    """

    baud: int
    paced: bool
    frames: int
    frame_bytes: int
    frames_per_s: float
    ratio: float
    met: bool
    single_ms: float
    compute_ms: float
    repeated: int


@dataclass(frozen=True, slots=True)
class BoardBench:
    """The result; network: the one that ran, which should compute faster than a frame travels."""

    schema_version: int
    port: str
    network: str
    lines: tuple[LineBench, ...]


def bench_board(
    target: Target, bauds: tuple[int, ...], frames: int, network: str | None = None
) -> BoardBench:
    """Measure. An emulated board is reached over a line paced to each rate, a real one over its
    own, which has to have that rate. Raises LinkError, ConfigurationError."""
    lines = []
    name = port = ""
    for baud in bauds:
        address = replace(target.address, baud=baud)
        if target.emulator is None:
            with Board(address, target.open_port) as board:
                line, name = _measure(board, baud, frames, network, paced=False)
                port = board.info.port
        else:
            with (
                Relay(target.open_port, baud=baud) as relay,
                Board(replace(address, url=relay.url)) as board,
            ):
                line, name = _measure(board, baud, frames, network, paced=True)
                port = board.info.port
        lines.append(line)
    return BoardBench(SCHEMA_VERSION, port, name, tuple(lines))


@dataclass(frozen=True, slots=True)
class LineRate:
    """What a line allows, computed. frames_per_s: pipelined. frame_ms: a frame's time on the line,
    which a single frame takes beside the board's computing."""

    baud: int
    line_bytes: int
    frames_per_s: float
    frame_ms: float
    ratio: float


def line_rates(width: int, height: int, bauds: tuple[int, ...], limit: int) -> list[LineRate]:
    """For frames of noise, whose encoding is about as long as that of any other; limit: the longest
    payload that the board takes. Raises LinkError when frames do not fit it."""
    image = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    writes = write_payloads(1, 0, image.tobytes(), limit)
    commands = [(Type.WRITE, payload) for payload in writes]
    commands.append((Type.INFER, infer_payload(1, 0, 0)))
    length = sum(len(to_line(Message(type_, 1, 1 << 16, data))) for type_, data in commands)
    return [
        LineRate(
            baud,
            length,
            baud / BITS_PER_BYTE / length,
            1e3 * length * BITS_PER_BYTE / baud,
            image.size / length,
        )
        for baud in bauds
    ]


def _measure(
    board: Board, baud: int, frames: int, network: str | None, *, paced: bool
) -> tuple[LineBench, str]:
    number = _choose(board, network)
    chosen = board.networks[number]
    shape = (chosen.height, chosen.width)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    single = [board.infer(number, image) for _ in range(SINGLE_FRAMES)]
    repeated = board.counts.channel.repeated
    elapsed = _pipelined(board, number, image, frames)
    per_s = frames / elapsed
    ratio = per_s * image.size * BITS_PER_BYTE / baud
    line = LineBench(
        baud=baud,
        paced=paced,
        frames=frames,
        frame_bytes=image.size,
        frames_per_s=per_s,
        ratio=ratio,
        met=ratio >= TARGET_RATIO,
        single_ms=1e3 * statistics.median(run.round_trip_s for run in single),
        compute_ms=1e3 * statistics.median(run.compute_s for run in single),
        repeated=board.counts.channel.repeated - repeated,
    )
    return line, chosen.name


def _pipelined(board: Board, number: int, image: Image, frames: int) -> float:
    """Seconds for so many frames with always the next one on its way.

    The clock starts when the first ones have come through, and the line is as full then as it is
    when the last one has.
    """
    pending: deque[Transfer] = deque()
    started = 0.0
    finished = 0
    slots = board.info.slots
    while finished < frames + slots:
        while len(pending) < slots:
            pending.append(board.submit(number, image))
        board.finish_inference(pending.popleft())
        finished += 1
        if finished == slots:
            started = time.monotonic()
    elapsed = time.monotonic() - started
    while pending:
        board.finish_inference(pending.popleft())
    return elapsed


def _choose(board: Board, name: str | None) -> int:
    """The network of that name, or the one that computes fastest."""
    if name is not None:
        for network in board.networks:
            if network.name == name:
                return network.number
        have = ", ".join(network.name for network in board.networks)
        raise ConfigurationError(f"the board has no network {name!r} but {have or 'none'}")
    if not board.networks:
        raise ConfigurationError("the board has no networks to run; write it a bundle")
    times: dict[int, Inference] = {}
    for network in board.networks:
        blank = np.zeros((network.height, network.width), dtype=np.uint8)
        times[network.number] = board.infer(network.number, blank)
    return min(times, key=lambda number: times[number].compute_s)
