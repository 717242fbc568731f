"""The boards that commands are pointed at: on a line, or emulated for as long as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gearshift.firmware_bridge.board.board import Board
from gearshift.firmware_bridge.board.network_image import (
    MAX_NETWORKS,
    network_identity,
    pack_bundle,
    pack_network,
)
from gearshift.firmware_bridge.emulation.emulator import EmulatedPort, Emulator
from gearshift.firmware_bridge.line.link import BoardAddress, PortFinder, parse_address
from gearshift.firmware_bridge.line.ports import Port
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.engines.network import INTEGER, find_network_source, read_manifest
from gearshift.runtime.ensembles.ensemble_records import read_ensemble
from gearshift.runtime.errors import ConfigurationError, NetworkError

EMULATED_BAUD = 3_000_000
EMULATED_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A board to work on. networks: what is known of its networks. emulator: None for a real one.

    open_port: opens its line.
    """

    address: BoardAddress
    open_port: Callable[[], Port]
    networks: tuple[IntegerNetwork, ...]
    emulator: Emulator | None = None

    def connect(self, *, repeats: bool = True) -> Board:
        """See `Board`, which says what it raises."""
        return Board(self.address, self.open_port, repeats=repeats)

    def known(self, board: Board) -> dict[int, IntegerNetwork]:
        """The networks that both sides have, by the board's number; raises NetworkError when there
        are none."""
        by_identity = {network_identity(pack_network(n)): n for n in self.networks}
        both = {
            n.number: by_identity[n.identity] for n in board.networks if n.identity in by_identity
        }
        if not both:
            have = ", ".join(n.name for n in board.networks) or "no networks"
            raise NetworkError(f"the board has {have}, none of them known here; name them")
        return both


def integer_networks(
    names: Sequence[str] = (), ensemble: str | None = None, zoo: Path | None = None
) -> tuple[IntegerNetwork, ...]:
    """The integer forms of networks (of the zoo or in folders), of an ensemble, or of the whole
    zoo when neither is named; raises NetworkError and ConfigurationError."""
    chosen = list(names)
    if ensemble is not None:
        chosen += [reference.name for reference in read_ensemble(ensemble, zoo).networks.values()]
    if not chosen:
        entries = read_manifest(zoo)["networks"].items()
        chosen = [name for name, entry in entries if INTEGER in entry["formats"]][:MAX_NETWORKS]
    return tuple(
        read_gap8_folder(find_network_source(name, zoo).form(INTEGER).verified_folder())[0]
        for name in dict.fromkeys(chosen)
    )


@contextmanager
def open_target(
    text: str,
    networks: tuple[IntegerNetwork, ...],
    *,
    program: Path | None = None,
    icount: bool = False,
    camera: bytes | None = None,
) -> Iterator[Target]:
    """`posix` and `rv32` start an emulated board with these networks; anything else is an address.

    Raises ConfigurationError, and LinkError when an emulated board does not start.
    """
    address = parse_address(text)
    if address.url not in tuple(EmulatedPort):
        if program is not None or icount or camera is not None:
            raise ConfigurationError(f"{text} is a real board; only an emulated one is made to do")
        yield Target(address, PortFinder(address).open, networks)
        return
    if "timeout=" not in text:
        address = replace(address, timeout_s=EMULATED_TIMEOUT_S)
    if "baud=" not in text:
        address = replace(address, baud=EMULATED_BAUD)
    bundle = pack_bundle(networks).image
    port = EmulatedPort(address.url)
    with Emulator(port, bundle, program=program, icount=icount, camera=camera) as emulator:
        there = replace(address, url=emulator.url)
        yield Target(there, PortFinder(there).open, networks, emulator)
