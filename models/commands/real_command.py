"""`gearshift models real`: networks beside the truth on real pictures."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearshift.models.evaluating.real_frames import RealFrames
    from gearshift.models.evaluating.real_report import RealReport, Scores

_EPILOG = """examples:
  gearshift models real FRAMES                        # every pose network of the zoo
  gearshift models real FRAMES --networks F1 imported/Frontnet160x32.onnx
  gearshift models real FRAMES --camera camera.toml --mounting 2

FRAMES holds pictures and truth.csv: frame, a column per component (x or x_m), and perhaps clip,
head_u_px and head_v_px. Nothing here is trained, tuned or selected."""


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `real`."""
    real = actions.add_parser(
        "real",
        help="networks beside the truth on real pictures",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    real.add_argument("folder", type=Path, metavar="DIR", help="pictures with a truth file")
    real.add_argument("--truth", type=Path, metavar="CSV", help="(default: DIR/truth.csv)")
    real.add_argument(
        "--networks",
        nargs="+",
        metavar="NAME",
        help="names, .onnx files or folders (default: the zoo's pose networks)",
    )
    real.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    real.add_argument(
        "--camera",
        type=Path,
        metavar="CAMERA.toml",
        help="that took the pictures: they are turned into each network's own camera",
    )
    real.add_argument(
        "--mounting",
        metavar="CLIP",
        help="fit yaw and pitch of the camera on this clip's marked heads, score the other clips",
    )
    real.add_argument(
        "--beside", metavar="NETWORK", help="also print correlations with what this one says"
    )
    real.add_argument("--json", action="store_true", help="print JSON")
    real.set_defaults(run=_real)


def _real(args: argparse.Namespace) -> int:
    from gearshift.models.commands.model_tables import as_json
    from gearshift.models.evaluating.real_report import ALL, judge
    from gearshift.runtime.cameras.camera_file import read_camera

    report = judge(
        args.folder,
        args.networks,
        truth=args.truth,
        zoo=args.zoo,
        camera=None if args.camera is None else read_camera(args.camera),
        mounting_clip=args.mounting,
        beside=args.beside,
    )
    if args.json:
        _write(as_json({"camera": args.camera and str(args.camera), **_document(report)}))
        return 0
    for clip, rows in report.scores.items():
        _write(f"{'all frames' if clip == ALL else f'clip {clip}'}: {report.counts[clip]}")
        _write(_table(rows, report.frames) + "\n")
    if report.beside is not None:
        _write(f"beside {report.beside}, as if it were the truth")
        _write(_table(report.likeness, report.frames) + "\n")
    for line in _notes(report, has_camera=args.camera is not None):
        _write(line)
    return 0


def _document(report: RealReport) -> dict[str, Any]:
    mounting = report.mounting
    return {
        "frames": report.counts,
        "rows_without_a_picture": report.frames.without,
        "mounting": None if mounting is None else {"clip": mounting[0], **asdict(mounting[1])},
        "views": report.views,
        "scores": {
            clip: {name: _scores(row) for name, row in rows.items()}
            for clip, rows in report.scores.items()
        },
        "beside": report.beside,
        "likeness": {name: _scores(row) for name, row in report.likeness.items()},
    }


def _scores(row: Scores) -> dict[str, Any]:
    return {
        name: {k: None if math.isnan(v) else v for k, v in asdict(found).items()}
        for name, found in row.items()
    }


def _table(rows: Mapping[str, Scores], frames: RealFrames) -> str:
    from gearshift.models.commands.model_tables import text_table

    header = ["network"]
    for component in frames.components:
        header += [f"{component.name} MAE", "bias", "ratio", "corr"]
    body = []
    for name, row in rows.items():
        cells = [name]
        for component in frames.components:
            s = row[component.name]
            cells += [_number(s.mae, ".3f"), _number(s.bias, "+.3f")]
            cells += [_number(s.ratio, ".2f"), _number(s.correlation, "+.2f")]
        body.append(cells)
    first = next(iter(rows.values()), {})
    counts = ", ".join(f"{component} {found.frames}" for component, found in first.items())
    return text_table(header, body) + f"\nframes compared: {counts}"


def _notes(report: RealReport, *, has_camera: bool) -> Sequence[str]:
    from gearshift.models.evaluating.real_report import CONSTANT

    views = report.views
    notes = [
        f"pictures {view}: {', '.join(n for n, v in views.items() if v == view)}"
        for view in sorted(set(views.values()))
    ]
    if not has_camera:
        notes.append("no --camera: distances are wrong by as much as the lenses differ")
    if report.frames.without:
        notes.append(f"{report.frames.without} rows of the truth file have no picture")
    if report.mounting is not None:
        clip, found = report.mounting
        yaw, pitch = math.degrees(found.yaw), math.degrees(found.pitch)
        notes.append(
            f"camera mounting fitted on {found.frames} frames of clip {clip}, which is left out: "
            f"yaw {yaw:+.1f}, pitch {pitch:+.1f} degrees, residual {found.residual_px:.1f} px"
        )
    notes.append(f"{CONSTANT}: of these frames' own truth, the control that sees no picture")
    return notes


def _number(value: float | None, style: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, style)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
