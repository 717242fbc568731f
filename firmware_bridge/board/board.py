"""A board: networks and an adaptive loop behind a line that may fail at any moment.

Whatever the line does, a call ends within its time-out, with an answer that belongs to it or with a
LinkError; `connection` brings a link back that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.firmware_bridge.board.connection import (
    CONNECT_S,
    BoardCounts,
    Connection,
    OpenPort,
)
from gearshift.firmware_bridge.line.channel import BoardResetError
from gearshift.firmware_bridge.line.link import BoardAddress
from gearshift.firmware_bridge.line.messages import (
    Answer,
    BoardEstimate,
    BoardInfo,
    BoardNetwork,
    BoardStatus,
    Status,
    Type,
    infer_payload,
    parse_answer,
    parse_counters,
    parse_estimate,
    parse_outputs,
    parse_status,
    process_payload,
    stream_payload,
    write_payloads,
)
from gearshift.firmware_bridge.line.transfer import Transfer
from gearshift.runtime.errors import LinkError
from gearshift.runtime.types import Image


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """A network's run on the board. outputs: int32 (k,). round_trip_s: with the line.
    compute_s: the board's own time; count: its cycles or instructions, 0 where unknown."""

    outputs: NDArray[np.int32]
    round_trip_s: float
    compute_s: float
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A turn of the board's adaptive loop; times as in `Inference`."""

    estimate: BoardEstimate
    round_trip_s: float
    compute_s: float
    count: int


