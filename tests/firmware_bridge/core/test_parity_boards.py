"""Boards of both kinds, this computer's and the RISC-V core in QEMU, agree with Python to the bit.

Networks are run as they are; the adaptive loop is flown with networks that say what stands in
the image's pixels, so that any flight can be written as a series of images.
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gearshift.firmware_bridge.board.board import Board
from gearshift.firmware_bridge.board.board_configuration import (
    POLICIES,
    BoardNetworks,
    configure_board,
)
from gearshift.firmware_bridge.board.network_image import (
    network_identity,
    pack_bundle,
    pack_network,
)
from gearshift.firmware_bridge.emulation.emulator import EmulatedPort, Emulator, missing_tools
from gearshift.firmware_bridge.line.link import PortFinder, parse_address
from gearshift.firmware_bridge.line.messages import (
    TABLES_TARGET,
    Status,
    Type,
    hello_payload,
    process_payload,
    write_payloads,
)
from gearshift.firmware_bridge.line.wire import ANSWER, Message, Parser, to_line
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.decide.selection import REASON_CODE
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.integer_engine import IntegerEngine
from gearshift.runtime.engines.integer_network import (
    Geometry,
    IntegerKind,
    IntegerNetwork,
    connected_layer,
)
from gearshift.runtime.engines.network import zoo_folder
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import FRAME_NS, scripted_network
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Frame,
    HeadGrid,
    Image,
    NetworkRole,
    Reason,
)

pytest.importorskip("serial", reason="pyserial (extra board) is not installed")

DEPLOYMENT = Path(__file__).parents[4] / "shared" / "data" / "gap8-frontnet-160x32"
FOLDERS = [*sorted((zoo_folder() / "gap8").glob("*/")), DEPLOYMENT]
ROLES = tuple(NetworkRole)
GRID = HeadGrid(3, 2)
SIZE = (8, 8)
N = len(POSE_COMPONENTS)
FRAMES = 40
TIMEOUT_S = 30.0
"""An emulated core on a busy machine computes for a second."""


def pixel_network(
    name: str,
    first: int,
    grid: HeadGrid | None,
    scale: float,
    size: tuple[int, int] = SIZE,
) -> IntegerNetwork:
    """Its outputs are pixels first, first + 1, ... less 128, times `scale`."""
    components = () if grid is not None else POSE_COMPONENTS
    description = scripted_network(name, components, grid, size)
    geometry = Geometry(IntegerKind.FULLY_CONNECTED, 1, *size, description.output_size)
    weight = np.eye(description.output_size, size[0] * size[1], first, dtype=np.int8)
    bias = np.full(description.output_size, -128, np.int32)
    layer = connected_layer("head", geometry, weight, bias)
    scales = np.linspace(scale, 2 * scale, description.output_size)
    return IntegerNetwork(description, (layer,), scales)


PIXELS = (
    pixel_network("small", 0, None, 0.03),
    pixel_network("large", N, None, 0.03),
    pixel_network("aux", 2 * N, GRID, 0.05),
)


def real_networks() -> list[IntegerNetwork]:
    return [read_gap8_folder(folder)[0] for folder in FOLDERS if folder.is_dir()]


@pytest.fixture(params=EmulatedPort, scope="module")
def port(request: pytest.FixtureRequest) -> EmulatedPort:
    emulated = EmulatedPort(request.param)
    missing = missing_tools(emulated)
    if missing:
        pytest.skip(f"{emulated} needs {', '.join(missing)}")
    return emulated


def connected(
    port: EmulatedPort, networks: list[IntegerNetwork], *, icount: bool = False
) -> Iterator[Board]:
    with Emulator(port, pack_bundle(networks).image, icount=icount) as emulator:
        address = dataclasses.replace(parse_address(emulator.url), timeout_s=TIMEOUT_S)
        with Board(address) as board:
            yield board


@pytest.fixture(scope="module")
def real_board(port: EmulatedPort) -> Iterator[Board]:
    yield from connected(port, real_networks())


@pytest.fixture(scope="module")
def pixel_board(port: EmulatedPort) -> Iterator[Board]:
    yield from connected(port, list(PIXELS))


def test_every_network(real_board: Board) -> None:
    networks = real_networks()
    assert len(networks) >= len(FOLDERS) - 1
    for network, described in zip(networks, real_board.networks, strict=True):
        assert described.identity == network_identity(pack_network(network))
        assert described.scale.tobytes() == network.output_scale.tobytes()
        engine = IntegerEngine(network)
        rng = np.random.default_rng(1)
        for _ in range(2):
            image = rng.integers(0, 256, (described.height, described.width), dtype=np.uint8)
            found = real_board.infer(described.number, image).outputs
            assert found.tolist() == engine.run_integers(image).tolist(), network.network.name


def calibration_of(rng: np.random.Generator) -> Calibration:
    deviation = rng.uniform(0.1, 2, N).astype(np.float32)
    return dataclasses.replace(
        Calibration.from_components(POSE_COMPONENTS),
        weights=rng.uniform(0.3, 3, N).astype(np.float32),
        head_cell_gain=rng.normal(0, 1, GRID.classes).astype(np.float32),
        standard_deviation={
            NetworkRole.SMALL: 2 * deviation,
            NetworkRole.LARGE: deviation,
        },
        parameters={
            "anchor.rate": (3.0,),
            "anchor.alpha_small": tuple(rng.uniform(0, 1, 3 * N).tolist()),
            "smooth.beta_large": (0.1,),
        },
    )


def flight(rng: np.random.Generator) -> tuple[list[Image], list[int]]:
    """Images that walk about, at times with jitter and two gaps."""
    steps = rng.normal(0, 6, (FRAMES, SIZE[0] * SIZE[1]))
    pixels = np.clip(128 + np.cumsum(steps, axis=0), 0, 255).astype(np.uint8)
    times = 10**12 + np.cumsum(rng.integers(FRAME_NS // 2, 2 * FRAME_NS, FRAMES))
    times[FRAMES // 2 :] += 700_000_000
    return [row.reshape(SIZE) for row in pixels], [int(time) for time in times]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("combination", "filter_name", "per_second"),
    [(Combination.LARGE, "none", False), (Combination.FUSION, "anchor", True)],
)
def test_the_adaptive_loop(
    pixel_board: Board, policy: str, combination: Combination, filter_name: str, per_second: bool
) -> None:
    rng = np.random.default_rng([POLICIES.index(policy), per_second])
    calibration, options = calibration_of(rng), PolicyOptions(per_second=per_second, seed=5)
    distance = 50.0 if per_second else 2.0
    threshold = {"op": 2.5 * distance, "op-ahead": distance, "aux-hlc": 0.0, "anchor": 3.0}
    chosen = threshold.get(policy, 2.0 if policy in ("every", "hold") else 0.5)
    engines = [IntegerEngine(network) for network in PIXELS]
    scheduler = Scheduler(
        Ensemble("pixels", engines[0], engines[1], engines[2], calibration),
        find_policy(policy),
        chosen,
        options,
        combination=combination,
        filter_name=filter_name,
        clock=lambda: 0,
    )
    configuration = configure_board(
        calibration,
        find_policy(policy),
        BoardNetworks(0, 1, 2),
        chosen,
        options,
        combination=combination,
        filter_name=filter_name,
    )
    pixel_board.configure(configuration.pack())
    reasons = set()
    for i, (image, time) in enumerate(zip(*flight(rng), strict=True)):
        ours = scheduler.process(Frame(image, time, i, "pixels"))
        theirs = pixel_board.process(image, i + 1, time).estimate
        reasons.add(ours.reason)
        assert REASON_CODE[ours.reason] == theirs.reason
        assert ours.flags.value == theirs.flags
        assert sum(1 << ROLES.index(role) for role in ours.networks) == theirs.ran
        answered = None if ours.answered is None else ROLES.index(ours.answered)
        assert answered == theirs.answered
        for mine, board in (
            (ours.signal, theirs.signal),
            (ours.values, theirs.values),
            (ours.standard_deviation, theirs.deviation),
        ):
            assert np.array_equal(
                np.array(mine, np.float32), np.array(board, np.float32), equal_nan=True
            )
        for role, output in scheduler.outputs.items():
            assert output.tobytes() == theirs.outputs[ROLES.index(role)].tobytes()
    if find_policy(policy).signal is not None:
        assert reasons & {Reason.EASY, Reason.HELD}
        assert reasons & {Reason.HARD, Reason.FIRST_FRAME, Reason.GAP}


def test_a_frame_that_waits_does_not_reach_networks_of_another_size() -> None:
    """The loop is given networks of larger frames than a slot holds while a frame is queued."""
    missing = missing_tools(EmulatedPort.POSIX)
    if missing:
        pytest.skip(f"posix needs {', '.join(missing)}")
    large = [pixel_network(name, 0, None, 0.03, (200, 100)) for name in ("wide", "wider")]
    tables = [
        configure_board(
            Calibration.from_components(POSE_COMPONENTS),
            find_policy("always-small"),
            BoardNetworks(first, first + 1, None),
        ).pack()
        for first in (0, 2)
    ]
    with Emulator(EmulatedPort.POSIX, pack_bundle([*PIXELS[:2], *large]).image) as emulator:
        port = PortFinder(parse_address(emulator.url)).open()
        parser = Parser()
        session = 0

        def ask(*commands: tuple[Type, bytes]) -> dict[int, Message]:
            """All in one go, so that a frame still waits when tables are taken behind it."""
            nonlocal session
            sent = [Message(t, next(numbers), session, payload) for t, payload in commands]
            port.write(b"\0" + b"".join(map(to_line, sent)))
            came: list[Message] = []
            while len(came) < len(sent):
                data = port.read(TIMEOUT_S)
                assert data
                came += parser.feed(data)
            return {message.type - ANSWER: message for message in came}

        def write(image: int, target: int, content: bytes) -> None:
            for payload in write_payloads(image, target, content, 2048):
                assert ask((Type.WRITE, payload))[Type.WRITE].status == Status.OK

        def configure(image: int) -> tuple[Type, bytes]:
            return Type.CONFIGURE, struct.pack("<II", image, len(tables[image]))

        numbers = itertools.count(1)
        session = ask((Type.HELLO, hello_payload(7)))[Type.HELLO].session
        write(0, TABLES_TARGET, tables[0])
        assert ask(configure(0))[Type.CONFIGURE].status == Status.OK
        write(1, TABLES_TARGET, tables[1])
        write(1, 0, bytes(SIZE[0] * SIZE[1]))
        both = ask((Type.PROCESS, process_payload(1, 0, 1, 1)), configure(1))
        port.close()
    assert both[Type.CONFIGURE].status == Status.OK
    assert both[Type.PROCESS].status == Status.BAD_PAYLOAD


def test_a_network_takes_the_same_instructions_for_every_image() -> None:
    """Under icount; no branch of a kernel depends on what it sees. The fewest of some runs, as a
    late byte of the line may interrupt one."""
    missing = missing_tools(EmulatedPort.RV32)
    if missing:
        pytest.skip(f"rv32 needs {', '.join(missing)}")
    network = read_gap8_folder(zoo_folder() / "gap8" / "aux")[0]
    shape = (network.network.height, network.network.width)
    images = [
        np.zeros(shape, np.uint8),
        np.full(shape, 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
    ]
    for board in connected(EmulatedPort.RV32, [network], icount=True):
        counts = [min(board.infer(0, image).count for _ in range(3)) for image in images]
        assert counts[0] > network.network.mac
        assert counts == counts[:1] * len(images)
