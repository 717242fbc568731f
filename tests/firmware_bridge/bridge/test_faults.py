"""Faults on the line, as figures: nothing wrong comes out, and the suite can tell."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from gearshift.firmware_bridge.emulation.emulator import Build, EmulatedPort, build
from gearshift.firmware_bridge.emulation.faults import KINDS, FaultyLine
from gearshift.firmware_bridge.emulation.relay import Pace, Relay
from gearshift.firmware_bridge.line.wire import Message, Parser, to_line
from gearshift.firmware_bridge.measuring.board_bench import bench_board
from gearshift.firmware_bridge.measuring.board_target import Target, open_target
from gearshift.firmware_bridge.measuring.soak import SoakReport, soak
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.errors import ConfigurationError

pytestmark = pytest.mark.slow


SANITIZED_BUILDS = {"address and undefined-behaviour checks": Build.SANITIZED, "plain": Build.POSIX}
FRAMES = {"posix": 300, "rv32": 40}


def assert_sound(report: SoakReport) -> None:
    assert report.passed, report
    assert report.wrong == report.hangs == 0
    assert report.delivered + report.lost >= report.frames
    assert report.delivered > 0.9 * report.frames
    assert report.repeated > 0


@pytest.mark.parametrize("rate", [0.03, 0.1])
def test_no_wrong_output_is_accepted(target: Target, rate: float) -> None:
    frames = FRAMES.get(target.address.url, 60)
    if target.emulator is not None:
        frames = FRAMES[str(target.emulator.port)]
    report = soak(target, frames, rate, seed=5)
    assert_sound(report)
    assert report.line_frames > 8 * frames
    assert sum(report.faults.values()) > rate * report.line_frames / 4


@pytest.mark.parametrize("what", SANITIZED_BUILDS)
def test_resets_in_the_middle_of_it_all(
    networks: tuple[IntegerNetwork, ...], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """An answer from before a reset is never taken for one from after it."""
    monkeypatch.setattr("gearshift.firmware_bridge.measuring.soak.RESET_EVERY", 40)
    program = _build(SANITIZED_BUILDS[what])
    with open_target("posix?timeout=2", networks, program=program) as target:
        report = soak(target, 160, 0.1, seed=6)
    assert_sound(report)
    assert report.resets >= 3
    assert report.reconnects >= 3


def test_without_the_checksum_wrong_outputs_are_accepted_and_noticed(
    networks: tuple[IntegerNetwork, ...],
) -> None:
    """The control: a board that takes any CRC must fail what the others pass."""
    program = _build(Build.UNCHECKED)
    with open_target("posix?timeout=2", networks, program=program) as target:
        report = soak(target, 400, 0.1, seed=7)
    assert report.wrong > 0
    assert not report.passed


def test_a_clean_relay_changes_nothing(posix: Target) -> None:
    report = soak(posix, 100, 0.0)
    assert report.passed
    assert report.lost == 0
    assert report.faults == {}


def test_every_fault_happens_and_is_counted() -> None:
    line = FaultyLine(1.0, random.Random(0))
    sent = [to_line(Message(12, i, 1, bytes([i % 256]) * 50)) for i in range(2000)]
    pieces = [piece for frame in sent for piece in line.pass_on(frame)]
    assert set(line.counts) == set(KINDS)
    assert sum(line.counts.values()) == line.frames >= len(sent)
    assert any(piece.pause_s for piece in pieces)
    came = list(Parser().feed(b"".join(piece.data for piece in pieces)))
    # Whole frames come out twice or late, but never one that was not sent.
    assert set(Counter(to_line(message) for message in came)) <= set(sent)
    assert 0 < len(came) < 2 * len(sent)


def test_without_faults_every_byte_passes_at_once() -> None:
    line = FaultyLine(0.0, random.Random(0))
    data = b"\0torn" + to_line(Message(1, 2, 3, b"whole")) + b"and an end"
    assert b"".join(p.data for byte in data for p in line.pass_on(bytes([byte]))) == data


def test_faults_are_the_same_for_a_seed() -> None:
    def run() -> bytes:
        line = FaultyLine(0.3, random.Random(3))
        frames = (to_line(Message(9, i, 1, b"x" * 30)) for i in range(300))
        return b"".join(piece.data for frame in frames for piece in line.pass_on(frame))

    assert run() == run()


def test_a_paced_line_never_exceeds_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of the test's own."""
    now = [100.0]
    monkeypatch.setattr("gearshift.firmware_bridge.emulation.relay.time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds * 1.5  # woken late, as on a busy computer

    monkeypatch.setattr("gearshift.firmware_bridge.emulation.relay.time.sleep", sleep)
    pace = Pace(1_000_000)
    for _ in range(1000):
        pace.wait(512)
    elapsed = now[0] - 100.0
    at_the_rate = 1000 * 512 * 10 / 1_000_000
    assert 0.98 * at_the_rate <= elapsed <= 1.02 * at_the_rate


def test_the_bench_says_what_share_of_the_line_pixels_got(posix: Target) -> None:
    """No threshold on a ratio here: CI's computers are busy; `board bench` is the judge."""
    bench = bench_board(posix, (3_000_000,), 10)
    (line,) = bench.lines
    assert line.paced
    assert line.frame_bytes == 96 * 160
    assert 0 < line.ratio <= 1.1
    assert line.ratio == pytest.approx(line.frames_per_s * 96 * 160 * 10 / 3_000_000)
    assert line.met == (line.ratio >= 0.97)
    assert bench.port == "posix"
    with pytest.raises(ConfigurationError, match="no network 'F9'"):
        bench_board(posix, (3_000_000,), 6, "F9")


def test_a_relay_survives_hosts_that_come_and_go(posix: Target) -> None:
    from dataclasses import replace

    from gearshift.firmware_bridge.board.board import Board

    with Relay(posix.open_port) as relay:
        for _ in range(3):
            with Board(replace(posix.address, url=relay.url)) as board:
                board.echo(b"hello again")


def _build(target: Build) -> Path:
    from gearshift.firmware_bridge.emulation.emulator import missing_tools

    lacking = missing_tools(EmulatedPort.POSIX)
    if lacking:
        pytest.skip(f"the posix board needs {', '.join(lacking)}")
    return build(target)
