"""`gearshift run` as a process: signals, systemd, full disks, closed pipes, what it imports."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gearshift.runtime.cli import main
from gearshift.runtime.recordings.recording import RecordingReader

from ...waiting import PATIENCE_S, wait_until

RECORDINGS = Path(__file__).parents[3] / "sim" / "data" / "recordings"
FLOWN = RECORDINGS / "val-05000.mcap"
FRAMES = 250
HEAVY = (
    *("torch", "cv2", "matplotlib", "pandas", "scipy", "rich", "onnx", "h5py", "moderngl"),
    *("tqdm", "rosbags", "pymavlink", "serial", "rerun", "ai_edge_litert", "http.server"),
)


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """A flight from a shipped recording, JSON lines and a recording on."""
    path = tmp_path / "flight.toml"
    path.write_text(
        f"""
schema_version = 1
[source]
kind = "recording"
path = "{FLOWN}"
pace = "none"
[policy]
threshold = 0.4
[[sinks]]
kind = "jsonl"
[recording]
folder = "{tmp_path / "recorded"}"
[log]
every_s = 0.2
"""
    )
    return path


def command(flight: Path, *overrides: str) -> list[str]:
    words = [sys.executable, "-m", "gearshift.runtime.cli", "run", str(flight)]
    code = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"
    words[1:3] = ["-c", code]
    for override in overrides:
        words += ["--set", override]
    return words


@contextmanager
def flying(words: list[str], **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    # Unbuffered: a line that waits in a buffer is seen neither by select nor by communicate.
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **more
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE_S)[0], "no estimate came"
    document = json.loads(process.stdout.readline())
    assert isinstance(document, dict)
    return document


LOOP = ("source.pace=recorded", "source.loop=true", "source.rate_hz=100")


def test_a_recording_is_flown_whole(flight: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(flight), capture_output=True, timeout=PATIENCE_S, check=True, text=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["sequence"] for line in lines] == list(range(FRAMES))
    (recorded,) = (tmp_path / "recorded").glob("*.mcap")
    assert sum(1 for _ in RecordingReader(recorded)) == FRAMES
    assert main(["replay", str(recorded), "--decisions"]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_flight_and_leaves_the_recording_whole(
    flight: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with flying(command(flight, *LOOP)) as process:
        read = 1
        while first_line(process)["state"] != "tracking":
            read += 1
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err
    published = read + len(out.splitlines())
    (recorded,) = (tmp_path / "recorded").glob("*.mcap")
    entries = list(RecordingReader(recorded))  # raises for a truncated one
    assert len(entries) == published
    assert all(entry.decision is not None for entry in entries)


def test_a_flight_whose_sink_does_not_open_can_be_called_off(flight: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it waits for a reader, who never comes
    words = command(flight, *LOOP, f"sinks=[{{kind='jsonl', path='{pipe}'}}]")
    with flying(words) as process:
        # The other sink is open.
        wait_until(
            lambda: bool(list(tmp_path.glob("recorded/*.mcap"))) or process.poll() is not None
        )
        assert process.poll() is None
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert b"did not open" not in err, "it waited for the sink's time to run out"
    (recorded,) = (tmp_path / "recorded").glob("*.mcap")
    assert list(RecordingReader(recorded)) == []


def test_a_terminal_that_goes_away_ends_nothing(flight: Path) -> None:
    with flying(command(flight, *LOOP)) as process:
        first_line(process)
        process.send_signal(signal.SIGHUP)
        for _ in range(50):
            first_line(process)
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    assert b"the terminal went away; the flight goes on" in err


def test_a_killed_flight_leaves_a_readable_recording(flight: Path, tmp_path: Path) -> None:
    with flying(command(flight, *LOOP)) as process:
        for _ in range(150):
            first_line(process)
        process.kill()
        process.wait(PATIENCE_S)
    (recorded,) = (tmp_path / "recorded").glob("*.mcap")
    entries = list(RecordingReader(recorded, allow_truncated=True))
    # 100 Hz: all but the last second.
    assert len(entries) >= 50
    assert all(entry.decision is not None for entry in entries[:-1])


def test_nobody_reads_the_estimates(flight: Path, tmp_path: Path) -> None:
    """The pipe fills up, the sink blocks; the flight goes on, ends on time and records all."""
    with flying(command(flight, *LOOP, "source.rate_hz=400")) as process:
        first_line(process)
        recorded = tmp_path / "recorded"
        # 64 kB of estimates fill the pipe after about 120; the recording grows beyond that.
        wait_until(
            lambda: any(p.stat().st_size > 600 * 10_000 for p in recorded.glob("*.mcap")),
            "the recording does not grow",
        )
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        err = process.stderr.read()
    assert b"sink jsonl does not return" in err
    assert b"Fatal" not in err
    (file,) = recorded.glob("*.mcap")
    assert sum(1 for _ in RecordingReader(file)) > 400


def test_a_reader_that_leaves(flight: Path) -> None:
    """`gearshift run flight.toml | head -1`: without anybody to report to, it ends."""
    words = command(flight, "source.loop=true")
    text = flight.read_text().replace("[recording]", "[unused]").split("[unused]")
    flight.write_text(text[0] + "[log]\nlevel = 'warning'\n")
    with flying(words) as process:
        first_line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_disk_fills_and_the_flight_goes_on(flight: Path, small_disk: Path) -> None:
    done = subprocess.run(
        command(flight, f"recording.folder={small_disk}"),
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert len(done.stdout.splitlines()) == FRAMES
    assert done.stderr.count(b"recording stopped, the flight goes on") == 1
    (recorded,) = small_disk.glob("*.mcap")
    assert sum(1 for _ in RecordingReader(recorded, allow_truncated=True)) > 50


def test_systemd_is_told(flight: Path, tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(PATIENCE_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "200000"}
        with flying(command(flight, *LOOP), env=environment) as process:
            said = [systemd.recv(4096).decode()]
            assert said == ["READY=1"]
            while said.count("WATCHDOG=1") < 3 or not any(s.startswith("STATUS=") for s in said):
                said.append(systemd.recv(4096).decode())
            process.terminate()
            while said[-1] != "STOPPING=1":
                said.append(systemd.recv(4096).decode())
            process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0
    assert any(s.startswith("STATUS=tracking") for s in said)


def test_the_unit_is_one_for_systemd(
    flight: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(sys.executable).with_name("gearshift"))])
    assert main(["run", str(flight), "--print-unit", "--set", "policy.threshold=0.5"]) == 0
    unit = capsys.readouterr().out
    assert "Type=notify" in unit
    assert f"run {flight} --set policy.threshold=0.5" in unit
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / "gearshift.service"
    file.write_text(unit)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    assert "gearshift.service" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_nothing_heavy_is_imported(flight: Path) -> None:
    code = (
        "import sys; from gearshift.runtime.cli import main; code = main(sys.argv[1:]); "
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]; "
        "sys.stderr.write('heavy: ' + ' '.join(heavy)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(flight)],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stderr.decode().endswith("heavy: ")


def test_a_moving_budget_is_decided_again_exactly(flight: Path, tmp_path: Path) -> None:
    overrides = ("policy.budget.large_share=0.5", "limits.deadline_ms=0.8")
    subprocess.run(command(flight, *overrides), capture_output=True, timeout=PATIENCE_S, check=True)
    (recorded,) = (tmp_path / "recorded").glob("*.mcap")
    thresholds = {
        entry.decision.estimate.threshold
        for entry in RecordingReader(recorded)
        if entry.decision is not None
    }
    assert len(thresholds) > 100
    assert main(["replay", str(recorded), "--decisions"]) == 0


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("source.path=nowhere.mcap", "nowhere.mcap"),
        ("policy.name=opp", "did you mean 'op'"),
        ("sinks=[{kind='jsonl', path='/nowhere/x'}]", "/nowhere/x"),
        ("prometheus={port=1}", "port 1"),
    ],
)
def test_a_flight_that_cannot_begin_says_so_in_one_line(
    flight: Path, override: str, said: str, tmp_path: Path
) -> None:
    if "port" in override and os.geteuid() == 0:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            override, said = f"prometheus={{port={port}}}", f"port {port}"
            check_one_line(flight, override, said)
        assert not (tmp_path / "recorded").exists(), "the flight had begun"
        return
    check_one_line(flight, override, said)


def check_one_line(flight: Path, override: str, said: str) -> None:
    done = subprocess.run(
        command(flight, override, *LOOP[:2]),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("gearshift: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_time_that_is_none_is_wrong_usage(flight: Path, seconds: str) -> None:
    with pytest.raises(SystemExit) as usage:
        main(["run", str(flight), "--seconds", seconds])
    assert usage.value.code == 2


def test_it_ends_after_the_given_time(flight: Path) -> None:
    done = subprocess.run(
        [*command(flight, *LOOP), "--seconds", "0.3"],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout
