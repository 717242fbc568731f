"""`gearshift recordings`: convert other people's recordings into ours, and look into them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.runtime.commands.sizes import parse_size
from gearshift.runtime.files.whole_file import output_file, output_place

if TYPE_CHECKING:
    from gearshift.sim.convert.convert import Converted
    from gearshift.sim.convert.grey_images import Crop
    from gearshift.sim.convert.reader import ReaderOptions

HELP = "convert other recordings (pickles, folders, bags, HDF5, videos), and look into them"
EXTRA = "recordings"
# Equal to source.FORMATS, as a test checks; named here so that --help imports nothing heavy.
FORMATS = {
    "frontnet": "PULP-Frontnet's pickled pandas data frames; nothing in them is run",
    "ros": "ROS 1 bag, ROS 2 bag (folder, .db3, .mcap): an image topic, perhaps poses",
    "gearshift": "a recording of ours: to crop, resize or name a camera; decisions are left out",
    "nanocockpit": "NanoCockpit's folder: metadata.csv and camera_raw/",
    "folder": "images, with labels in labels.csv, poses.csv or --labels",
    "hdf5": "datasets images (n, h, w[, c]), poses (n, 4), times (n,)",
    "video": "what OpenCV decodes, with labels in a .csv beside it or --labels",
}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    parser.epilog = (
        "examples:\n"
        "  gearshift recordings convert 160x96StrangersTestset.pickle out.mcap --rate 30\n"
        "  gearshift recordings convert flight.bag out.mcap --image-topic /camera/image_raw \\\n"
        "      --pose-topic /optitrack/head --drone-topic /optitrack/drone --camera hfov=82\n"
        "  gearshift recordings convert frames/ out.mcap --labels poses.csv --rate 30\n"
        "  gearshift recordings info out.mcap --json"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _register_convert(actions.add_parser("convert", help="write one input as one recording"))
    info = actions.add_parser("info", help="what recordings and other inputs hold")
    info.add_argument("files", nargs="+", type=Path, metavar="FILE")
    info.add_argument("--json", action="store_true", help="for machines")
    info.add_argument(
        "--truncated", action="store_true", help="read a cut-off recording to its last whole frame"
    )
    info.set_defaults(run=_info)
    formats = actions.add_parser(
        "formats", help="write, convert and compare a sample of every format, with its cost"
    )
    formats.add_argument("names", nargs="*", metavar="FORMAT", help="(default: all)")
    formats.add_argument(
        "--frames", type=int, default=500, help="then ten times as many (%(default)s)"
    )
    form = formats.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for machines")
    form.add_argument("--markdown", action="store_true", help="for a page")
    formats.set_defaults(run=_formats)
    sample = actions.add_parser("sample", help="write a made-up input to try a conversion on")
    sample.add_argument("format", metavar="FORMAT", help="as in `gearshift recordings formats`")
    sample.add_argument("output", type=output_place, metavar="OUT")
    sample.add_argument("--frames", type=int, default=100, help="(%(default)s)")
    sample.add_argument("--size", default="160x96", metavar="WxH", help="(%(default)s)")
    sample.set_defaults(run=_sample)


def _register_convert(convert: argparse.ArgumentParser) -> None:
    convert.add_argument("input", type=Path, metavar="IN", help="file or folder")
    convert.add_argument("output", type=output_file, metavar="OUT.mcap")
    convert.epilog = (
        "formats:\n"
        + "".join(f"  {name:<12} {text}\n" for name, text in FORMATS.items())
        + "columns of labels: file or frame, time_ns or time_s, x, y, z [m], phi [rad],\n"
        "  visible, head_u, head_v"
    )
    convert.formatter_class = argparse.RawDescriptionHelpFormatter
    convert.add_argument("--format", choices=FORMATS, help="default: what the input looks like")
    convert.add_argument(
        "--json", action="store_true", help="what was written, time and peak memory, for machines"
    )
    convert.add_argument("--force", action="store_true", help="replace OUT.mcap if it exists")
    frames = convert.add_argument_group("frames")
    frames.add_argument("--rate", type=float, metavar="HZ", help="instead of time stamps")
    frames.add_argument("--camera", metavar="CAMERA.toml|hfov=DEG", help="of the images in IN")
    frames.add_argument("--crop", metavar="WxH+X+Y", help="before --resize")
    frames.add_argument("--resize", metavar="WxH", help="intrinsics are scaled too")
    frames.add_argument("--scale", type=float, metavar="S", help="multiply pixels, e.g. 0.25, 255")
    frames.add_argument("--channels", choices=("rgb", "bgr"), help="order of colours in IN")
    frames.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="attributes",
        help="say it about the flight: room=lab, person=a, split=known",
    )
    where = convert.add_argument_group("where things are")
    where.add_argument(
        "--labels", type=Path, metavar="CSV", help="of a folder, NanoCockpit's or a video"
    )
    where.add_argument("--image-topic", metavar="TOPIC", help="of a bag")
    where.add_argument("--pose-topic", metavar="TOPIC", help="of a bag: pose of the head")
    where.add_argument(
        "--drone-topic", metavar="TOPIC", help="pose of the drone in the head's world frame"
    )
    where.add_argument("--stamp", choices=("header", "log"), default="header", help="of a bag")
    where.add_argument("--images", metavar="DATASET", help="of an HDF5 file")
    where.add_argument("--poses", metavar="DATASET", help="of an HDF5 file")
    where.add_argument("--times", metavar="DATASET", help="of an HDF5 file")
    where.add_argument(
        "--memory", type=float, default=2.0, metavar="GB", help="for a pickle's rows (default: 2)"
    )
    convert.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    import sys
    import time
    from functools import partial

    from gearshift.runtime.errors import ConfigurationError
    from gearshift.runtime.memory import peak_memory
    from gearshift.sim.commands.progress import progress_bar
    from gearshift.sim.compare.report import json_text
    from gearshift.sim.convert.convert import ConvertOptions, convert
    from gearshift.sim.convert.formats.reader_registry import find_reader

    if options.output.resolve() == options.input.resolve():
        raise ConfigurationError(f"{options.output} is the input")
    if options.output.exists() and not options.force:
        raise ConfigurationError(f"{options.output} exists; replace it with --force")
    settings = ConvertOptions(
        rate=_above_zero(options.rate, "--rate"),
        camera=options.camera,
        crop=parse_crop(options.crop),
        size=None if options.resize is None else parse_size(options.resize, "--resize"),
        scale=_above_zero(options.scale, "--scale"),
        attributes=_attributes(options.attributes),
    )
    reader = find_reader(options.input, options.format)
    source = reader.open_source(options.input, _reader_options(options))
    name = options.input.resolve().name
    before = time.perf_counter()
    done = convert(source, name, options.output, settings, partial(progress_bar, unit="frame"))
    for warning in dict.fromkeys(done.warnings):
        sys.stderr.write(f"gearshift: warning: {warning}\n")
    seconds = time.perf_counter() - before
    if options.json:
        document = _document(options.output, reader.NAME, done)
        cost = {"seconds": seconds, "peak_bytes": peak_memory()}
        sys.stdout.write(json_text({"schema_version": 1, **document, **cost}))
    else:
        sys.stdout.write(_summary(options.output, reader.NAME, done))
    return 0


def _reader_options(options: argparse.Namespace) -> ReaderOptions:
    from gearshift.sim.convert.reader import ReaderOptions

    memory = _above_zero(options.memory, "--memory")
    return ReaderOptions(
        labels=options.labels,
        image_topic=options.image_topic,
        pose_topic=options.pose_topic,
        drone_topic=options.drone_topic,
        stamp=options.stamp,
        images=options.images,
        poses=options.poses,
        times=options.times,
        channels=options.channels,
        memory=int((memory or 2.0) * 1e9),
    )


def _summary(path: Path, name: str, done: Converted) -> str:
    seconds = (done.end_ns - done.start_ns) / 1e9
    truth = f"{done.labelled} with ground truth ({done.visible} with the head in view)"
    return (
        f"{path}: {done.frames} frames of {done.width}x{done.height}, {seconds:.1f} s, "
        f"{truth if done.labelled else 'no ground truth'}, from {name}\n"
    )


def _document(path: Path, name: str, done: Converted) -> dict[str, Any]:
    return {
        "path": str(path),
        "format": name,
        "frames": done.frames,
        "labelled": done.labelled,
        "visible": done.visible,
        "width": done.width,
        "height": done.height,
        "start_ns": done.start_ns,
        "end_ns": done.end_ns,
        "warnings": done.warnings,
    }


def _formats(options: argparse.Namespace) -> int:
    import sys
    from dataclasses import asdict

    from gearshift.models.commands.model_tables import text_table
    from gearshift.runtime.errors import ConfigurationError
    from gearshift.sim.compare.comparison_tables import TextTable
    from gearshift.sim.compare.report import json_text
    from gearshift.sim.convert.measuring import conversions_text, measure_conversions
    from gearshift.sim.convert.samples import WRITERS

    if options.frames < 1:
        raise ConfigurationError(f"--frames is {options.frames}, it must be above 0")
    for name in options.names:
        if name not in WRITERS:
            raise ConfigurationError(f"unknown format {name!r}; there are {', '.join(WRITERS)}")
    figures, left_out = measure_conversions(options.names, options.frames)
    heads, rows = conversions_text(figures)
    if options.json:
        document = {"formats": [asdict(each) for each in figures], "left_out": left_out}
        sys.stdout.write(json_text({"schema_version": 1, **document}))
    elif options.markdown:
        table = TextTable("Converting", tuple(heads), tuple(map(tuple, rows)), tuple(left_out))
        sys.stdout.write(table.markdown() + "\n")
    else:
        sys.stdout.write("\n".join([text_table(heads, rows), *left_out]) + "\n")
    return 0


def _sample(options: argparse.Namespace) -> int:
    import sys

    from gearshift.runtime.errors import ConfigurationError, MissingExtraError
    from gearshift.sim.convert.measuring import size_of
    from gearshift.sim.convert.samples import Sample, write_sample

    if options.frames < 1:
        raise ConfigurationError(f"--frames is {options.frames}, it must be above 0")
    size = parse_size(options.size, "--size")
    try:
        write_sample(options.format, options.output, Sample(options.frames, *size))
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        # Only writing a pickle takes pandas, so that it is in no extra.
        raise MissingExtraError(
            f"writing a sample of {options.format} needs pandas: pip install pandas"
        ) from error
    sys.stdout.write(
        f"{options.output}: {options.frames} frames, {size_of(options.output):,} bytes\n"
    )
    return 0


def _info(options: argparse.Namespace) -> int:
    import sys

    from gearshift.sim.compare.report import json_text
    from gearshift.sim.convert.formats.reader_registry import find_reader
    from gearshift.sim.convert.info import describe, info_text

    documents = [describe(path, find_reader(path), options.truncated) for path in options.files]
    if options.json:
        sys.stdout.write(json_text({"schema_version": 1, "files": documents}))
    else:
        sys.stdout.write("\n".join(map(info_text, documents)))
    return 0


def parse_crop(text: str | None) -> Crop | None:
    """A part of the image from "160x96+82+74"; raises ConfigurationError."""
    from gearshift.runtime.errors import ConfigurationError
    from gearshift.sim.convert.grey_images import Crop

    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})\+(\d{1,5})\+(\d{1,5})", text)
    if match is None:
        raise ConfigurationError(f"--crop {text!r} is no part such as 160x96+82+74")
    return Crop(*map(int, match.groups()))


def _above_zero(value: float | None, option: str) -> float | None:
    from gearshift.runtime.errors import ConfigurationError

    if value is not None and not 0 < value < float("inf"):
        raise ConfigurationError(f"{option} is {value}, it must be above 0")
    return value


def _attributes(pairs: Iterable[str]) -> dict[str, str]:
    from gearshift.runtime.errors import ConfigurationError

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ConfigurationError(f"--set {pair!r} is not KEY=VALUE")
        found[key] = value
    return found
