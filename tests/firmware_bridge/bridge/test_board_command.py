"""`gearshift board` as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.firmware_bridge.board.board_configuration import BoardNetworks, configure_board
from gearshift.firmware_bridge.board.network_image import read_bundle
from gearshift.firmware_bridge.emulation.emulator import EmulatedPort, missing_tools
from gearshift.firmware_bridge.measuring.board_profile import SCHEMA_VERSION
from gearshift.firmware_bridge.measuring.board_target import Target
from gearshift.runtime.cli import main
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.profile import ProfileKind, read_profile
from gearshift.runtime.errors import TraceError
from gearshift.runtime.types import POSE_COMPONENTS

RECORDINGS = Path(__file__).parents[3] / "sim" / "data" / "recordings"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def compiler() -> None:
    if missing_tools(EmulatedPort.POSIX):
        pytest.skip(f"needs {', '.join(missing_tools(EmulatedPort.POSIX))}")


def test_ping_and_info(posix: Target, capsys: Capture) -> None:
    address = f"{posix.address.url}?timeout=5"
    assert main(["board", "ping", address, "--count", "5", "--json"]) == 0
    ping = json.loads(capsys.readouterr().out)
    assert ping["count"] == 5
    assert 0 < ping["min_ms"] <= ping["p50_ms"] <= ping["max_ms"]
    with posix.connect() as board:
        calibration = Calibration.from_components(POSE_COMPONENTS)
        tables = configure_board(calibration, find_policy("random"), BoardNetworks(0, 1), 0.5)
        board.configure(tables.pack())
    assert main(["board", "info", address]) == 0
    text = capsys.readouterr().out
    assert "posix board, gearshift" in text
    assert "adaptive loop: random, threshold 0.5, 0 frames" in text
    assert all(f"{n.network.name} " in text for n in posix.networks)
    assert main(["board", "info", address, "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert [n["name"] for n in info["networks"]] == [n.network.name for n in posix.networks]
    assert info["info"]["count_kind"] == "none"


@pytest.mark.slow
def test_soak_says_passed_and_its_exit_code_too(capsys: Capture) -> None:
    arguments = ["board", "soak", "posix?timeout=2", "--network", "F2", "--frames", "60"]
    assert main([*arguments, "--faults", "0.1"]) == 0
    assert "wrong outputs accepted 0, hangs 0" in capsys.readouterr().out
    assert main([*arguments, "--faults", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert report["lost"] == 0


@pytest.mark.slow
def test_bench_prints_a_ratio(capsys: Capture) -> None:
    arguments = ["board", "bench", "posix?timeout=5", "--network", "aux", "--frames", "8"]
    code = main([*arguments, "--baud", "3000000", "--json"])
    bench = json.loads(capsys.readouterr().out)
    (line,) = bench["lines"]
    assert (code == 0) == line["met"] == (line["ratio"] >= 0.97)
    assert bench["network"] == "aux"


def test_rates_are_those_of_the_lines_bytes(capsys: Capture) -> None:
    assert main(["board", "rates", "--baud", "3000000", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert line["line_bytes"] > 160 * 96
    assert line["frames_per_s"] == pytest.approx(300_000 / line["line_bytes"])
    assert line["ratio"] > 0.97
    assert main(["board", "rates", "--size", "160"]) == 1


def test_configure_and_listen_to_the_boards_camera(capsys: Capture) -> None:
    arguments = ["board", "configure", "posix", "--ensemble", "D1", "--policy", "op"]
    camera = ["--camera", str(RECORDINGS / "val-05000.mcap"), "--stream", "4"]
    assert main([*arguments, "--threshold", "equal-error", *camera]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("posix board: D1 op, threshold")
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2", "3"]
    assert "small+large  first-frame  signal inf" in lines[1]


def test_a_bundle_is_what_a_board_holds(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "d2.gsb"
    assert main(["board", "bundle", "--ensemble", "D2", "--out", str(out)]) == 0
    names = [n.network.name for n in read_bundle(out.read_bytes(), "d2").networks]
    assert names == ["F2", "M1.0", "aux"]
    assert str(out) in capsys.readouterr().out


def test_a_profile_of_the_boards_own_time(posix: Target, tmp_path: Path) -> None:
    out = tmp_path / "profile.json"
    address = f"{posix.address.url}?timeout=5"
    assert main(["board", "profile", address, "--runs", "5", "--out", str(out)]) == 0
    profile = read_profile(out)
    assert profile.kind is ProfileKind.MEASURED
    assert "without the line" in profile.method
    assert set(profile.networks) == {n.network.name for n in posix.networks}
    assert all(entry.runs == 5 for entry in profile.networks.values())


@pytest.mark.slow
def test_instructions_are_deterministic_and_no_profile(tmp_path: Path) -> None:
    """Two boards, two runs: the same to the instruction, for networks and policies."""
    if missing_tools(EmulatedPort.RV32):
        pytest.skip(f"needs {', '.join(missing_tools(EmulatedPort.RV32))}")
    documents = []
    for name in ("one.json", "two.json"):
        out = tmp_path / name
        arguments = ["board", "profile", "rv32", "--instructions", "--runs", "3", "--frames", "4"]
        arguments += ["--ensemble", "D2", "--policies", "equal-error", "--out", str(out)]
        assert main([*arguments, "--recording", str(RECORDINGS / "val-05000.mcap")]) == 0
        documents.append(json.loads(out.read_text()))
        with pytest.raises(TraceError):
            read_profile(out)
    one, two = documents
    assert one["kind"] == "instructions"
    assert "no latency" in one["method"]
    assert one["schema_version"] == SCHEMA_VERSION
    assert one == two
    assert all(entry["agreeing"] == entry["runs"] for entry in one["networks"].values())
    counts = {name: entry["count"] for name, entry in one["networks"].items()}
    assert counts["M1.0"] > counts["F2"] > counts["aux"] > 1_000_000
    assert {"D2 op", "D2 always-small", "D2 always-large", "D2 aux-sm"} <= set(one["policies"])
    for entry in one["policies"].values():
        assert 0 < entry["own"] < 0.05 * entry["total"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "/dev/gearshift-is-not-here"], "cannot open"),
        (["info", "posix?bauds=1"], "unknown option 'bauds'"),
        (["bench", "posix", "--frames", "0"], "must be positive"),
        (["soak", "posix", "--faults", "2"], "between 0 and 1"),
        (["ping", "posix", "--size", "9999"], "within 0 to 512"),
        (["configure", "posix", "--ensemble", "D1", "--policy", "op"], "needs --threshold"),
        (["configure", "posix", "--ensemble", "D9", "--policy", "op"], "unknown ensemble 'D9'"),
        (["profile", "posix", "--instructions"], "counts nothing"),
        (["profile", "posix", "--policies", "x"], "is for --instructions"),
        (["info", "posix", "--network", "F9"], "unknown network 'F9'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(["board", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_emulate_runs_until_interrupted() -> None:
    # A shell's background job, which a test run may be, has its children ignore SIGINT.
    run = "import signal, sys; from gearshift.runtime.cli import main; "
    run += "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(sys.argv[1:]))"
    board = ["board", "emulate", "--network", "aux", "--faults", "0.01", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", run, *board],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["networks"] == ["aux"]
        assert main(["board", "ping", f"{said['url']}?timeout=5", "--count", "3"]) == 0
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 130
