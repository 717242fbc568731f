"""What the tests of readers share: running the command, and checking what came out."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from gearshift.runtime.cli import CommandModule, build_parser
from gearshift.runtime.recordings.recording import RecordedFrame, RecordingReader
from gearshift.sim.commands import recordings_command as command

Run = Callable[..., int]
HEIGHT, WIDTH = 96, 160
POSES = np.array(
    [[1.5, 0.2, -0.1, 0.3], [2.0, -0.4, 0.1, -1.0], [1.0, 0.0, 0.0, 1.5], [3.0, 1.0, 0.2, 0.0]]
)


def make_images(count: int = len(POSES), *, depth: int | None = None) -> NDArray[np.uint8]:
    """(count, 96, 160[, depth]) uint8, every one another."""
    shape = (count, HEIGHT, WIDTH) if depth is None else (count, HEIGHT, WIDTH, depth)
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def run() -> Run:
    """Run `gearshift recordings ...`; errors are raised."""

    def run_command(*arguments: object) -> int:
        parser = build_parser({"recordings": cast(CommandModule, command)})
        options: argparse.Namespace = parser.parse_args(["recordings", *map(str, arguments)])
        code: int = options.run(options)
        return code

    return run_command


def read(path: Path) -> list[RecordedFrame]:
    """All frames of a recording."""
    return list(RecordingReader(path))


def check(
    path: Path,
    images: NDArray[np.uint8],
    poses: NDArray[np.float64] | None = None,
    times_ns: list[int] | None = None,
) -> list[RecordedFrame]:
    """A recording holds these images, poses and times, and nothing else."""
    entries = read(path)
    assert len(entries) == len(images)
    for index, (entry, image) in enumerate(zip(entries, images, strict=True)):
        np.testing.assert_array_equal(entry.frame.image, image)
        assert entry.frame.sequence == index
        if times_ns is not None:
            assert entry.frame.capture_time_ns == times_ns[index]
        if poses is None:
            assert entry.truth is None
        else:
            assert entry.truth is not None
            np.testing.assert_allclose(entry.truth.values, poses[index], atol=1e-6)
    assert not list(path.parent.glob("*.part"))
    return entries
