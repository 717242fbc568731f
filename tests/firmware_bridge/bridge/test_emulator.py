"""Building and starting boards: what is kept, what ends with whom, what is said when it fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.firmware_bridge.board.network_image import pack_bundle
from gearshift.firmware_bridge.emulation import emulator
from gearshift.firmware_bridge.emulation.emulator import (
    Build,
    EmulatedPort,
    Emulator,
    build,
    camera_file,
    firmware_folder,
    missing_tools,
)
from gearshift.firmware_bridge.measuring.board_target import open_target
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.errors import ConfigurationError, LinkError

from ...waiting import wait_until

FUZZ = ("frames", "network_image", "configuration")


@pytest.fixture(params=EmulatedPort, ids=str)
def port(request: pytest.FixtureRequest) -> EmulatedPort:
    port = EmulatedPort(request.param)
    if missing_tools(port):
        pytest.skip(f"the {port} board needs {', '.join(missing_tools(port))}")
    return port


@pytest.fixture
def compiler() -> None:
    if missing_tools(EmulatedPort.POSIX):
        pytest.skip(f"needs {', '.join(missing_tools(EmulatedPort.POSIX))}")


@pytest.mark.slow
def test_a_build_is_made_once_per_version_of_the_sources(
    compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "firmware"
    shutil.copytree(firmware_folder(), sources, ignore=shutil.ignore_patterns("build"))
    monkeypatch.setattr(emulator, "firmware_folder", lambda: sources)
    cache = tmp_path / "cache"
    first = build(Build.LIB, cache)
    stamp = first.stat().st_mtime_ns
    assert build(Build.LIB, cache) == first
    assert first.stat().st_mtime_ns == stamp
    changed = sources / "core" / "crc32.c"
    changed.write_text(changed.read_text() + "/* changed */\n")
    assert build(Build.LIB, cache) != first
    assert not list(cache.rglob(".build-*"))


@pytest.mark.slow
def test_a_build_that_fails_says_where(
    compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "firmware"
    shutil.copytree(firmware_folder(), sources, ignore=shutil.ignore_patterns("build"))
    (sources / "core" / "crc32.c").write_text("this is no C\n")
    monkeypatch.setattr(emulator, "firmware_folder", lambda: sources)
    with pytest.raises(ConfigurationError, match=r"core/crc32\.c") as caught:
        build(Build.LIB, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("libgearshift.so"))


def test_a_missing_tool_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"apt-get install .* make"):
        build(Build.RV32, tmp_path)
    assert "riscv64-unknown-elf-gcc" in missing_tools(EmulatedPort.RV32)


def test_a_damaged_bundle_leaves_a_board_without_networks(port: EmulatedPort) -> None:
    with Emulator(port, b"no networks at all" * 10) as running:
        from gearshift.firmware_bridge.board.board import Board
        from gearshift.firmware_bridge.line.link import parse_address

        with Board(parse_address(f"{running.url}?timeout=5")) as board:
            assert board.networks == ()
            assert board.status().bundle_status != 0


def test_a_board_that_does_not_start_says_why(compiler: None) -> None:
    with pytest.raises(LinkError, match="not a file of camera frames"):
        Emulator(EmulatedPort.POSIX, b"bundle", camera=b"no camera")


def test_no_board_outlives_whoever_started_it(
    port: EmulatedPort, networks: tuple[IntegerNetwork, ...], tmp_path: Path
) -> None:
    """Not even when that was killed."""
    (tmp_path / "bundle").write_bytes(pack_bundle(networks[:1]).image)
    script = (
        "import sys, pathlib\n"
        "from gearshift.firmware_bridge.emulation.emulator import Emulator, EmulatedPort\n"
        f"board = Emulator(EmulatedPort({str(port)!r}), "
        f"pathlib.Path({str(tmp_path / 'bundle')!r}).read_bytes())\n"
        "print(board.pid, board.url, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid, _, url = starter.stdout.readline().strip().partition(" ")
        assert Path(url).exists()
        starter.kill()
        starter.wait()
        wait_until(lambda: is_gone(int(pid)), f"process {pid} is still there")


def is_gone(pid: int) -> bool:
    """A process that nobody waits for may stay as a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_emulation_options_are_for_emulated_boards() -> None:
    with (
        pytest.raises(ConfigurationError, match="real board"),
        open_target("/dev/ttyACM0", (), icount=True),
    ):
        pass


def test_camera_frames_are_of_one_size() -> None:
    import numpy as np

    with pytest.raises(ConfigurationError, match="equal size"):
        camera_file([np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)], 1000)
    with pytest.raises(ConfigurationError, match="one or more"):
        camera_file([], 1000)


@pytest.mark.slow
@pytest.mark.parametrize("what", FUZZ)
def test_the_kept_corpus_runs_clean(compiler: None, what: str, tmp_path: Path) -> None:
    """What the fuzzers found worth keeping, under sanitizers, without a fuzzer."""
    folder = firmware_folder()
    inputs = sorted((folder / "fuzz" / "corpus" / what).iterdir())
    assert inputs
    made = subprocess.run(
        ["make", "-C", folder, f"BUILD={tmp_path}", f"{tmp_path}/replay_fuzz_{what}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    program = tmp_path / f"replay_fuzz_{what}"
    ran = subprocess.run([program, *inputs], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == f"{len(inputs)} inputs"
