"""What converting each format costs and whether it keeps what was recorded.

Every conversion runs as the command itself in a process of its own, which reports its own peak of
memory; twice, the second time over ten times the frames, because bounded memory shows in what does
not grow.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np

from gearshift.runtime.errors import GearshiftError, RecordingError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.sim.convert.samples import START_NS, WRITERS, Sample, write_sample

GROWTH: Final = 10
"""How many times longer the second sample is."""
Say = Callable[[str], None]
_MAIN: Final = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class ConversionFigures:
    """One format. Distances are the largest over all frames, after conversion.

    pixel_error: grey levels. pose_error: of x, y, z [m] and phi [rad]. time_error_ns: against the
    moment of capture, or between frames where the format has no time of its own. input_bytes,
    output_bytes: per frame of the longer sample. peak_bytes: of the short and the long conversion.
    """

    name: str
    read: str
    frames: int
    pixel_error: int
    pose_error: float
    time_error_ns: int
    input_bytes: float
    output_bytes: float
    frames_per_second: float
    peak_bytes: tuple[int, int]

    @property
    def growth_bytes(self) -> float:
        """Memory that every further frame takes."""
        return (self.peak_bytes[1] - self.peak_bytes[0]) / (self.frames * (1 - 1 / GROWTH))


def measure_conversions(
    names: Sequence[str], frames: int, say: Say = lambda _: None
) -> tuple[list[ConversionFigures], list[str]]:
    """Figures of formats (none: all), and a line for each whose library is not installed.

    frames: of the shorter sample. Raises RecordingError when a conversion fails.
    """
    figures: list[ConversionFigures] = []
    left_out: list[str] = []
    for name in names or list(WRITERS):
        say(name)
        with tempfile.TemporaryDirectory(prefix="gearshift-") as folder:
            try:
                figures.append(_measure(name, frames, Path(folder)))
            except ModuleNotFoundError as error:
                left_out.append(f"{name}: writing a sample needs {error.name}")
    return figures, left_out


def conversions_text(figures: Sequence[ConversionFigures]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the one table of recording formats."""
    heads = ["format", "read", "pixels", "pose", "time", "B a frame in", "B a frame out"]
    if not figures:
        return heads, []
    longer = figures[0].frames
    heads += ["frames/s", f"peak MB, {longer // GROWTH} frames", f"peak MB, {longer} frames"]
    heads += ["B more a frame"]
    rows = []
    for each in figures:
        short, long = each.peak_bytes
        row = [each.name, each.read]
        row.append("equal" if each.pixel_error == 0 else f"within {each.pixel_error}")
        row.append("equal" if each.pose_error == 0 else f"within {each.pose_error:.0e}")
        row.append("equal" if each.time_error_ns == 0 else f"within {each.time_error_ns} ns")
        row += [f"{each.input_bytes:,.0f}", f"{each.output_bytes:,.0f}"]
        row += [f"{each.frames_per_second:,.0f}", f"{short / 1e6:.0f}", f"{long / 1e6:.0f}"]
        rows.append([*row, f"{max(0.0, each.growth_bytes):,.0f}"])
    return heads, rows


def convert_apart(source: Path, target: Path, options: Sequence[str]) -> dict[str, Any]:
    """Run `gearshift recordings convert --json` in a process of its own and give its document.

    Raises RecordingError with the last line that it wrote when it fails.
    """
    command = [sys.executable, "-c", _MAIN, "recordings", "convert"]
    done = subprocess.run(
        [*command, str(source), str(target), *options, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RecordingError(f"{source} was not converted: {said[-1] if said else done.returncode}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _measure(name: str, frames: int, folder: Path) -> ConversionFigures:
    known = WRITERS[name]
    peaks: list[int] = []
    for count in (frames, GROWTH * frames):
        sample = Sample(count)
        source, target = folder / f"in{count}{known.suffix}", folder / f"out{count}.mcap"
        write_sample(name, source, sample)
        labels = str(source.with_name(source.name + ".csv"))
        options = [option.format(labels=labels) for option in known.options]
        document = convert_apart(source, target, options)
        if document["peak_bytes"] is None:
            raise GearshiftError("this system does not say how much memory a process took")
        peaks.append(document["peak_bytes"])
    pixels, pose, time_ns = distances(target, sample)
    return ConversionFigures(
        name=name,
        read=known.read,
        frames=sample.frames,
        pixel_error=pixels,
        pose_error=pose,
        time_error_ns=time_ns,
        input_bytes=size_of(source) / sample.frames,
        output_bytes=size_of(target) / sample.frames,
        frames_per_second=sample.frames / document["seconds"],
        peak_bytes=(peaks[0], peaks[1]),
    )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(inside.stat().st_size for inside in path.rglob("*") if inside.is_file())


def distances(path: Path, sample: Sample) -> tuple[int, float, int]:
    """How far a recording is from the sample: grey levels, pose, nanoseconds.

    Raises RecordingError when frames or ground truth are missing, or there are more.
    """
    pixels, pose, time_ns, start = 0, 0.0, 0, 0
    for number, (entry, image) in enumerate(zip_longest(RecordingReader(path), sample.images())):
        if entry is None or image is None:
            raise RecordingError(
                f"{path} has {'fewer' if entry is None else 'more'} than {sample.frames} frames"
            )
        frame = entry.frame
        pixels = max(pixels, int(np.abs(frame.image.astype(int) - image).max()))
        if entry.truth is None:
            raise RecordingError(f"{path}: frame {number} lost its ground truth")
        expected = np.array(sample.pose(number))
        pose = max(pose, float(np.abs(np.array(entry.truth.values) - expected).max()))
        if number == 0:
            # A format without times starts at 0.
            start = frame.capture_time_ns if frame.capture_time_ns == 0 else START_NS
        moment = sample.time_ns(number) - START_NS + start
        time_ns = max(time_ns, abs(frame.capture_time_ns - moment))
    return pixels, pose, time_ns
