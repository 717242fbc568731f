"""The `board` engine: conformance, half and half, and what a flight sees of a line that fails."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gearshift.firmware_bridge.board.board_engine import BoardEngine
from gearshift.firmware_bridge.board.network_image import pack_bundle
from gearshift.firmware_bridge.emulation.emulator import EmulatedPort, Emulator, missing_tools
from gearshift.firmware_bridge.measuring.board_target import Target, integer_networks
from gearshift.runtime.decide.policies import ALWAYS_LARGE, OP
from gearshift.runtime.engines.engine_conformance import EngineCheck, engine_checks
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.ensembles.loading import load_ensemble
from gearshift.runtime.errors import ConfigurationError, EngineError, LinkError, NetworkError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.types import EstimateFlag, Frame, NetworkRole, Reason

from ...waiting import PATIENCE_S

RECORDINGS = Path(__file__).parents[3] / "sim" / "data" / "recordings"
FRAMES = {EmulatedPort.POSIX: 60, EmulatedPort.RV32: 20}


def noise(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (96, 160), dtype=np.uint8)


@pytest.mark.parametrize("check", engine_checks(), ids=lambda check: check.__name__)
def test_conformance(target: Target, check: EngineCheck) -> None:
    """On one board that stays, as a real one does."""
    address = f"{target.address.url}?baud={target.address.baud}&timeout=5"
    for name in ("F2", "aux"):
        check(partial(load_engine, name, engine=f"board:{address}"))


@pytest.mark.parametrize("port", EmulatedPort)
def test_a_flight_on_the_board_is_the_integer_engines_to_the_bit(port: EmulatedPort) -> None:
    """A shipped flight, all three networks of D1 on the board."""
    lacking = missing_tools(port)
    if lacking:
        pytest.skip(f"the {port} board needs {', '.join(lacking)}")
    frames = [entry.frame for entry in RecordingReader(RECORDINGS / "known-05000.mcap")]
    flown = []
    for engine in (f"board:{port}", "integer"):
        ensemble = load_ensemble("D1", engine=engine)
        scheduler = Scheduler(ensemble, OP, ensemble.thresholds["op"]["equal-error"])
        flown.append([scheduler.process(frame) for frame in frames[: FRAMES[port]]])
        ensemble.close()
    for there, here in zip(*flown, strict=True):
        assert np.float32(there.values).tobytes() == np.float32(here.values).tobytes()
        assert (there.networks, there.reason, there.signal) == (
            here.networks,
            here.reason,
            here.signal,
        )
    assert any(estimate.networks == (NetworkRole.SMALL,) for estimate in flown[0]) or (
        port is EmulatedPort.RV32
    )


@pytest.fixture
def half_and_half(posix: Target) -> Ensemble:
    """Small on the board, large here."""
    here = load_ensemble("D1", engine="integer")
    small = load_engine("F1", engine=f"board:{posix.address.url}?timeout=1")
    return dataclasses.replace(here, small=small)


def test_the_other_network_answers_while_the_link_is_down(
    posix: Target, half_and_half: Ensemble, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = Scheduler(half_and_half, OP, 1e9)
    frames = [Frame(noise(0), i * 33_333_333, i, "test") for i in range(6)]
    assert scheduler.process(frames[0]).flags is EstimateFlag.NONE
    assert scheduler.process(frames[1]).answered is NetworkRole.SMALL
    assert posix.emulator is not None
    os.kill(posix.emulator.pid, signal.SIGKILL)
    posix.emulator.wait()
    with caplog.at_level(logging.WARNING):
        for frame in frames[2:]:
            estimate = scheduler.process(frame)
            assert estimate.answered is NetworkRole.LARGE
            assert estimate.reason is Reason.PROBE_FAILED
            assert estimate.flags == EstimateFlag.DEGRADED
            assert np.isfinite(estimate.values).all()
    told = [r.message for r in caplog.records if "network F1 failed" in r.message]
    assert len(told) == 1
    half_and_half.close()


def test_it_comes_back_under_another_name(posix: Target, tmp_path: Path) -> None:
    """A udev link that points to a new device once the board is plugged in again."""
    bundle = pack_bundle(posix.networks).image
    link = tmp_path / "board-by-id"
    assert posix.emulator is not None
    link.symlink_to(posix.emulator.url)
    engine = load_engine("F2", engine=f"board:{link}?timeout=1")
    assert isinstance(engine, BoardEngine)
    expected = load_engine("F2", engine="integer").run(noise(1)).tobytes()
    assert engine.run(noise(1)).tobytes() == expected
    posix.emulator.close()
    with pytest.raises(EngineError):
        engine.run(noise(1))
    with pytest.raises(EngineError, match="down"):
        engine.run(noise(1))
    with Emulator(EmulatedPort.POSIX, bundle) as again:
        link.unlink()
        link.symlink_to(again.url)
        assert engine.wait(PATIENCE_S)
        assert engine.run(noise(1)).tobytes() == expected
        engine.close()


def test_a_board_that_comes_back_with_other_networks_is_refused(
    posix: Target, tmp_path: Path
) -> None:
    link = tmp_path / "board-by-id"
    assert posix.emulator is not None
    link.symlink_to(posix.emulator.url)
    engine = load_engine("F2", engine=f"board:{link}?timeout=1")
    assert isinstance(engine, BoardEngine)
    posix.emulator.close()
    with pytest.raises(EngineError):
        engine.run(noise(0))
    with Emulator(EmulatedPort.POSIX, pack_bundle(integer_networks(["aux"])).image) as other:
        link.unlink()
        link.symlink_to(other.url)
        assert engine.wait(PATIENCE_S)
        with pytest.raises(EngineError, match="no longer has F2"):
            engine.run(noise(0))
        engine.close()


def test_link_time_and_compute_time_are_told_apart(posix: Target) -> None:
    engine = load_engine("F1", engine=f"board:{posix.address.url}")
    assert isinstance(engine, BoardEngine)
    before = engine.last
    engine.run(noise(0))
    assert before is None
    assert engine.last is not None
    assert 0 < engine.last.compute_s <= engine.last.round_trip_s
    engine.close()


def test_a_board_without_the_network_says_what_it_has(posix: Target) -> None:
    with pytest.raises(NetworkError, match=r"no M1\.0 .* but F2 .*board bundle"):
        load_engine("M1.0", engine=f"board:{posix.address.url}")


@pytest.mark.parametrize("engine", ["board", "board:"])
def test_without_an_address_it_says_how_to_give_one(engine: str) -> None:
    with pytest.raises(ConfigurationError, match="needs to know where"):
        load_engine("F2", engine=engine)


def test_an_absent_board_is_a_link_error() -> None:
    with pytest.raises(LinkError, match="cannot open"):
        load_engine("F2", engine="board:/dev/gearshift-is-not-here")


def test_always_large_needs_one_network_only(posix: Target, half_and_half: Ensemble) -> None:
    scheduler = Scheduler(half_and_half, ALWAYS_LARGE)
    assert posix.emulator is not None
    posix.emulator.close()
    estimate = scheduler.process(Frame(noise(0), 0, 0, "test"))
    assert estimate.flags is EstimateFlag.NONE
    half_and_half.close()
