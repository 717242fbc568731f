"""The `board` engine: a network that runs on a board; small, large or all of an ensemble may.

`board:ADDRESS` names a board on a line (see `link.parse_address`); `board:posix` and `board:rv32`
start an emulated one that is given the networks it is asked for.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from gearshift.firmware_bridge.board.board import Board, Inference
from gearshift.firmware_bridge.board.network_image import (
    network_identity,
    pack_bundle,
    pack_network,
)
from gearshift.firmware_bridge.emulation.emulator import EmulatedPort, Emulator
from gearshift.firmware_bridge.line.link import BoardAddress, parse_address
from gearshift.runtime.engines.engine import check_image
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.engines.network import INTEGER, NetworkSource
from gearshift.runtime.errors import ConfigurationError, EngineError, LinkError, NetworkError
from gearshift.runtime.types import FloatArray, Image

EMULATED_TIMEOUT_S = 5.0
"""An emulated board shares this computer with whatever else it does."""


class SharedBoard:
    """The one connection to a board, for all engines that run on it; closed with the last of them.

    emulated: start this port and give it the networks that engines ask for.
    """

    def __init__(self, address: BoardAddress, emulated: EmulatedPort | None = None) -> None:
        self._address = address
        self._emulated = emulated
        self._emulator: Emulator | None = None
        self._bundled: list[IntegerNetwork] = []
        self._board: Board | None = None if emulated else Board(address)
        self._users = 0

    @property
    def board(self) -> Board:
        """The connection; raises LinkError when it was closed."""
        if self._board is None:
            raise LinkError("the board was closed")
        return self._board

    def join(self, network: IntegerNetwork) -> None:
        """One more engine; raises NetworkError when the board does not have its network."""
        identity = network_identity(pack_network(network))
        if self._emulated is not None and identity not in {
            network_identity(pack_network(known)) for known in self._bundled
        }:
            self._start_with([*self._bundled, network])
        if find_number(self.board, identity) is None:
            have = ", ".join(f"{n.name} ({n.identity[:12]})" for n in self.board.networks)
            raise NetworkError(
                f"the board at {self._address.url} has no {network.network.name} "
                f"({identity[:12]}) but {have or 'no networks at all'}; write it with "
                "`gearshift board bundle`"
            )
        self._users += 1

    def leave(self) -> bool:
        """One engine less; whether it was the last."""
        self._users -= 1
        if self._users > 0:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Give everything back."""
        if self._board is not None:
            self._board.close()
            self._board = None
        if self._emulator is not None:
            self._emulator.close()
            self._emulator = None

    @property
    def unused(self) -> bool:
        """Whether no engine is on it."""
        return self._users == 0

    def _start_with(self, networks: list[IntegerNetwork]) -> None:
        if self._emulated is None:
            raise LinkError("only an emulated board can be started")
        bundle = pack_bundle(networks)
        self.close()
        self._emulator = Emulator(self._emulated, bundle.image)
        self._board = Board(replace(self._address, url=self._emulator.url))
        self._bundled = networks


def find_number(board: Board, identity: str) -> int | None:
    """The board's number of the network with that identity."""
    return next((n.number for n in board.networks if n.identity == identity), None)


class _Boards:
    """Which boards this process has open. A line can be opened once, so engines share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, SharedBoard] = {}

    def join(self, argument: str, network: IntegerNetwork) -> SharedBoard:
        """The board of an engine's argument, opened if it is not; raises what opening it does."""
        with self._lock:
            shared = self._open.get(argument)
            if shared is None:
                shared = SharedBoard(*_address_of(argument))
            try:
                shared.join(network)
            except BaseException:
                if shared.unused:
                    self._open.pop(argument, None)
                    shared.close()
                raise
            self._open[argument] = shared
            return shared

    def leave(self, argument: str, shared: SharedBoard) -> None:
        """Close it after its last engine."""
        with self._lock:
            if shared.leave():
                self._open.pop(argument, None)


_BOARDS = _Boards()


def _address_of(argument: str) -> tuple[BoardAddress, EmulatedPort | None]:
    address = parse_address(argument)
    if address.url not in tuple(EmulatedPort):
        return address, None
    if "timeout=" not in argument:
        address = replace(address, timeout_s=EMULATED_TIMEOUT_S)
    return address, EmulatedPort(address.url)


class BoardEngine:
    """Runs a network on a board; outputs are those of the integer engine, bit for bit.

    Raises LinkError when the board cannot be reached at first, NetworkError when it lacks the
    network. Later a link that fails is an EngineError, at once while it is down; it comes back by
    itself.
    """

    def __init__(self, network: IntegerNetwork, argument: str) -> None:
        self.network = network.network
        self._identity = network_identity(pack_network(network))
        self._scale = network.output_scale
        self._argument = argument
        self._shared: SharedBoard | None = _BOARDS.join(argument, network)
        self._session = -1
        self._number = 0
        self._output: FloatArray = np.zeros(len(self._scale), np.float32)
        self.last: Inference | None = None
        """The last run, which tells the line's time from the board's."""

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`."""
        check_image(image, self.network)
        try:
            board, number = self.place()
            self.last = board.infer(number, image)
        except LinkError as error:
            raise EngineError(f"{self.network.name} on {self._argument}: {error}") from error
        outputs = self.last.outputs
        if outputs.shape != self._scale.shape:
            raise EngineError(
                f"{self.network.name} on {self._argument} gave {outputs.size} outputs, "
                f"not {self._scale.size}"
            )
        np.multiply(outputs, self._scale, out=self._output, casting="same_kind")
        return self._output

    def place(self) -> tuple[Board, int]:
        """The board that it runs on, and its number there; raises LinkError, EngineError."""
        if self._shared is None:
            raise EngineError("its engine is closed")
        board = self._shared.board
        if board.session != self._session:
            self._find(board)
        return board, self._number

    def wait(self, timeout_s: float) -> bool:
        """Wait until a link that is down is up again; whether it is."""
        return self._shared is not None and self._shared.board.wait(timeout_s)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._shared is not None:
            _BOARDS.leave(self._argument, self._shared)
            self._shared = None

    def _find(self, board: Board) -> None:
        """A board that was reset may have other networks than before."""
        session = board.session
        number = find_number(board, self._identity)
        if number is None:
            raise EngineError(f"the board at {self._argument} no longer has {self.network.name}")
        self._number, self._session = number, session


def open_board(source: NetworkSource, argument: str | None) -> BoardEngine:
    """The factory of the engine `board`; raises ConfigurationError without an address."""
    if not argument:
        raise ConfigurationError(
            "engine board needs to know where: board:/dev/ttyACM0?baud=3000000, "
            "board:usb:SERIAL_NUMBER, or board:rv32 and board:posix for an emulated one"
        )
    network, _ = read_gap8_folder(source.form(INTEGER).verified_folder())
    return BoardEngine(network, argument)
