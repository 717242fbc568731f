"""Recordings: what is written is read back, Foxglove's schemas hold, damage is named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Camera,
    Estimate,
    EstimateFlag,
    Frame,
    GroundTruth,
    NetworkRole,
    Reason,
    StageTimes,
)

CAMERA = Camera("himax", 160, 96, 125.6, 125.6, 79.5, 47.5, (-0.06, 0.0, 0.0, 0.0, 0.0))
FRAMES = 60


def make_frame(index: int) -> Frame:
    image = np.random.default_rng(index).integers(0, 256, (96, 160), dtype=np.uint8)
    return Frame(image, 1_000_000_000 + index * 33_333_333, index, "test", CAMERA)


def make_truth(index: int) -> GroundTruth:
    if index % 10 == 9:
        return GroundTruth((float("nan"),) * 4, False, None, 48)
    return GroundTruth((1.5, 0.1 * index, -0.2, 0.3), True, (80.25, 40.5), 20)


def make_decision(frame: Frame) -> Decision:
    values = (1.5, 0.25, -0.5, 0.125)
    estimate = Estimate(
        sequence=frame.sequence,
        capture_time_ns=frame.capture_time_ns,
        publish_time_ns=frame.capture_time_ns + 1_000_000,
        components=POSE_COMPONENTS,
        values=values,
        standard_deviation=(0.5, 0.25, 0.25, 0.5),
        presence=0.75,
        answered=NetworkRole.LARGE,
        networks=(NetworkRole.SMALL, NetworkRole.LARGE),
        signal=float("inf"),
        threshold=0.5,
        reason=Reason.FIRST_FRAME,
        times=StageTimes(0, 300_000, 600_000, 1_000_000),
        flags=EstimateFlag.DEGRADED | EstimateFlag.LATE,
    )
    return Decision(estimate, {NetworkRole.SMALL: np.array(values, dtype=np.float32)})


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "flight.mcap"
    with RecordingWriter(path, camera=CAMERA, attributes={"room": "r-1"}) as writer:
        for index in range(FRAMES):
            frame = make_frame(index)
            writer.write_frame(frame, make_truth(index), make_decision(frame))
    return path


def test_round_trip(recording: Path) -> None:
    reader = RecordingReader(recording)
    assert reader.header.camera == CAMERA
    assert reader.header.components == POSE_COMPONENTS
    assert reader.header.attributes == {"room": "r-1"}
    frames = list(reader)
    assert len(frames) == FRAMES
    for index, recorded in enumerate(frames):
        expected = make_frame(index)
        np.testing.assert_array_equal(recorded.frame.image, expected.image)
        assert recorded.frame.capture_time_ns == expected.capture_time_ns
        assert recorded.frame.sequence == index
        assert repr(recorded.truth) == repr(make_truth(index))
        decision = make_decision(expected)
        assert recorded.decision is not None
        assert recorded.decision.estimate == decision.estimate
        small = recorded.decision.outputs[NetworkRole.SMALL]
        np.testing.assert_array_equal(small, decision.outputs[NetworkRole.SMALL])
        assert NetworkRole.LARGE not in recorded.decision.outputs


def test_foxglove_opens_it(recording: Path) -> None:
    with recording.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        messages = list(reader.iter_decoded_messages())
    schemas = {channel.topic: schema.name for schema, channel, _, _ in messages if schema}
    assert schemas == {
        "/camera/image": "foxglove.RawImage",
        "/camera/calibration": "foxglove.CameraCalibration",
        "/truth": "gearshift.GroundTruth",
        "/truth/pose": "foxglove.PoseInFrame",
        "/decision": "gearshift.Decision",
        "/estimate/pose": "foxglove.PoseInFrame",
    }
    image = next(m for _, channel, _, m in messages if channel.topic == "/camera/image")
    assert (image.encoding, image.width, image.height, image.step) == ("mono8", 160, 96, 160)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def interrupted_flight() -> None:
        with RecordingWriter(tmp_path / "flight.mcap", camera=None) as writer:
            writer.write_frame(make_frame(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted_flight()
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot write"):
        RecordingWriter(tmp_path / "none" / "flight.mcap", camera=None)
    with pytest.raises(RecordingError, match="cannot read"):
        RecordingReader(tmp_path / "none.mcap")


def test_not_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "text.mcap"
    path.write_text("hello, this is no recording")
    with pytest.raises(RecordingError, match="not an MCAP recording"):
        RecordingReader(path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_truncation_is_named_and_read_up_to_a_whole_frame(
    recording: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = recording.read_bytes()
    length = data.draw(st.integers(0, len(content) - 1))
    path = tmp_path / "cut.mcap"
    path.write_bytes(content[:length])
    with pytest.raises(RecordingError):
        list(RecordingReader(path))
    try:
        frames = list(RecordingReader(path, allow_truncated=True))
    except RecordingError:
        assert length < 2000  # cut before the header was whole
        return
    for index, recorded in enumerate(frames):
        np.testing.assert_array_equal(recorded.frame.image, make_frame(index).image)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_byte_never_passes_silently(
    recording: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(recording.read_bytes())
    # The chunks hold the frames; the index behind them is not read.
    position = data.draw(st.integers(200, int(len(content) * 0.9)))
    content[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "flipped.mcap"
    path.write_bytes(content)
    try:
        frames = list(RecordingReader(path))
    except RecordingError:
        return
    for index, recorded in enumerate(frames):
        np.testing.assert_array_equal(recorded.frame.image, make_frame(index).image)


def test_a_length_that_lies_takes_no_memory(recording: Path, tmp_path: Path) -> None:
    """The chunk's inner length says a terabyte: damaged, and not asked for from the system."""
    content = bytearray(recording.read_bytes())
    chunk = content.index(b"zstd")
    content[chunk + 4 : chunk + 12] = (1 << 40).to_bytes(8, "little")
    damaged = tmp_path / "lies.mcap"
    damaged.write_bytes(content)
    with pytest.raises(RecordingError, match="truncated or damaged"):
        list(RecordingReader(damaged))
