"""A board as its host sees it: exact outputs, time-outs that hold, a link that comes back."""

from __future__ import annotations

import os
import signal
from collections import deque
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from gearshift.firmware_bridge.board.board import Board
from gearshift.firmware_bridge.board.board_configuration import BoardNetworks, configure_board
from gearshift.firmware_bridge.board.board_loop import BoardLoop
from gearshift.firmware_bridge.board.network_image import pack_bundle
from gearshift.firmware_bridge.emulation.emulator import (
    EmulatedPort,
    Emulator,
    camera_file,
    missing_tools,
)
from gearshift.firmware_bridge.line.channel import BoardRefusedError, BoardTimeoutError
from gearshift.firmware_bridge.line.link import parse_address
from gearshift.firmware_bridge.line.messages import Ability, CountKind
from gearshift.firmware_bridge.line.ports import Port
from gearshift.firmware_bridge.line.transfer import Transfer
from gearshift.firmware_bridge.line.wire import Parser, to_line
from gearshift.firmware_bridge.measuring.board_target import Target, open_target
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policies import ALWAYS_SMALL, ANCHOR, AUX_SM, OP, RANDOM
from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.engines.integer_engine import IntegerEngine
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import ConfigurationError, FrameError, LinkError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.types import EstimateFlag, Frame, Image, NetworkRole, Reason

from ...waiting import PATIENCE_S

FRAME_NS = 33_333_333
FLIGHT = Path(__file__).parents[3] / "sim" / "data" / "recordings" / "known-05001.mcap"
HEIGHT, WIDTH = 96, 160


