"""Every kind of bad input: one line on stderr, a non-zero exit, nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import Frame

from .conftest import World

Command = Callable[..., str]
"""Runs a command that must fail; its line of error."""


@pytest.fixture
def refused(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command and returns its one line of error."""

    def run(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        code = world.run(*(str(a) for a in arguments))
        printed = capsys.readouterr()
        assert code != 0
        assert printed.out == ""
        assert printed.err.startswith("gearshift: ")
        assert printed.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return printed.err

    return run


@pytest.fixture
def replay(world: World, refused: Command, tmp_path: Path) -> Command:
    def run(*changes: object, recording: Path | None = None, **options: str) -> str:
        chosen = {"ensemble": "D1", "policy": "op", "threshold": "0.5", "zoo": str(world.zoo)}
        chosen |= options
        flags = [f"--{name}={value}" for name, value in chosen.items()]
        path = recording or world.flights / "known" / "1.mcap"
        return refused("replay", path, *flags, "--json", tmp_path / "out.json", *changes)

    return run


def test_a_missing_recording(replay: Command, tmp_path: Path) -> None:
    assert "there is no recording" in replay(recording=tmp_path / "none.mcap")


def test_an_empty_folder(replay: Command, tmp_path: Path) -> None:
    said = replay(recording=tmp_path)
    assert "no .mcap recording in" in said
    assert f"gearshift recordings convert {tmp_path}" in said


def test_something_that_is_no_recording(replay: Command, tmp_path: Path) -> None:
    path = tmp_path / "notes.mcap"
    path.write_text("not a flight")
    assert "not an MCAP recording" in replay(recording=path)


def test_a_truncated_recording_is_read_on_request(
    world: World,
    record: Callable[..., None],
    replay: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, cut = tmp_path / "whole.mcap", tmp_path / "cut.mcap"
    record(whole, 5, "known", frames=1500)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    whole.unlink()
    out = tmp_path / "again.mcap"
    assert "--truncated" in replay("--record", out, recording=cut)
    arguments = ["--ensemble=D1", "--policy=op", "--threshold=0.5", f"--zoo={world.zoo}"]
    report = tmp_path / "report.json"
    assert world.run("replay", str(cut), *arguments, "--truncated", "--json", str(report)) == 0
    assert 0 < json.loads(report.read_text())["summary"]["frames"] < 1500


def test_a_frame_of_the_wrong_size(replay: Command, world: World, tmp_path: Path) -> None:
    path = tmp_path / "big.mcap"
    with RecordingWriter(path, camera=None) as writer:
        writer.write_frame(Frame(np.zeros((96, 160), dtype=np.uint8), 1, 0, "big"))
    line = replay("--record", tmp_path / "again.mcap", recording=path)
    assert "big.mcap, frame 0" in line
    assert "96x160" in line
    assert "12x20" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": "nan"}, "not a number"),
        ({"threshold": "low"}, "equal-error"),
        ({"policy": "opp"}, "unknown policy 'opp'"),
        ({"policy": "./mine.py:signal"}, "no policy file"),
        ({"ensemble": "D7"}, "unknown ensemble 'D7'"),
        ({"filter": "kalman"}, "unknown filter 'kalman'"),
        ({"max-gap": "nan"}, "max_gap_s is nan"),
        ({"clock": "real"}, "needs the profile of a device"),
        ({"clock": "real", "profile": "pi5"}, "no profile 'pi5'"),
        ({"profile": "gap8"}, "is for the real clock"),
    ],
)
def test_choices_that_do_not_exist(replay: Command, options: dict[str, str], said: str) -> None:
    assert said in replay(**options)


def test_a_policy_needs_a_threshold(refused: Command, world: World) -> None:
    path = world.flights / "known" / "1.mcap"
    flags = ["--ensemble=D1", "--policy=op", f"--zoo={world.zoo}"]
    assert "policy op needs a threshold" in refused("replay", path, *flags)


def test_one_recording_is_recorded_at_a_time(replay: Command, world: World, tmp_path: Path) -> None:
    line = replay("--record", tmp_path / "out.mcap", recording=world.flights / "known")
    assert "6 are replayed" in line
    source = world.flights / "known" / "1.mcap"
    assert "is the recording that is replayed" in replay("--record", source)


@pytest.fixture
def broken_zoo(world: World, tmp_path: Path) -> Path:
    zoo = tmp_path / "zoo"
    shutil.copytree(world.zoo, zoo)
    return zoo


def test_a_network_that_is_not_the_manifest_s(replay: Command, broken_zoo: Path) -> None:
    with (broken_zoo / "F1.onnx").open("ab") as stream:
        stream.write(b"x")
    assert "is not the manifest's" in replay(zoo=str(broken_zoo))


def test_a_calibration_of_other_networks(
    replay: Command, refused: Command, world: World, broken_zoo: Path
) -> None:
    path = broken_zoo / "ensembles.json"
    text = path.read_text()
    sha256 = json.loads(text)["ensembles"]["D1"]["networks"]["small"]["sha256"]
    path.write_text(text.replace(sha256, "0" * 64))
    assert "another F1" in replay(zoo=str(broken_zoo))
    line = refused("compare", "--zoo", broken_zoo, "--traces", world.traces, "--no-timing")
    assert "another F1" in line


def test_a_profile_of_other_networks(
    refused: Command, world: World, broken_zoo: Path, tmp_path: Path
) -> None:
    path = broken_zoo / "profile-gap8.json"
    document = json.loads(path.read_text())
    document["networks"]["M1.0"]["sha256"] = "0" * 64
    path.write_text(json.dumps(document))
    arguments = ["--zoo", broken_zoo, "--traces", world.traces, "--out", tmp_path / "report"]
    assert "of another M1.0" in refused("compare", *arguments, "--no-timing")


def test_traces_that_are_missing_or_damaged(refused: Command, world: World, tmp_path: Path) -> None:
    arguments = ["--zoo", world.zoo, "--no-timing", "--out", tmp_path / "report"]
    assert "no trace" in refused("compare", *arguments, "--traces", tmp_path)
    (tmp_path / "val.npz").write_bytes((world.traces / "val.npz").read_bytes()[:2000])
    assert "damaged" in refused("compare", *arguments, "--traces", tmp_path)
    assert "no trace" in refused("trace", "info", tmp_path / "x.npz")


def test_a_trace_of_several_splits_needs_a_name(
    refused: Command, world: World, tmp_path: Path
) -> None:
    folders = [world.flights / "known", world.flights / "unseen"]
    arguments = ["make", *folders, "--zoo", world.zoo, "--out", tmp_path / "t.npz"]
    assert "several splits" in refused("trace", *arguments)


def test_baselines_that_are_missing_or_damaged(
    refused: Command, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "baseline.json"
    arguments = ["gate", path, "--zoo", world.zoo, "--trace", world.traces / "known.npz"]
    assert "gearshift gate --write" in refused(*arguments)
    path.write_text('{"schema_version": 1, "cases": {"a": 3}}')
    assert "not a baseline" in refused(*arguments)
    path.write_text('{"schema_version": 7}')
    assert "schema version 7" in refused(*arguments)
    assert "--tolerance" in refused(*arguments, "--tolerance=-1")


def test_a_report_that_cannot_be_written(refused: Command, world: World, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    arguments = ["--zoo", world.zoo, "--traces", world.traces, "--no-timing", "--resamples", "5"]
    assert "cannot write" in refused("compare", *arguments, "--out", place)
    arguments[-1] = "0"
    assert "resamples is 0" in refused("compare", *arguments, "--out", tmp_path / "r")