class Board:
    """A connected board; thread-safe, one call at a time.

    open_port: opens the line, default `PortFinder(address).open`. repeats: off, nothing reaches the
    board while it computes, for counting; then a lost byte costs a time-out. Raises LinkError when
    no board answers within `connect_s`, ConfigurationError or MissingExtraError when none ever can.
    """

    def __init__(
        self,
        address: BoardAddress,
        open_port: OpenPort | None = None,
        *,
        connect_s: float = CONNECT_S,
        repeats: bool = True,
    ) -> None:
        self._link = Connection(address, open_port, connect_s=connect_s, repeats=repeats)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def address(self) -> BoardAddress:
        """Where it is."""
        return self._link.address

    @property
    def counts(self) -> BoardCounts:
        """What happened on the link."""
        return self._link.counts

    @property
    def connected(self) -> bool:
        """Whether calls are worth trying."""
        return self._link.up

    @property
    def info(self) -> BoardInfo:
        """What the board said when it was last connected."""
        return self._link.info

    @property
    def networks(self) -> tuple[BoardNetwork, ...]:
        """The networks it has, by number."""
        return self._link.networks

    @property
    def session(self) -> int:
        """Differs after every reconnection; what was asked of the board before may not hold."""
        return self._link.session

    def status(self) -> BoardStatus:
        """What it is doing; raises LinkError."""
        return parse_status(self._link.ask(Type.STATUS).body)

    def counters(self) -> dict[str, int]:
        """What it has counted since its reset; raises LinkError."""
        return parse_counters(self._link.ask(Type.COUNTERS).body)

    def echo(self, data: bytes) -> Answer:
        """Send bytes there and back; raises LinkError, also when they come back changed."""
        answer = self._link.ask(Type.ECHO, data)
        if answer.body != data:
            raise LinkError("the board's echo is not what was sent")
        return answer

    # -- networks ---------------------------------------------------------------------------------

    def infer(self, network: int, image: Image, timeout_s: float | None = None) -> Inference:
        """Run the network of that number on a frame; raises LinkError."""
        with self._link.lock:
            return self.finish_inference(self.submit(network, image, timeout_s))

    def submit(self, network: int, image: Image, timeout_s: float | None = None) -> Transfer:
        """Send a frame without waiting for its outputs, at most `info.slots` at a time; give it to
        `finish_inference` in turn. Raises LinkError."""
        return self._submit(
            image, Type.INFER, lambda number, slot: infer_payload(number, slot, network), timeout_s
        )

    def finish_inference(self, transfer: Transfer) -> Inference:
        """Wait for the outputs of a frame; raises LinkError."""
        answer = self._finish(transfer)
        _, outputs = parse_outputs(answer.body)
        round_trip_s = transfer.finished - transfer.started
        return Inference(outputs, round_trip_s, answer.compute_us * 1e-6, answer.count)

    # -- the adaptive loop ------------------------------------------------------------------------

    def configure(self, tables: bytes) -> None:
        """Give the loop its ensemble, policy and tables (`board_configuration`); the board gets
        them again after a reset. Raises LinkError, ConfigurationError when it refuses them."""
        self._link.configure(tables)

    def process(
        self, image: Image, frame: int, capture_time_ns: int, timeout_s: float | None = None
    ) -> Turn:
        """One turn of the loop; raises LinkError. frame: counts up. After an error the board may or
        may not have seen the frame."""
        with self._link.lock:
            transfer = self._submit(
                image,
                Type.PROCESS,
                lambda number, slot: process_payload(number, slot, frame, capture_time_ns),
                timeout_s,
            )
            answer = self._finish(transfer)
        round_trip_s = transfer.finished - transfer.started
        return Turn(
            parse_estimate(answer.body), round_trip_s, answer.compute_us * 1e-6, answer.count
        )

    def set_threshold(self, threshold: float) -> None:
        """Of the loop, from the next frame on, also after a reset; raises LinkError."""
        self._link.set_threshold(threshold)

    def reset_history(self) -> None:
        """Start a new flight; raises LinkError."""
        self._link.ask(Type.RESET, b"\0")

    def stream(self, frames: int, period_s: float = 0.0) -> Iterator[BoardEstimate]:
        """Estimates for `frames` frames of the board's own camera, those that come through; ends
        early when none has come for the time-out. Raises LinkError.

        `counts.channel.events_lost` counts the others.
        """
        with self._link.lock:
            channel = self._link.channel()
            channel.expect_events()
            self._link.ask(Type.STREAM, stream_payload(round(period_s * 1e6), frames, on=True))
        came = 0
        while came < frames:
            with self._link.lock, self._link.watching():
                deadline = channel.clock() + self.address.timeout_s + period_s
                while not channel.events and channel.clock() < deadline:
                    channel.pump(deadline)
                if not channel.events:
                    return
                event = channel.events.popleft()
            came = event.sequence + 1
            if event.status == Status.OK:
                yield parse_estimate(parse_answer(event).body)

    # -- life -------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the board and wait until it is back; raises LinkError when it does not come."""
        with self._link.lock:
            before = self.session
            self._link.ask(Type.RESET, b"\1")
            self._link.lose(BoardResetError("the board was reset on request"))
        self.wait(CONNECT_S)
        if self.session == before:
            raise LinkError("the board did not come back after its reset")

    def wait(self, timeout_s: float) -> bool:
        """Wait until the link is up; whether it is."""
        return self._link.wait(timeout_s)

    def close(self) -> None:
        """Give the port back; closing twice does nothing. Calls afterwards raise LinkError."""
        self._link.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- frames -----------------------------------------------------------------------------------

    def _submit(
        self,
        image: Image,
        command: Type,
        payload: Callable[[int, int], bytes],
        timeout_s: float | None,
    ) -> Transfer:
        link = self._link
        with link.lock, link.watching():
            channel = link.channel()
            if not link.slots:
                raise LinkError(f"the board takes {link.info.slots} frames at a time")
            number, slot = link.next_number(), link.slots[0]
            content = np.ascontiguousarray(image).tobytes()
            writes = write_payloads(number, slot, content, link.info.payload_limit)
            patience = link.address.timeout_s if timeout_s is None else timeout_s
            transfer = Transfer(channel, slot, writes, channel.clock() + patience)
            del link.slots[0]
            link.transfers.append(transfer)
            try:
                transfer.start(command, payload(number, slot))
            except LinkError as error:
                transfer.fail(error)
            return transfer

    def _finish(self, transfer: Transfer) -> Answer:
        link = self._link
        with link.lock, link.watching():
            while not transfer.done:
                channel = link.channel()
                channel.pump(min(t.wake() for t in link.transfers))
                for other in link.transfers:
                    other.advance()
            if transfer in link.transfers:
                link.transfers.remove(transfer)
                link.slots.append(transfer.slot)
            if transfer.error is not None:
                raise transfer.error
            link.heard()
            if transfer.answer is None:
                raise LinkError("a frame ended without an answer")
            return transfer.answer
