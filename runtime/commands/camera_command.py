"""`gearshift camera`: which cameras there are, what their lenses are, and whether those fit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.runtime.commands.sizes import parse_size
from gearshift.runtime.files.whole_file import output_file, write_whole

if TYPE_CHECKING:
    from gearshift.runtime.cameras.checkerboard import Board, ViewCollector
    from gearshift.runtime.types import Camera

HELP = "list cameras, calibrate one from a checkerboard, check that its lens fits the networks"
EXTRA = "camera"

_TIMED_FRAMES = 100


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    parser.epilog = (
        "examples:\n"
        "  gearshift camera list\n"
        "  gearshift camera calibrate /dev/video0 --size 640x480 --board 9x6 --square 0.025 \\\n"
        "      --out camera.toml\n"
        "  gearshift camera calibrate photos/ --board 9x6 --square 0.025 --out camera.toml\n"
        "  gearshift camera show camera.toml"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="V4L2 cameras, their lasting names and formats")
    listing.add_argument("--json", action="store_true", help="for machines")
    listing.set_defaults(run=_list)
    _register_calibrate(actions.add_parser("calibrate", help="intrinsics from a checkerboard"))
    show = actions.add_parser("show", help="field of view, distortion, and fit to the networks")
    show.add_argument("camera", type=Path, metavar="CAMERA.toml")
    show.add_argument(
        "--network", default="M1.0", metavar="NAME|FILE", help="to fit to (%(default)s)"
    )
    show.add_argument("--json", action="store_true", help="for machines")
    show.set_defaults(run=_show)


def _register_calibrate(calibrate: argparse.ArgumentParser) -> None:
    calibrate.formatter_class = argparse.RawDescriptionHelpFormatter
    calibrate.epilog = (
        "VIEWS is a folder of images, a video, a recording (.mcap), or a camera: /dev/video0, a\n"
        "URL, or picamera2:0. Hold the board still, tilted different ways, near and far, up to\n"
        "the corners of the image. Calibrate at the size that you will fly."
    )
    calibrate.add_argument("views", metavar="VIEWS")
    calibrate.add_argument(
        "--board", required=True, metavar="CxR", help="inner corners: one fewer than squares"
    )
    calibrate.add_argument(
        "--square", type=float, required=True, metavar="M", help="side of a square in metres"
    )
    calibrate.add_argument("--out", type=output_file, required=True, metavar="CAMERA.toml")
    calibrate.add_argument("--force", action="store_true", help="replace CAMERA.toml if it exists")
    calibrate.add_argument("--name", help="of the camera (default: the name of CAMERA.toml)")
    calibrate.add_argument(
        "--lens",
        choices=("pinhole", "fisheye"),
        default="pinhole",
        help="OpenCV's model of distortion; beyond 120 degrees a lens is a fisheye (%(default)s)",
    )
    calibrate.add_argument(
        "--preview",
        type=output_file,
        metavar="PNG",
        help="write an image of all corners that were found",
    )
    calibrate.add_argument(
        "--count", type=int, default=25, metavar="N", help="views to take of a camera (%(default)s)"
    )
    calibrate.add_argument("--size", metavar="WxH", help="what to ask a camera for")
    calibrate.add_argument("--format", metavar="FOURCC", help="of a V4L2 camera: MJPG, YUYV, GREY")
    calibrate.set_defaults(run=_calibrate)


def _list(options: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from gearshift.runtime.cameras.camera_devices import video_devices

    devices = video_devices()
    if options.json:
        sys.stdout.write(json.dumps([asdict(device) for device in devices], indent=2) + "\n")
        return 0
    if not devices:
        sys.stdout.write(
            "no V4L2 camera is connected; Raspberry Pi cameras: `rpicam-hello --list-cameras`\n"
        )
    for device in devices:
        sys.stdout.write(f"{device.node}  {device.title}\n")
        for name in device.names:
            sys.stdout.write(f"  {name}\n")
        if device.problem is not None:
            sys.stdout.write(f"  cannot be asked: {device.problem}\n")
        for mode in device.modes:
            rates = ", ".join(f"{rate:g}" for rate in sorted(mode.rates, reverse=True))
            size = f"{mode.width}x{mode.height}"
            sys.stdout.write(f"  {mode.format:<5} {size:<10} {rates or '?'} Hz\n")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from gearshift.runtime.cameras.camera_file import CalibrationRecord, camera_text
    from gearshift.runtime.cameras.checkerboard import calibrate, draw_corners
    from gearshift.runtime.cameras.checkerboard_views import collect_views, views_source
    from gearshift.runtime.errors import ConfigurationError

    if options.out.suffix != ".toml":
        raise ConfigurationError(f"--out {options.out}: a camera is a .toml file")
    if options.out.exists() and not options.force:
        raise ConfigurationError(f"{options.out} exists; replace it with --force")
    board = _board(options.board, options.square)
    source = views_source(options.views, _size(options.size), options.format)
    source.open()
    try:
        seen = collect_views(
            source, board, options.count, _guide(options.count) if source.live else _stay_silent
        )
    finally:
        source.close()
    views = seen.collector.corners
    sys.stdout.write(
        f"{seen.images} images, {len(views)} of them different views of the whole board\n"
    )
    if options.preview is not None:
        _write_preview(options.preview, draw_corners(seen.last, views, board))
    name = options.name or options.out.stem
    found = calibrate(name, views, seen.collector.size, board, options.lens)
    record = CalibrationRecord(
        views=len(found.used),
        board=options.board,
        square_m=options.square,
        reprojection_error=found.error,
        coverage=found.coverage,
    )
    write_whole(options.out, camera_text(found.camera, record))
    camera = found.camera
    sys.stdout.write(
        f"{options.out}: {camera.width}x{camera.height}, fx {camera.fx:.1f}, fy {camera.fy:.1f}, "
        f"centre {camera.cx:.1f}, {camera.cy:.1f}\n"
        f"  {len(found.used)} views, reprojection error {found.error:.3f} pixels, the board was "
        f"seen in {found.coverage:.0%} of the image"
    )
    if found.focal_deviation == found.focal_deviation:
        sys.stdout.write(f", focal length known to {found.focal_deviation:.2%}")
    sys.stdout.write("\n")
    for warning in found.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def _guide(count: int) -> Callable[[ViewCollector], None]:
    def tell(collector: ViewCollector) -> None:
        taken = len(collector.corners)
        sys.stderr.write(
            f"view {taken} of {count}, {collector.coverage:.0%} of the image; move the board\n"
        )

    return tell


def _stay_silent(collector: ViewCollector) -> None:
    """Nobody holds a board before a video."""


def _write_preview(path: Path, picture: object) -> None:
    from gearshift.runtime.files.opencv import load_opencv

    cv2 = load_opencv()
    done, content = cv2.imencode(".png", picture)
    assert done
    write_whole(path, content.tobytes())


def _show(options: argparse.Namespace) -> int:
    import json
    import math

    from gearshift.runtime.cameras.camera_file import read_camera
    from gearshift.runtime.cameras.lens import fields_of_view
    from gearshift.runtime.cameras.rectifier import coverage, worries
    from gearshift.runtime.engines.engine_registry import load_engine
    from gearshift.runtime.errors import ConfigurationError

    camera = read_camera(options.camera)
    engine = load_engine(options.network)
    target = engine.network.camera
    engine.close()
    if target is None:
        raise ConfigurationError(
            f"{options.network} does not say which camera it was trained for; name another network"
        )
    horizontal, vertical = (math.degrees(angle) for angle in fields_of_view(camera))
    wanted = [math.degrees(angle) for angle in fields_of_view(target)]
    bend = _bend(camera)
    share, scale = coverage(camera, target)
    warnings = list(worries(camera, share, scale))
    resampling_ms = _resampling_ms(camera, target)
    if options.json:
        document = {
            "name": camera.name,
            "field_of_view_deg": [horizontal, vertical],
            "corner_displacement_px": bend,
            "network": options.network,
            "network_field_of_view_deg": wanted,
            "covered": share,
            "pixels_per_network_pixel": scale,
            "resampling_ms": resampling_ms,
            "warnings": warnings,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 0
    lens = "fisheye" if camera.fisheye else "pinhole"
    sys.stdout.write(
        f"{camera.name}: {camera.width}x{camera.height}, {lens} lens, fx {camera.fx:.1f}, "
        f"fy {camera.fy:.1f}\n"
        f"  field of view {horizontal:.1f} x {vertical:.1f} degrees; distortion moves the corners "
        f"by {bend:.1f} pixels\n"
        f"  {options.network} was trained for {wanted[0]:.1f} x {wanted[1]:.1f} degrees at "
        f"{target.width}x{target.height}: this camera shows {share:.1%} of that, with {scale:.1f} "
        "pixels where it has one\n"
        f"  turning a frame into that takes {resampling_ms:.2f} ms here (median)\n"
    )
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def _resampling_ms(camera: Camera, target: Camera) -> float:
    """Median time to turn one frame into the networks' view, on this machine."""
    import statistics
    import time

    import numpy as np

    from gearshift.runtime.cameras.rectifier import Rectifier, View

    view = View(target.width, target.height, target)
    rectifier = Rectifier(camera, (camera.width, camera.height), view)
    image = np.random.default_rng(0).integers(0, 256, (camera.height, camera.width), np.uint8)
    out = np.empty((target.height, target.width), np.uint8)
    times = []
    for _ in range(_TIMED_FRAMES):
        start = time.perf_counter()
        rectifier.apply(image, out)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def _bend(camera: Camera) -> float:
    """How far from where a lens without distortion would have them corners are shown [pixels]."""
    import numpy as np

    from gearshift.runtime.cameras.lens import rays_of_pixels

    right, bottom = camera.width - 1.0, camera.height - 1.0
    corners = np.array([[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]])
    straight = rays_of_pixels(camera, corners) * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    return float(np.hypot(*(straight - corners).T).max())


def _board(text: str, square: float) -> Board:
    from gearshift.runtime.cameras.checkerboard import Board

    columns, rows = parse_size(text, "--board", "9x6")
    return Board(columns, rows, square)


def _size(text: str | None) -> tuple[int, int] | None:
    return None if text is None else parse_size(text, "--size", "640x480")
