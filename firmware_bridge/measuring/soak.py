"""What faults on the line do to a board's host, as figures: nothing wrong may ever come out.

Frames go to the board in random bursts, to its networks and through its adaptive loop, over a relay
that damages a share of all protocol frames in both directions. Every output is compared with the
integer engine's, bit for bit. A lost frame is an error that was told; a wrong one is not.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from gearshift.firmware_bridge.board.board import Board
from gearshift.firmware_bridge.board.board_configuration import BoardNetworks, configure_board
from gearshift.firmware_bridge.emulation.relay import Relay
from gearshift.firmware_bridge.line.transfer import Transfer
from gearshift.firmware_bridge.measuring.board_target import Target
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policies import ALWAYS_SMALL
from gearshift.runtime.engines.integer_engine import IntegerEngine
from gearshift.runtime.errors import LinkError
from gearshift.runtime.types import FloatArray, Image

SCHEMA_VERSION = 1
IMAGES = 32
LOOP_SHARE = 0.2
"""Of the bursts: one turn of the adaptive loop instead of frames for networks."""
RESET_EVERY = 5000
"""Frames after which the board is reset in the middle of it all."""
HANG_S = 0.5
"""By so much a call may overstay its time-out before it counts as hanging: a loaded computer."""
CLEAN_SHARE = 0.02
"""Of the frames, without faults, before and after, to compare the rate with."""
CLEAN_FEWEST = 50


@dataclass(frozen=True, slots=True)
class SoakReport:
    """The outcome. Rates are delivered frames per second: without faults, with them, without again.

    wrong: outputs that were accepted and are not the integer engine's. hangs: calls that did not
    end within time-out and `HANG_S`; longest_s is the longest call.
    """

    schema_version: int
    port: str
    frames: int
    fault_rate: float
    seed: int
    timeout_s: float
    delivered: int
    lost: int
    wrong: int
    hangs: int
    longest_s: float
    resets: int
    reconnects: int
    repeated: int
    line_frames: int
    faults: dict[str, int]
    rate_before: float
    rate_during: float
    rate_after: float
    recovery: float = field(default=0.0)
    """rate_after / rate_before."""

    @property
    def passed(self) -> bool:
        """Nothing wrong was accepted and nothing hung."""
        return self.wrong == 0 and self.hangs == 0 and self.delivered > 0


@dataclass(slots=True)
class _Tally:
    delivered: int = 0
    lost: int = 0
    wrong: int = 0
    hangs: int = 0
    longest_s: float = 0.0
    resets: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Expected:
    """Images of one size, and what each network of the board makes of them. integers, values: by
    number, (images, k)."""

    images: list[Image]
    integers: dict[int, NDArray[np.int64]]
    values: dict[int, FloatArray]


def soak(
    target: Target,
    frames: int,
    fault_rate: float,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> SoakReport:
    """Send frames to a board through a bad line; raises LinkError when it cannot be reached even
    without faults, NetworkError when none of its networks is known here."""
    choose = random.Random(seed)
    with (
        Relay(target.open_port, seed=seed) as relay,
        Board(replace(target.address, url=relay.url)) as board,
    ):
        run = _Soak(board, _expected(target, board, seed), _configure_loop(target, board), choose)
        clean = max(CLEAN_FEWEST, round(CLEAN_SHARE * frames))
        before = run.rate(clean, None)
        counted = run.tally = _Tally()
        relay.set_faults(fault_rate)
        during = run.rate(frames, progress, resets=True)
        relay.set_faults(0.0)
        faults, line_frames = dict(sorted(relay.faults.items())), relay.frames
        run.settle()
        run.tally = _Tally()
        after = run.rate(clean, None)
        counted.wrong += run.tally.wrong
        counted.hangs += run.tally.hangs
        port = board.info.port
        reconnects, repeated = board.counts.connects - 1, board.counts.channel.repeated
    return SoakReport(
        schema_version=SCHEMA_VERSION,
        port=port,
        frames=frames,
        fault_rate=fault_rate,
        seed=seed,
        timeout_s=target.address.timeout_s,
        delivered=counted.delivered,
        lost=counted.lost,
        wrong=counted.wrong,
        hangs=counted.hangs,
        longest_s=counted.longest_s,
        resets=counted.resets,
        reconnects=reconnects,
        repeated=repeated,
        line_frames=line_frames,
        faults=faults,
        rate_before=before,
        rate_during=during,
        rate_after=after,
        recovery=after / before if before else 0.0,
    )


class _Soak:
    """The frames of a soak, one burst after the other."""

    def __init__(
        self, board: Board, expected: _Expected, loop: int | None, choose: random.Random
    ) -> None:
        self.tally = _Tally()
        self._board = board
        self._expected = expected
        self._loop = loop
        self._choose = choose
        self._numbers = sorted(expected.integers)
        self._frame = count(1)

    def rate(
        self, frames: int, progress: Callable[[int], None] | None, *, resets: bool = False
    ) -> float:
        """Send so many frames; delivered ones per second."""
        started, before = time.monotonic(), self.tally.delivered
        sent, next_reset = 0, RESET_EVERY
        while sent < frames:
            if resets and sent >= next_reset:
                next_reset += RESET_EVERY
                self._reset()
            if self._loop is not None and self._choose.random() < LOOP_SHARE:
                self._turn(self._loop)
                sent += 1
            else:
                burst = self._choose.randint(1, self._board.info.slots)
                self._burst(burst)
                sent += burst
            if progress is not None:
                progress(sent)
        return (self.tally.delivered - before) / (time.monotonic() - started)

    def settle(self) -> None:
        """Until the link is up and what was under way has come or gone."""
        self._board.wait(self._board.address.timeout_s)
        deadline = time.monotonic() + self._board.address.timeout_s
        while time.monotonic() < deadline:
            try:
                self._board.echo(b"settled?")
            except LinkError:
                self._board.wait(self._board.address.timeout_s)
            else:
                return

    def _burst(self, length: int) -> None:
        pending: deque[tuple[Transfer, int, int, float]] = deque()
        for _ in range(length):
            number = self._choose.choice(self._numbers)
            image = self._choose.randrange(IMAGES)
            started = time.monotonic()
            try:
                transfer = self._board.submit(number, self._expected.images[image])
            except LinkError:
                self._failed(started)
            else:
                pending.append((transfer, number, image, started))
        for transfer, number, image, started in pending:
            try:
                outputs = self._board.finish_inference(transfer).outputs
            except LinkError:
                self._failed(started)
            else:
                self._came(started, np.array_equal(outputs, self._expected.integers[number][image]))

    def _turn(self, number: int) -> None:
        image, frame = self._choose.randrange(IMAGES), next(self._frame)
        started = time.monotonic()
        try:
            turn = self._board.process(self._expected.images[image], frame, frame * 33_333_333)
        except LinkError:
            self._failed(started)
            return
        values = turn.estimate.values
        same = values.tobytes() == self._expected.values[number][image].tobytes()
        self._came(started, same and turn.estimate.frame == frame)

    def _reset(self) -> None:
        self.tally.resets += 1
        try:
            self._board.reset()
        except LinkError:
            self._board.wait(self._board.address.timeout_s)

    def _came(self, started: float, right: bool) -> None:
        self.tally.delivered += 1
        self.tally.wrong += not right
        self._timed(started)

    def _failed(self, started: float) -> None:
        self.tally.lost += 1
        self._timed(started)
        if not self._board.connected:
            # What a flight does meanwhile is answer with the other network.
            self._board.wait(self._board.address.timeout_s)

    def _timed(self, started: float) -> None:
        took = time.monotonic() - started
        self.tally.longest_s = max(self.tally.longest_s, took)
        # A burst shares its time: the last frame of it was sent when the first one was.
        self.tally.hangs += took > self._board.address.timeout_s + HANG_S


def _expected(target: Target, board: Board, seed: int) -> _Expected:
    known = target.known(board)
    sizes = {(n.network.height, n.network.width) for n in known.values()}
    size = sorted(sizes)[-1]
    known = {i: n for i, n in known.items() if (n.network.height, n.network.width) == size}
    shape = (IMAGES, *size)
    images = list(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    integers = {}
    values: dict[int, FloatArray] = {}
    for number, network in known.items():
        engine = IntegerEngine(network)
        integers[number] = np.array([engine.run_integers(image).copy() for image in images])
        values[number] = np.array([engine.run(image).copy() for image in images])
    return _Expected(images, integers, values)


def _configure_loop(target: Target, board: Board) -> int | None:
    """Let the board's loop always answer with one network; its number, None where it has none."""
    for number, network in target.known(board).items():
        if network.network.components:
            calibration = Calibration.from_components(network.network.components)
            parts = BoardNetworks(number, number)
            board.configure(configure_board(calibration, ALWAYS_SMALL, parts).pack())
            return number
    return None
