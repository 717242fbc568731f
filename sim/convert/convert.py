"""Converting one source into one recording, a frame at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.scoring.counted_frames import ANGLE_LIMIT
from gearshift.runtime.types import Camera, Frame, GroundTruth, Image
from gearshift.sim.convert.grey_images import (
    Crop,
    crop_image,
    fit_camera,
    fit_pixel,
    resize_image,
    to_grey,
)
from gearshift.sim.convert.named_cameras import ground_truth, parse_camera, wrap_phi
from gearshift.sim.convert.reader import Label, Source, SourceFrame

ASPECT_TOLERANCE: Final = 0.02
LATEST_NS: Final = 1 << 63

Progress = Callable[[Iterable[SourceFrame], int | None], Iterable[SourceFrame]]


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How frames are written. rate: frames a second where the source has no time stamps."""

    rate: float | None = None
    camera: str | None = None
    crop: Crop | None = None
    size: tuple[int, int] | None = None
    scale: float | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Converted:
    """What was written, and one line each on what a user must know."""

    frames: int = 0
    labelled: int = 0
    visible: int = 0
    turned_away: int = 0
    start_ns: int = 0
    end_ns: int = 0
    width: int = 0
    height: int = 0
    camera: Camera | None = None
    warnings: list[str] = field(default_factory=list)


def convert(
    source: Source,
    name: str,
    target: Path,
    options: ConvertOptions,
    progress: Progress | None = None,
) -> Converted:
    """Write a source as a recording, whole or not at all, holding one frame in memory.

    name: of the source, for messages and attributes. Raises RecordingError and ConfigurationError.
    """
    frames = iter(source)
    try:
        first = next(frames)
    except StopIteration:
        raise RecordingError(f"{name} has no frames") from None
    image = to_grey(first.image, first.channels, options.scale, first.where)
    done = Converted()
    if _is_stretched(image, options):
        done.warnings.append("--resize changes the aspect ratio: crop first (--crop WxH+X+Y)")
    camera = _camera(source, options, image, name, done)
    every: Iterable[SourceFrame] = itertools.chain((first,), frames)
    if progress is not None:
        every = progress(every, source.frames)
    attributes = {"source": name, **options.attributes}
    with RecordingWriter(target, camera=camera, attributes=attributes) as writer:
        for frame, truth in _frames(every, name, camera, options):
            writer.write_frame(frame, truth)
            _count(done, frame, truth)
    done.warnings += source.notes
    _warn(done)
    return done


def _is_stretched(image: Image, options: ConvertOptions) -> bool:
    if options.size is None:
        return False
    height, width = image.shape
    if options.crop is not None:
        width, height = options.crop.width, options.crop.height
    change = options.size[0] * height / (options.size[1] * width)
    return abs(math.log(change)) > ASPECT_TOLERANCE


def _camera(
    source: Source, options: ConvertOptions, image: Image, name: str, done: Converted
) -> Camera | None:
    """The camera of the written images."""
    height, width = image.shape
    camera = source.camera
    if options.camera is not None:
        camera = parse_camera(options.camera, width, height)
    if camera is None:
        done.warnings.append(
            f"{name} has no camera intrinsics: give --camera hfov=DEGREES or a file; "
            "without them poses hold only if the camera is the one the networks know"
        )
        return None
    if (camera.width, camera.height) != (width, height):
        raise RecordingError(
            f"{name}: its camera is {camera.width}x{camera.height}, "
            f"its first image {width}x{height}; give --camera"
        )
    done.camera = fit_camera(camera, options.crop, options.size)
    return done.camera


def _frames(
    source: Iterable[SourceFrame],
    name: str,
    camera: Camera | None,
    options: ConvertOptions,
) -> Iterator[tuple[Frame, GroundTruth | None]]:
    expected: tuple[int, ...] | None = None
    last_ns = -1
    for sequence, entry in enumerate(source):
        grey = to_grey(entry.image, entry.channels, options.scale, entry.where)
        if expected is not None and grey.shape != expected:
            raise RecordingError(
                f"{entry.where}: the image is {grey.shape[1]}x{grey.shape[0]}, those before it "
                f"{expected[1]}x{expected[0]}"
            )
        expected = grey.shape
        image = resize_image(crop_image(grey, options.crop, entry.where), options.size)
        time_ns = _time(entry, sequence, options.rate)
        if not last_ns < time_ns < LATEST_NS:
            raise RecordingError(
                f"{entry.where}: captured at {time_ns} ns, the frame before at {last_ns} ns; "
                "frames must be in order of capture"
            )
        last_ns = time_ns
        frame = Frame(image, time_ns, sequence, name, camera)
        label = _fit_label(entry.label, grey, options)
        yield frame, ground_truth(label, camera, image.shape[1], image.shape[0])


def _time(entry: SourceFrame, sequence: int, rate: float | None) -> int:
    if rate is not None:
        return round(sequence * 1e9 / rate)
    if entry.time_ns is None:
        raise ConfigurationError(
            f"{entry.where} has no time stamp: give --rate, in frames a second"
        )
    return entry.time_ns


def _fit_label(label: Label | None, grey: Image, options: ConvertOptions) -> Label | None:
    if label is None:
        return None
    label = wrap_phi(label)
    if label.head_pixel is None:
        return label
    size = (grey.shape[1], grey.shape[0])
    return replace(label, head_pixel=fit_pixel(label.head_pixel, size, options.crop, options.size))


def _count(done: Converted, frame: Frame, truth: GroundTruth | None) -> None:
    if not done.frames:
        done.start_ns = frame.capture_time_ns
        done.height, done.width = frame.image.shape
    done.end_ns = frame.capture_time_ns
    done.frames += 1
    if truth is not None:
        done.labelled += 1
        done.visible += truth.visible
        done.turned_away += truth.visible and abs(truth.values[3]) > ANGLE_LIMIT


def _warn(done: Converted) -> None:
    if not done.labelled:
        done.warnings.append("no ground truth: a replay gives latency and choices, no errors")
    if done.turned_away:
        done.warnings.append(
            f"{done.turned_away} frames have |phi| > {ANGLE_LIMIT} rad: written, but not scored"
        )