def random_image(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def tables(network: IntegerNetwork, number: int) -> bytes:
    calibration = Calibration.from_components(network.network.components)
    return configure_board(calibration, ALWAYS_SMALL, BoardNetworks(number, number)).pack()


def test_every_network_gives_the_integer_engines_outputs(target: Target, board: Board) -> None:
    for number, network in target.known(board).items():
        engine = IntegerEngine(network)
        for seed in range(3):
            image = random_image(seed)
            run = board.infer(number, image)
            assert np.array_equal(run.outputs, engine.run_integers(image))
            assert run.round_trip_s >= run.compute_s >= 0
            assert (run.count > 0) == (board.info.count_kind is not CountKind.NONE)


def test_frames_that_overlap_keep_apart(target: Target, board: Board) -> None:
    known = target.known(board)
    engines = {number: IntegerEngine(network) for number, network in known.items()}
    pending: deque[tuple[Transfer, int, Image]] = deque()
    for seed in range(24):
        if len(pending) == board.info.slots:
            transfer, number, image = pending.popleft()
            outputs = board.finish_inference(transfer).outputs
            assert np.array_equal(outputs, engines[number].run_integers(image))
        number, image = seed % len(engines), random_image(seed)
        pending.append((board.submit(number, image), number, image))
    while len(pending) < board.info.slots:
        pending.append((board.submit(0, image), 0, image))
    with pytest.raises(LinkError, match="frames at a time"):
        board.submit(0, image)
    for transfer, number, image in pending:
        outputs = board.finish_inference(transfer).outputs
        assert np.array_equal(outputs, engines[number].run_integers(image))


def test_it_says_what_it_has(target: Target, board: Board) -> None:
    networks = {n.network.name: n for n in target.networks}
    for there in board.networks:
        network = networks[there.name].network
        assert (there.width, there.height) == (network.width, network.height)
        assert np.array_equal(there.scale, networks[there.name].output_scale)
        grid = network.grid
        assert there.grid == (None if grid is None else (grid.columns, grid.rows))
    status = board.status()
    assert status.bundle_status == 0
    assert 0 < status.needed_bytes <= status.arena_bytes
    assert board.echo(bytes(range(256))).time_us > 0
    assert board.counters()["good"] > 0


def test_refusals_say_what_was_wrong(board: Board) -> None:
    with pytest.raises(BoardRefusedError, match="no such network"):
        board.infer(200, random_image(0))
    with pytest.raises(BoardRefusedError, match="does not fit"):
        board.infer(0, np.zeros((HEIGHT, WIDTH // 2), dtype=np.uint8))
    assert board.connected
    board.infer(0, random_image(0))


def test_the_loop_has_to_be_configured_and_frames_to_come_in_order(
    target: Target, board: Board
) -> None:
    board.reset()
    image = random_image(1)
    with pytest.raises(BoardRefusedError, match="board configure"):
        board.process(image, 1, FRAME_NS)
    number, network = next((i, n) for i, n in target.known(board).items() if n.network.components)
    board.configure(tables(network, number))
    expected = IntegerEngine(network).run(image)
    for frame in (1, 2, 7):
        turn = board.process(image, frame, frame * FRAME_NS)
        assert turn.estimate.values.tobytes() == expected.tobytes()
        assert turn.estimate.frame == frame
    with pytest.raises(BoardRefusedError, match="later frame"):
        board.process(image, 7, 8 * FRAME_NS)
    board.reset_history()
    assert board.process(image, 1, FRAME_NS).estimate.index == 0


def test_refused_tables_leave_the_loop_as_it_was(target: Target, board: Board) -> None:
    number, network = next((i, n) for i, n in target.known(board).items() if n.network.components)
    good = tables(network, number)
    board.configure(good)
    damaged = bytearray(good)
    damaged[-1] ^= 1
    with pytest.raises(ConfigurationError, match="refused its configuration"):
        board.configure(bytes(damaged))
    image = random_image(3)
    expected = IntegerEngine(network).run(image)
    assert board.process(image, 1, 0).estimate.values.tobytes() == expected.tobytes()
    with pytest.raises(ConfigurationError, match="the board takes"):
        board.configure(bytes(board.info.table_bytes + 4))


def test_a_reset_board_gets_its_configuration_again(target: Target, board: Board) -> None:
    number, network = next((i, n) for i, n in target.known(board).items() if n.network.components)
    board.configure(tables(network, number))
    boot = board.info.boot
    board.reset()
    assert board.info.boot != boot
    assert board.status().configured
    board.process(random_image(0), 1, 0)


def test_the_threshold_moves(target: Target, board: Board) -> None:
    number, network = next((i, n) for i, n in target.known(board).items() if n.network.components)
    calibration = Calibration.from_components(network.network.components)
    loop = BoardLoop(
        board, BoardNetworks(number, number), calibration, RANDOM, threshold=float("inf")
    )
    frames = [Frame(random_image(i), i * FRAME_NS, i, "test") for i in range(6)]
    assert {loop.process(frame).reason for frame in frames[:3]} == {Reason.EASY}
    loop.set_threshold(float("-inf"))
    estimates = [loop.process(frame) for frame in frames[3:]]
    assert {estimate.reason for estimate in estimates} == {Reason.HARD}
    assert {estimate.answered for estimate in estimates} == {NetworkRole.LARGE}
    board.reset()
    again = loop.process(frames[0])
    assert again.reason is Reason.HARD
    assert again.threshold == loop.threshold == float("-inf")


@pytest.mark.slow
def test_the_boards_own_camera(networks: tuple[IntegerNetwork, ...]) -> None:
    """The board decides, the host hears of it: every frame of the camera, in turn."""
    images = [random_image(seed) for seed in range(5)]
    for port in EmulatedPort:
        if missing_tools(port):
            continue
        with (
            open_target(port, networks, camera=camera_file(images, 20_000)) as target,
            target.connect() as board,
        ):
            assert Ability.CAMERA in board.info.abilities
            network = target.known(board)[0]
            board.configure(tables(network, 0))
            engine = IntegerEngine(network)
            expected = [engine.run(image).tobytes() for image in images]
            estimates = list(board.stream(12))
            assert [e.frame for e in estimates] == list(range(12))
            assert [e.values.tobytes() for e in estimates] == [
                expected[i % len(images)] for i in range(12)
            ]
            assert board.counts.channel.events_lost == 0
            assert not board.status().streaming
            board.infer(0, images[0])


def test_an_absent_board_is_one_line() -> None:
    with pytest.raises(LinkError, match="cannot open") as caught:
        Board(parse_address("/dev/gearshift-is-not-here"), connect_s=0.2)
    assert "\n" not in str(caught.value)


def test_a_silent_line_is_no_board() -> None:
    master, slave = os.openpty()
    try:
        with pytest.raises(LinkError, match="baud rate"):
            Board(parse_address(os.ttyname(slave)), connect_s=0.2)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.slow
def test_a_board_that_stands_still_costs_its_time_out_then_nothing(posix: Target) -> None:
    """Stopped, the process keeps its pty open: silence, not an error."""
    address = replace(posix.address, timeout_s=1.0)
    assert posix.emulator is not None
    with Board(address, posix.open_port) as board:
        image = random_image(0)
        expected = board.infer(0, image).outputs
        os.kill(posix.emulator.pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(LinkError):
                    board.infer(0, image)
            with pytest.raises(LinkError, match="down"):
                board.infer(0, image)
            assert not board.connected
        finally:
            os.kill(posix.emulator.pid, signal.SIGCONT)
        assert board.wait(PATIENCE_S)
        assert np.array_equal(board.infer(0, image).outputs, expected)
        assert board.counts.losses == 1


def test_a_killed_board_is_gone_at_once(posix: Target) -> None:
    assert posix.emulator is not None
    with posix.connect() as board:
        os.kill(posix.emulator.pid, signal.SIGKILL)
        posix.emulator.wait()
        with pytest.raises(LinkError) as caught:
            board.infer(0, random_image(0))
        assert not isinstance(caught.value, BoardTimeoutError)
        with pytest.raises(LinkError, match="down"):
            board.echo(b"")


def test_a_lost_link_loses_frames_of_the_loop_and_no_more(posix: Target) -> None:
    assert posix.emulator is not None
    network = posix.networks[0]
    calibration = Calibration.from_components(network.network.components)
    with posix.connect() as board:
        loop = BoardLoop(board, BoardNetworks(0, 0), calibration, OP, threshold=0.1)
        assert loop.process(Frame(random_image(0), 0, 0, "test")).reason is Reason.FIRST_FRAME
        with pytest.raises(FrameError, match="the board takes"):
            loop.process(Frame(random_image(0)[:-1], 0, 0, "test"))
        os.kill(posix.emulator.pid, signal.SIGKILL)
        posix.emulator.wait()
        for sequence in range(1, 4):
            lost = loop.process(Frame(random_image(0), sequence * FRAME_NS, sequence, "test"))
            assert lost.reason is Reason.BOTH_FAILED
            assert lost.flags == EstimateFlag.DEGRADED | EstimateFlag.LOST
            assert np.isnan(lost.values).all()
            assert lost.sequence == lost.index == sequence
        loop.reset()


def test_a_closed_board_says_so(board: Board) -> None:
    board.close()
    board.close()
    with pytest.raises(LinkError, match="closed"):
        board.echo(b"")


def test_two_hosts_take_turns_and_notice(posix: Target) -> None:
    """The second hello ends the first session; nobody gets the other's answers."""
    bundle = pack_bundle(posix.networks).image
    with Emulator(EmulatedPort.POSIX, bundle, tcp=True) as emulator:
        address = replace(parse_address(emulator.url), timeout_s=5.0)
        with Board(address) as first:
            image = random_image(5)
            expected = first.infer(0, image).outputs
            with Board(address) as second:
                assert np.array_equal(second.infer(0, image).outputs, expected)
            with pytest.raises(LinkError):
                first.infer(0, image)
            assert first.wait(PATIENCE_S)
            assert np.array_equal(first.infer(0, image).outputs, expected)


class CreditWatch:
    """A line that keeps the account of bytes in unanswered commands."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._answers = Parser()
        self._open: dict[int, int] = {}
        self.most = 0

    def write(self, data: bytes) -> None:
        for message in Parser().feed(data):
            self._open[message.sequence] = len(to_line(message))
        self.most = max(self.most, sum(self._open.values()))
        self._port.write(data)

    def read(self, timeout_s: float) -> bytes:
        data = self._port.read(timeout_s)
        for message in self._answers.feed(data):
            self._open.pop(message.sequence, None)
        return data

    def close(self) -> None:
        self._port.close()


def test_unanswered_commands_never_exceed_the_boards_credit(posix: Target) -> None:
    line = CreditWatch(posix.open_port())
    with Board(posix.address, lambda: line) as board:
        pending = deque(board.submit(1, random_image(k)) for k in range(board.info.slots))
        for k in range(9):
            board.finish_inference(pending.popleft())
            pending.append(board.submit(1, random_image(k)))
        while pending:
            board.finish_inference(pending.popleft())
        assert board.info.credit < board.info.slots * HEIGHT * WIDTH
        assert board.info.credit / 2 < line.most <= board.info.credit


class OldCommands:
    """A line that brings back, before each command, one of an older session with its number."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.brought = 0

    def write(self, data: bytes) -> None:
        for message in Parser().feed(data):
            if message.session:
                self._port.write(to_line(replace(message, session=message.session ^ 0x100)))
                self.brought += 1
        self._port.write(data)

    def read(self, timeout_s: float) -> bytes:
        return self._port.read(timeout_s)

    def close(self) -> None:
        self._port.close()


def test_commands_of_an_older_session_disturb_nobody(posix: Target) -> None:
    line = OldCommands(posix.open_port())
    image = random_image(6)
    expected = IntegerEngine(posix.networks[0]).run_integers(image)
    with Board(posix.address, lambda: line) as board:
        for _ in range(5):
            assert np.array_equal(board.infer(0, image).outputs, expected)
        assert board.counts.losses == 0
        assert board.counts.channel.foreign >= line.brought - 1
        assert board.counters()["wrong_session"] >= line.brought - 1
    assert line.brought > 20


def test_another_hosts_configuration_does_not_stay(posix: Target) -> None:
    """Whoever comes back flies with its own tables, though the board was never reset."""
    bundle = pack_bundle(posix.networks).image
    with Emulator(EmulatedPort.POSIX, bundle, tcp=True) as emulator:
        address = replace(parse_address(emulator.url), timeout_s=5.0)
        image = random_image(5)
        ours, theirs = (IntegerEngine(n).run(image).tobytes() for n in posix.networks[:2])
        with Board(address) as first:
            first.configure(tables(posix.networks[0], 0))
            assert first.process(image, 1, 0).estimate.values.tobytes() == ours
            with Board(address) as second:
                second.configure(tables(posix.networks[1], 1))
                assert second.process(image, 1, 0).estimate.values.tobytes() == theirs
            with pytest.raises(LinkError):
                first.process(image, 2, 1)
            assert first.wait(PATIENCE_S)
            assert first.process(image, 3, 2).estimate.values.tobytes() == ours


@pytest.mark.parametrize("policy", [OP, AUX_SM, ANCHOR, RANDOM], ids=lambda policy: policy.name)
def test_the_loop_over_a_real_flight_is_the_schedulers_to_the_bit(
    target: Target, board: Board, policy: Policy
) -> None:
    known = target.known(board)
    number = {network.network.name: i for i, network in known.items()}
    parts = BoardNetworks(number["F2"], number["F1"], number["aux"])
    small, large, aux = (IntegerEngine(known[number[n]]) for n in ("F2", "F1", "aux"))
    calibration = Calibration.from_components(small.network.components)
    ensemble = Ensemble("test", small, large, aux, calibration)
    threshold = {"op": 1.5, "aux-sm": 0.5, "anchor": 0.3, "random": 0.5}[policy.name]
    scheduler = Scheduler(ensemble, policy, threshold)
    loop = BoardLoop(board, parts, calibration, policy, threshold=threshold)
    chosen = set()
    for entry in islice(RecordingReader(FLIGHT), 0, 30):
        there, here = loop.process(entry.frame), scheduler.process(entry.frame)
        assert (
            np.array(there.values, np.float32).tobytes()
            == np.array(here.values, np.float32).tobytes()
        )
        for name in ("sequence", "answered", "networks", "signal", "threshold", "reason", "flags"):
            assert getattr(there, name) == getattr(here, name), name
        assert there.index == here.index
        for role, output in scheduler.outputs.items():
            assert loop.outputs[role].tobytes() == output.tobytes()
        chosen.add(there.answered)
    assert chosen == {NetworkRole.SMALL, NetworkRole.LARGE}
