"""Status, metrics and the doctor."""

from __future__ import annotations

import io
import json
import logging
import math
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gearshift.runtime.cli import main
from gearshift.runtime.ensembles.profile import ProfileKind, read_profile
from gearshift.runtime.launch.doctor import Level, throttling
from gearshift.runtime.sinks.sink import FlightState
from gearshift.runtime.status.display import StatusLine, StatusLog, status_mode
from gearshift.runtime.status.notify import Supervisor
from gearshift.runtime.status.prometheus import ADDRESS, MetricsServer
from gearshift.runtime.status.status import Status, StatusReader

from .conftest import FaultySink, MakeRig

ONBOARD = Path(__file__).parents[3] / "docs" / "onboard.md"
FLOWN = Path(__file__).parents[3] / "sim" / "data" / "recordings" / "val-05000.mcap"


def scrape(server: MetricsServer) -> dict[str, dict[tuple[str, ...], float]]:
    """The metrics as Prometheus' own parser reads them."""
    url = f"http://{ADDRESS}:{server.port}/metrics"
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    return {
        family.name: {tuple(s.labels.values()): s.value for s in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_prometheus_reads_the_metrics(make_rig: MakeRig) -> None:
    rig = make_rig(sinks=(FaultySink(),))
    rig.until_tracking()
    server = MetricsServer(rig.flight, 0)
    try:
        scrape(server)
        for _ in range(10):
            rig.until_tracking()
        metrics = scrape(server)
        assert metrics["gearshift_state"][("tracking",)] == 1
        assert sum(metrics["gearshift_state"].values()) == 1
        assert metrics["gearshift_rate_hertz"][()] > 0
        assert metrics["gearshift_large_share"][()] == 1
        assert metrics["gearshift_threshold"][()] == -math.inf
        assert metrics["gearshift_inference_frames"][("estimates",)] >= 10
        assert metrics["gearshift_capture_frames"][("frames",)] >= 10
        assert metrics["gearshift_sink_reports"][("list", "written")] >= 10
        documented = re.findall(r"`gearshift_(\w+?)(?:_total)?(?:\{|`)", ONBOARD.read_text())
        assert {f"gearshift_{name}" for name in documented} == set(metrics)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{ADDRESS}:{server.port}/", timeout=20)
    finally:
        server.close()
    with pytest.raises(OSError, match="refused"), socket.socket() as client:
        client.connect((ADDRESS, server.port))


def test_the_status_of_a_flight(make_rig: MakeRig) -> None:
    rig = make_rig()
    reader = StatusReader(rig.flight)
    rig.until_tracking()
    status = reader.read()
    assert status.state is FlightState.TRACKING
    assert status.large_share == 1
    assert status.network == "large"
    assert status.age_ms > 0
    assert "tracking" in status.line()
    assert status.problems == ()


STATUSES = st.builds(
    Status,
    state=st.sampled_from(FlightState),
    network=st.sampled_from(["-", "small", "large"]),
    dropped=st.integers(0),
    problems=st.just(("NO FRAMES", "udp FAILED")),
    **{
        name: st.floats()
        for name in ("rate_hz", "age_ms", "large_share", "signal", "threshold", "celsius")
    },
)


@given(STATUSES)
def test_any_status_is_one_line(status: Status) -> None:
    line = status.line()
    assert "\n" not in line
    assert line.removeprefix(status.state).lstrip().startswith("NO FRAMES  udp FAILED  ")
    assert "nan" not in line


def test_the_line_makes_room_for_messages() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        line = StatusLine(stream)
        line.show("one " * 100)
        root.warning("a message")
        line.show("two")
        line.close()
        root.warning("another")
    finally:
        root.removeHandler(handler)
    shown = stream.getvalue().split("\r\x1b[2K")
    assert shown[1].startswith("one one")
    assert "\n" not in shown[1]
    assert shown[2] == "a message\n"
    assert shown[3] == "two\nanother\n"


def test_log_lines_are_shown_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    log = StatusLog()
    log.show("tracking")
    log.close()
    assert caplog.messages == ["tracking"]


def test_a_line_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status_mode("auto", estimates_on_stdout=False) == "log"
    assert status_mode("off", estimates_on_stdout=True) == "off"
    for stream in ("sys.stderr", "sys.stdout"):
        monkeypatch.setattr(f"{stream}.isatty", lambda: True)
    assert status_mode("auto", estimates_on_stdout=False) == "line"
    assert status_mode("auto", estimates_on_stdout=True) == "off"


@pytest.mark.parametrize("address", ["", "@gearshift-test", "/nowhere/notify"])
def test_systemd_that_is_not_there_is_no_problem(address: str) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    supervisor.ready()
    supervisor.alive()
    supervisor.status("x")
    supervisor.stopping()
    assert supervisor.watchdog_s == (0.5 if address else None)
    supervisor.close()
    supervisor.close()


def test_an_abstract_socket_is_told() -> None:
    name = "gearshift-test-notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name)
        systemd.settimeout(20)
        supervisor = Supervisor({"NOTIFY_SOCKET": "@" + name, "WATCHDOG_PID": "1"})
        supervisor.ready()
        assert systemd.recv(100) == b"READY=1"
        assert supervisor.watchdog_s is None
        supervisor.close()


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    path = tmp_path / "flight.toml"
    path.write_text(
        f"schema_version = 1\n[source]\nkind = 'recording'\npath = '{FLOWN}'\n"
        f"[policy]\nthreshold = 0.4\n[recording]\nfolder = '{tmp_path}'\n"
    )
    return path


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", *words, "--json", "--seconds", "0.1"])
    document = json.loads(capsys.readouterr().out)
    assert document["ready"] is (code == 0)
    return code, document


def findings(document: dict[str, Any], level: str) -> dict[str, str]:
    return {f["subject"]: f["text"] for f in document["findings"] if f["level"] == level}


def test_the_doctor_finds_nothing_wrong(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "this.json"
    code, document = doctor(capsys, str(flight), "--profile", str(profile))
    assert code == 0, document
    good = findings(document, "ok")
    assert {"processor", "networks", "source", "disk", "self-test", "profile"} <= set(good)
    assert set(document["latency_ms"]) == {"small", "large", "aux"}
    measured = read_profile(profile)
    assert measured.kind is ProfileKind.MEASURED
    assert measured.networks["F1"].p50_ms == document["latency_ms"]["small"]["p50"]
    # What it wrote is what feasibility asks for.
    options = ["--set", f"limits.profile={profile}"]
    assert main(["config", "check", str(flight), *options]) == 0
    assert main(["config", "check", str(flight), *options, "--set", "limits.rate_hz=1e6"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "subject", "said"),
    [
        ("source.path=nowhere.mcap", "source", "nowhere.mcap"),
        ("recording.folder=/proc/nowhere", "disk", "cannot be written"),
        ("ensemble.name=D9", "networks", "unknown ensemble"),
        ("policy.threshold=best", "policy", "no operating point"),
        ("policy.nme=op", "configuration", "did you mean 'name'"),
        ("limits.profile=nowhere.json", "configuration", "nowhere.json"),
        ("sinks=[{kind='mavlink', to='/dev/nowhere'}]", "mavlink", "/dev/nowhere is not there"),
        ("limits.rate_hz=100000", "self-test", "easy frames take"),
    ],
)
def test_the_doctor_finds_what_is_wrong(
    flight: Path,
    capsys: pytest.CaptureFixture[str],
    override: str,
    subject: str,
    said: str,
) -> None:
    code, document = doctor(capsys, str(flight), "--set", override)
    assert code == 1
    assert said in findings(document, "failure")[subject]


def test_the_doctor_without_a_flight(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--seconds", "0.1"]) == 0
    assert "self-test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mask", "said"), [(0, "none since boot"), (0x50005, "voltage"), (0x4, "throttled")]
)
def test_what_a_raspberry_pi_says_of_its_supply(mask: int, said: str) -> None:
    found = list(throttling(mask))
    assert any(said in f.text for f in found)
    assert all(f.level is (Level.OK if mask == 0 else Level.WARNING) for f in found)
    assert list(throttling(None)) == []
