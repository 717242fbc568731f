"""One frame on its way through a board: its pixels in parts, then what is to be done with them."""

from __future__ import annotations

from collections.abc import Sequence

from gearshift.firmware_bridge.line.channel import (
    BoardRefusedError,
    BoardTimeoutError,
    Channel,
    Ticket,
)
from gearshift.firmware_bridge.line.messages import Answer, Status, Type
from gearshift.runtime.errors import LinkError

BUSY_PAUSE_S = 0.005


class Transfer:
    """Moves on whenever `advance` is called; everything is sent at once and what is lost again.

    deadline: of the channel's clock. answer or error: how it ended.
    """

    def __init__(
        self, channel: Channel, slot: int, writes: Sequence[bytes], deadline: float
    ) -> None:
        self.slot = slot
        self.deadline = deadline
        self.answer: Answer | None = None
        self.error: LinkError | None = None
        self._channel = channel
        self._writes = writes
        self._parts: list[Ticket] = []
        self._written: set[int] = set()
        self._command: tuple[Type, bytes] | None = None
        self._final: Ticket | None = None
        self._resume = 0.0
        self.started = channel.clock()
        self.finished = self.started

    @property
    def done(self) -> bool:
        """Whether there is an answer or an error."""
        return self.answer is not None or self.error is not None

    def start(self, command: Type, payload: bytes) -> None:
        """Send everything; raises LinkError when it cannot be sent before the deadline."""
        self._command = (command, payload)
        self._parts = [
            self._channel.send(Type.WRITE, write, self.deadline) for write in self._writes
        ]
        self._final = self._channel.send(command, payload, self.deadline)

    def wake(self) -> float:
        """When to call `advance` again at the latest."""
        return self._resume if self._resume > self._channel.clock() else self.deadline

    def advance(self) -> None:
        """Look at what was answered and send what has to go again."""
        if self.done or self._command is None or self._channel.clock() < self._resume:
            return
        if self._channel.clock() >= self.deadline:
            self.fail(BoardTimeoutError("the board did not take a frame and answer in time"))
            return
        try:
            self._advance_parts()
            self._advance_final()
        except LinkError as error:
            self.fail(error)

    def fail(self, error: LinkError) -> None:
        """Give up."""
        if self.done:
            return
        for ticket in (*self._parts, *([self._final] if self._final is not None else [])):
            self._channel.abandon(ticket)
        self.finished = self._channel.clock()
        self.error = error

    def _advance_parts(self) -> None:
        for index, ticket in enumerate(self._parts):
            if index in self._written or not ticket.done:
                continue
            status = ticket.result().status
            if status is Status.OK:
                self._written.add(index)
            elif status is Status.BUSY:
                # Its slot still belongs to a frame that this host has given up.
                self._resume = self._channel.clock() + BUSY_PAUSE_S
                write = self._writes[index]
                self._parts[index] = self._channel.send(Type.WRITE, write, self.deadline)
            else:
                raise refusal("write", status)

    def _advance_final(self) -> None:
        if self._command is None:
            return
        command, payload = self._command
        if self._final is not None and self._final.done:
            answer = self._final.result()
            if answer.status is Status.OK:
                self.finished = self._channel.clock()
                self.answer = answer
                return
            if answer.status not in (Status.INCOMPLETE, Status.BUSY):
                raise refusal(command.name.lower(), answer.status)
            # It overtook a part that was lost; the board has done nothing.
            self._final = None
            if answer.status is Status.BUSY:
                self._resume = self._channel.clock() + BUSY_PAUSE_S
                return
        if self._final is None and len(self._written) == len(self._parts):
            self._final = self._channel.send(command, payload, self.deadline)


_ADVICE: dict[Status, str] = {
    Status.NO_NETWORK: "it has no such network",
    Status.NETWORK_FAILED: "the network failed there",
    Status.NOT_CONFIGURED: "its adaptive loop has no ensemble: `gearshift board configure`",
    Status.OUT_OF_ORDER: "it has already seen a later frame",
    Status.NO_CAMERA: "it has no camera",
    Status.BAD_PAYLOAD: "the frame or command does not fit its networks",
    Status.UNKNOWN_COMMAND: "its firmware does not know that command; build it anew",
}


def refusal(command: str, status: Status) -> BoardRefusedError:
    """The error for a command that was not carried out."""
    reason = _ADVICE.get(status, status.name.lower().replace("_", " "))
    return BoardRefusedError(f"the board refused '{command}': {reason}", status)
