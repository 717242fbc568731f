"""What a recording, or an input that can be converted, holds."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.sim.convert.gearshift_recordings import NAME
from gearshift.sim.convert.reader import Reader, ReaderOptions


def describe(path: Path, reader: Reader, allow_truncated: bool = False) -> dict[str, Any]:
    """One file, through the reader that recognises it, as a JSON-able document.

    A recording of ours is read through, so that damage shows; of anything else the first frame.
    Raises RecordingError and ConfigurationError.
    """
    if reader.NAME == NAME:
        return _recording(path, allow_truncated)
    return _foreign(path, reader)


def _recording(path: Path, allow_truncated: bool) -> dict[str, Any]:
    reader = RecordingReader(path, allow_truncated=allow_truncated)
    counts = {"frames": 0, "truth": 0, "visible": 0, "nobody": 0, "decisions": 0}
    sizes: dict[str, int] = {}
    first = last = 0
    for entry in reader:
        if not counts["frames"]:
            first = entry.frame.capture_time_ns
        last = entry.frame.capture_time_ns
        height, width = entry.frame.image.shape
        sizes[f"{width}x{height}"] = sizes.get(f"{width}x{height}", 0) + 1
        counts["frames"] += 1
        counts["decisions"] += entry.decision is not None
        if entry.truth is not None:
            counts["truth"] += 1
            counts["visible"] += entry.truth.visible
            counts["nobody"] += any(map(math.isnan, entry.truth.values))
    seconds = (last - first) / 1e9
    camera = reader.header.camera
    return {
        "path": str(path),
        "format": "gearshift",
        "bytes": path.stat().st_size,
        **counts,
        "sizes": sizes,
        "start_ns": first,
        "seconds": seconds,
        "rate_hz": (counts["frames"] - 1) / seconds if seconds else None,
        "camera": None if camera is None else asdict(camera),
        "components": [f"{c.name} [{c.unit}]" for c in reader.header.components],
        "attributes": dict(reader.header.attributes),
    }


def _foreign(path: Path, reader: Reader) -> dict[str, Any]:
    source = reader.open_source(path, ReaderOptions())
    first = next(iter(source), None)
    camera = source.camera
    return {
        "path": str(path),
        "format": reader.NAME,
        "frames": source.frames,
        "first_image": None if first is None else list(first.image.shape),
        "pixels": None if first is None else str(first.image.dtype),
        "has_time": first is not None and first.time_ns is not None,
        "first_has_truth": first is not None and first.label is not None,
        "camera": None if camera is None else asdict(camera),
        "notes": source.notes,
    }


def info_text(document: dict[str, Any]) -> str:
    """A description for people, a few lines."""
    camera = document["camera"]
    lens = (
        "no camera"
        if camera is None
        else (
            f"camera {camera['name']}: {camera['width']}x{camera['height']}, "
            f"fx {camera['fx']:.1f}, fy {camera['fy']:.1f}"
        )
    )
    if document["format"] != "gearshift":
        frames = "?" if document["frames"] is None else document["frames"]
        lines = [
            f"{document['path']}: {document['format']}, {frames} frames",
            f"  first image {document['first_image']} {document['pixels']}, {lens}",
            f"  {'time stamps' if document['has_time'] else 'no time stamps (--rate)'}, "
            f"{'labels' if document['first_has_truth'] else 'no label on the first frame'}",
            *(f"  {note}" for note in document["notes"]),
        ]
        return "\n".join(lines) + "\n"
    rate = document["rate_hz"]
    sizes = ", ".join(f"{n} of {size}" for size, n in document["sizes"].items())
    told = ", ".join(f"{key}={value}" for key, value in sorted(document["attributes"].items()))
    lines = [
        f"{document['path']}: {document['frames']} frames, {document['seconds']:.1f} s"
        + (f", {rate:.1f} Hz" if rate else "")
        + f", {document['bytes'] / 1e6:.1f} MB",
        f"  images {sizes or 'none'}, {lens}",
        f"  ground truth on {document['truth']} frames: head in view on {document['visible']}, "
        f"nobody on {document['nobody']}; decisions on {document['decisions']}",
        f"  {', '.join(document['components'])}" + (f"; {told}" if told else ""),
    ]
    return "\n".join(lines) + "\n"
