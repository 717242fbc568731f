"""Folders of images, NanoCockpit's folders and videos."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.sim.convert.grey_images import LUMA

from .conftest import POSES, Run, check, make_images, read

cv2: Any = pytest.importorskip("cv2")


def write_images(folder: Path, images: NDArray[Any], suffix: str = ".png") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:05d}{suffix}" for index in range(len(images))]
    for name, image in zip(names, images, strict=True):
        assert cv2.imwrite(str(folder / name), image)
    return names


def write_labels(path: Path, key: str, keys: list[Any], times: list[int] | None = None) -> None:
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([key, "time_ns", "x", "y", "z", "phi"])
        for index, name in enumerate(keys):
            rows.writerow([name, "" if times is None else times[index], *POSES[index]])


def test_a_folder_with_labels_reads_back_equal(tmp_path: Path, run: Run) -> None:
    images = make_images()
    names = write_images(tmp_path / "in", images)
    times = [5, 10, 30, 31]
    write_labels(tmp_path / "in" / "labels.csv", "file", names, times)
    run("convert", tmp_path / "in", tmp_path / "out.mcap")
    check(tmp_path / "out.mcap", images, POSES, times)


def test_a_folder_without_labels_is_in_the_order_of_names(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_images()
    write_images(tmp_path / "in", images)
    with pytest.raises(ConfigurationError, match="has no time stamp: give --rate"):
        run("convert", tmp_path / "in", tmp_path / "out.mcap")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    run("convert", tmp_path / "in", tmp_path / "out.mcap", "--rate", 10)
    check(tmp_path / "out.mcap", images, None, [0, 10**8, 2 * 10**8, 3 * 10**8])
    warned = capsys.readouterr().err
    assert "no ground truth" in warned
    assert warned.count("no camera intrinsics") == 1


def test_labels_elsewhere_may_leave_images_out(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_images()
    names = write_images(tmp_path / "in", images)
    write_labels(tmp_path / "l.csv", "file", names[:2], [1, 2])
    run("convert", tmp_path / "in", tmp_path / "o.mcap", "--labels", tmp_path / "l.csv")
    check(tmp_path / "o.mcap", images[:2], POSES[:2], [1, 2])
    assert "lists 2 images" in capsys.readouterr().err


def test_colour_becomes_grey_with_the_stated_weights(tmp_path: Path, run: Run) -> None:
    images = make_images(2, depth=3)
    write_images(tmp_path / "in", images)
    run("convert", tmp_path / "in", tmp_path / "o.mcap", "--rate", 1)
    blue, green, red = (images[..., i].astype(float) for i in range(3))
    exact = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue) / 1000
    entries = read(tmp_path / "o.mcap")
    for entry, expected, image in zip(entries, exact, images, strict=True):
        assert np.abs(entry.frame.image - expected).max() <= 0.5
        opencv = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(int)
        assert np.abs(entry.frame.image.astype(int) - opencv).max() <= 1


def test_sixteen_bits_need_a_scale(tmp_path: Path, run: Run) -> None:
    images = make_images(1).astype(np.uint16) * 4
    write_images(tmp_path / "in", images)
    with pytest.raises(RecordingError, match=r"pixels lie in 0\.\.1020, not in 0\.\.255; give --s"):
        run("convert", tmp_path / "in", tmp_path / "o.mcap", "--rate", 1)
    run("convert", tmp_path / "in", tmp_path / "o.mcap", "--rate", 1, "--scale", 0.25)
    check(tmp_path / "o.mcap", (images // 4).astype(np.uint8))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../b.png", "C:\\a.png"])
def test_a_label_that_leaves_the_folder_is_refused(tmp_path: Path, run: Run, name: str) -> None:
    write_images(tmp_path / "in", make_images(1))
    write_images(tmp_path, make_images(1))
    write_labels(tmp_path / "in" / "labels.csv", "file", [name], [1])
    with pytest.raises(RecordingError, match="lies outside of"):
        run("convert", tmp_path / "in", tmp_path / "o.mcap")


def test_a_damaged_image_is_named_and_nothing_is_left(tmp_path: Path, run: Run) -> None:
    names = write_images(tmp_path / "in", make_images())
    damaged = tmp_path / "in" / names[2]
    whole = damaged.read_bytes()
    for part, said in (
        (whole[:40], "is cut short"),
        (whole[:-200], "is cut short"),
        (b"", "is no image"),
        (whole[:900] + whole[1000:], "is no image"),
    ):
        damaged.write_bytes(part)
        with pytest.raises(RecordingError, match=r"00002\.png " + said):
            run("convert", tmp_path / "in", tmp_path / "o.mcap", "--rate", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_an_image_of_another_size_is_named(tmp_path: Path, run: Run) -> None:
    write_images(tmp_path / "in", make_images())
    cv2.imwrite(str(tmp_path / "in" / "00002.png"), np.zeros((10, 20), dtype=np.uint8))
    with pytest.raises(RecordingError, match=r"00002\.png: the image is 20x10, .* 160x96"):
        run("convert", tmp_path / "in", tmp_path / "o.mcap", "--rate", 1)


def test_times_that_go_back_are_named(tmp_path: Path, run: Run) -> None:
    names = write_images(tmp_path / "in", make_images())
    write_labels(tmp_path / "in" / "labels.csv", "file", names, [1, 2, 2, 3])
    with pytest.raises(RecordingError, match="line 4: captured at 2 ns, the frame before at 2 ns"):
        run("convert", tmp_path / "in", tmp_path / "o.mcap")


# NanoCockpit, written as its frame_saver.py writes.

METADATA = (
    "filename,metadata_version,frame_id,frame_gap8_timestamp,state_gap8_timestamp,"
    "state_stm32_timestamp,tof_timestamp,state_x,state_y,state_z,state_vx,state_vy,state_vz,"
    "state_ax,state_ay,state_az,state_quat,state_rateRoll,state_ratePitch,state_rateYaw\n"
)


def write_nanocockpit(
    folder: Path, images: NDArray[np.uint8], ids: list[int], us: list[int]
) -> None:
    write_images(folder / "camera_raw", images)
    write_images(folder / "camera_rgb", images, ".jpg")
    (folder / "tof").mkdir()
    with (folder / "metadata.csv").open("w") as stream:
        stream.write(METADATA)
        for i, (frame_id, stamp) in enumerate(zip(ids, us, strict=True)):
            name = f"{i:05d}.{'png' if i % 2 else 'jpg'}"
            stream.write(f"{name},10,{frame_id},{stamp},{stamp},7,0,1,2,3,0,0,0,0,0,981,5,0,0,0\n")
    (folder / "inference.csv").write_text(
        "frame_id,frame_gap8_timestamp,output_x,output_y,output_z,output_phi,"
        f"send_success,inference_time\n{ids[0]},{us[0]},1.0,0.0,0.0,0.0,True,0.0\n"
    )


def test_nanocockpit_reads_through_a_wrap_of_its_clock(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_images()
    us = [2**32 - 40_000, 2**32 - 10_000, 20_000, 50_000]
    write_nanocockpit(tmp_path / "in", images, [254, 255, 1, 2], us)
    run("convert", tmp_path / "in", tmp_path / "o.mcap")
    times = [us[0] * 1000 + step * 1_000_000 for step in (0, 30, 60, 90)]
    check(tmp_path / "o.mcap", images, None, times)
    warned = capsys.readouterr().err
    assert "skips 1 frames" in warned
    assert "no ground truth: left out" in warned


def test_nanocockpit_takes_labels_by_number(tmp_path: Path, run: Run) -> None:
    images = make_images()
    write_nanocockpit(tmp_path / "in", images, [1, 2, 3, 4], [10, 20, 30, 40])
    write_labels(tmp_path / "l.csv", "frame", [0, 1, 2, 3])
    run("convert", tmp_path / "in", tmp_path / "o.mcap", "--labels", tmp_path / "l.csv")
    check(tmp_path / "o.mcap", images, POSES, [10_000, 20_000, 30_000, 40_000])
    write_labels(tmp_path / "l.csv", "frame", [0, 9])
    with pytest.raises(RecordingError, match="line 3: frame 9, but there are 4 frames"):
        run("convert", tmp_path / "in", tmp_path / "p.mcap", "--labels", tmp_path / "l.csv")


def test_nanocockpit_names_what_is_missing(tmp_path: Path, run: Run) -> None:
    write_nanocockpit(tmp_path / "in", make_images(2), [1, 2], [1, 2])
    (tmp_path / "in" / "camera_raw" / "00001.png").unlink()
    with pytest.raises(RecordingError, match=r"metadata\.csv, line 3: cannot read .*00001\.png"):
        run("convert", tmp_path / "in", tmp_path / "o.mcap")
    (tmp_path / "in" / "metadata.csv").write_text("filename,frame_id\n")
    with pytest.raises(RecordingError, match="has no column frame_gap8_timestamp"):
        run("convert", tmp_path / "in", tmp_path / "o.mcap")


# Videos.


def write_video(path: Path, images: NDArray[np.uint8]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 20.0, (160, 96))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no lossless video")
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    writer.release()


def test_a_video_with_labels_reads_back(tmp_path: Path, run: Run) -> None:
    images = make_images()
    write_video(tmp_path / "v.avi", images)
    write_labels(tmp_path / "v.csv", "frame", [0, 2])
    run("convert", tmp_path / "v.avi", tmp_path / "o.mcap")
    entries = read(tmp_path / "o.mcap")
    assert [e.frame.capture_time_ns for e in entries] == [0, 50_000_000, 100_000_000, 150_000_000]
    assert [e.truth is not None for e in entries] == [True, False, True, False]
    assert entries[2].truth is not None
    np.testing.assert_allclose(entries[2].truth.values, POSES[1])
    for entry, image in zip(entries, images, strict=True):
        assert np.abs(entry.frame.image.astype(int) - image).max() <= 2  # through YUV


def test_labels_beyond_a_video_are_named(tmp_path: Path, run: Run) -> None:
    write_video(tmp_path / "v.avi", make_images(2))
    write_labels(tmp_path / "v.csv", "frame", [0, 5])
    with pytest.raises(RecordingError, match="line 3: frame 5, but there are 2 frames"):
        run("convert", tmp_path / "v.avi", tmp_path / "o.mcap")
    write_labels(tmp_path / "v.csv", "frame", [1, 1])
    with pytest.raises(RecordingError, match="line 3: frame is 1, expected a number above 1"):
        run("convert", tmp_path / "v.avi", tmp_path / "o.mcap")


def test_what_is_no_video_is_named(tmp_path: Path, run: Run) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video at all" * 10)
    with pytest.raises(RecordingError, match="is no video that can be read"):
        run("convert", tmp_path / "v.mp4", tmp_path / "o.mcap")
