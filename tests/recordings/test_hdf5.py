"""HDF5 files, written by h5py, read back equal; links to other files are never followed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.errors import ConfigurationError, RecordingError

from .conftest import POSES, Run, check, make_images, read

h5py: Any = pytest.importorskip("h5py")


def write(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=values)
    return path


def test_images_poses_and_times_read_back_equal(tmp_path: Path, run: Run) -> None:
    images = make_images()
    times = np.array([10, 20, 30, 45]) * 10**6
    path = write(tmp_path / "a.h5", images=images, poses=POSES, time_ns=times)
    run("convert", path, tmp_path / "o.mcap")
    check(tmp_path / "o.mcap", images, POSES, times.tolist())


def test_names_by_option_chunks_and_seconds(tmp_path: Path, run: Run) -> None:
    images = make_images(depth=1)
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("run/cam", data=images, chunks=(2, 96, 160, 1), compression="gzip")
        file.create_dataset("run/t", data=np.array([0.5, 1.0, 1.5, 2.0]))
        file.create_dataset("run/y", data=POSES)
    names = ("--images", "run/cam", "--times", "/run/t", "--poses", "run/y")
    run("convert", path, tmp_path / "o.mcap", *names)
    check(tmp_path / "o.mcap", images[..., 0], POSES, [5 * 10**8 * (i + 1) for i in range(4)])


def test_a_row_of_no_numbers_means_nobody(tmp_path: Path, run: Run) -> None:
    poses = POSES.copy()
    poses[1] = np.nan
    path = write(tmp_path / "a.h5", images=make_images(), poses=poses)
    run("convert", path, tmp_path / "o.mcap", "--rate", 10)
    truths = [entry.truth for entry in read(tmp_path / "o.mcap")]
    assert [t is not None and t.visible for t in truths] == [True, False, True, True]
    assert all(t is not None for t in truths)


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ({"pictures": make_images(1)}, "no dataset images or image .* it has pictures"),
        ({"images": make_images(2), "poses": POSES}, r"shape \(4, 4\), expected \(2, 4\)"),
        ({"images": make_images(2), "times": [[1], [2]]}, r"shape \(2, 1\), expected \(2,\)"),
        ({"images": np.float64(3)}, "is no list of numbers"),
        ({"images": np.zeros((2, 5))}, r"row 0: an array of shape \(5,\) is no image"),
        ({"images": np.zeros((2, 5, 0))}, r"the image is empty \(0x5\)"),
        ({"images": np.full((2, 5, 5), -1.0)}, r"pixels lie in -1\.\.-1"),
        ({"images": np.full((2, 5, 5), np.nan)}, r"pixels lie in nan\.\.nan"),
        ({"images": np.full((2, 5, 5), 0.5)}, r"--scale 255, or --scale 1"),
        ({"images": np.zeros((2, 5, 5)), "times": [0.0, np.inf]}, "row 1: inf s is no time"),
        ({"images": np.zeros((0, 5, 5))}, "has no frames"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, run: Run, datasets: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "a.h5", **datasets)
    rate = () if "times" in datasets else ("--rate", 5)
    with pytest.raises((RecordingError, ConfigurationError), match=said):
        run("convert", path, tmp_path / "o.mcap", *rate)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_links_to_other_files_are_refused(tmp_path: Path, run: Run) -> None:
    secret = write(tmp_path / "secret.h5", images=make_images())
    raw = tmp_path / "raw.bin"
    raw.write_bytes(make_images().tobytes())
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["images"] = h5py.ExternalLink(str(secret), "/images")
        file["g"] = h5py.ExternalLink(str(secret), "/")
        file["soft"] = h5py.SoftLink("/images")
        layout = h5py.VirtualLayout(shape=(4, 96, 160), dtype="u1")
        layout[:] = h5py.VirtualSource(str(secret), "images", shape=(4, 96, 160))
        file.create_virtual_dataset("virtual", layout)
        outside = [(str(raw), 0, raw.stat().st_size)]
        file.create_dataset("external", (4, 96, 160), "u1", external=outside)
    for name in ("images", "g/images", "soft"):
        with pytest.raises(RecordingError, match=f"{name} is a link, not a dataset"):
            run("convert", path, tmp_path / "o.mcap", "--rate", 1, "--images", name)
    for name in ("virtual", "external"):
        with pytest.raises(RecordingError, match=f"{name} lies in another file"):
            run("convert", path, tmp_path / "o.mcap", "--rate", 1, "--images", name)


def test_pieces_beyond_the_memory_are_refused(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (10**4, 96, 160), "u1", chunks=(10**3, 96, 160))
    with pytest.raises(ConfigurationError, match=r"pieces above 0\.01 GB; give more with --mem"):
        run("convert", path, tmp_path / "o.mcap", "--rate", 1, "--memory", 0.01)


def test_a_file_that_was_cut_short_is_named(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "a.h5", images=make_images())
    whole = path.read_bytes()
    for share in (0.01, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(RecordingError, match="no HDF5 file, or damaged"):
            run("convert", path, tmp_path / "o.mcap", "--rate", 1)
