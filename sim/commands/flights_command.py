"""The command `gearshift flights`: make synthetic flights and look at them."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.runtime.files.whole_file import make_folder, output_place, write_whole

HELP = "make synthetic flights with exact labels, and look at them"
EXTRA = "sim"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands `make` and `sheet`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    make = actions.add_parser("make", help="render flights into recordings (resumable)")
    make.add_argument(
        "--split",
        required=True,
        choices=("train", "val", "known", "unseen"),
        help="which pool of rooms and people, and which flights of it",
    )
    make.add_argument("--flights", type=int, default=100, help="number of flights (%(default)s)")
    make.add_argument("--first", type=int, default=0, help="index of the first one (%(default)s)")
    make.add_argument("--frames", type=int, default=50, help="frames a flight (%(default)s)")
    make.add_argument(
        "--rate", type=int, default=6, help="frames kept a second, a divisor of 30 (%(default)s)"
    )
    make.add_argument(
        "--out", type=output_place, required=True, metavar="DIR", help="folder to write to"
    )
    make.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    make.add_argument("--seed", type=int, default=0, help="seed of everything (%(default)s)")
    make.add_argument(
        "--cache", type=output_place, metavar="DIR", help="folder of baked rooms (OUT/.rooms)"
    )
    make.set_defaults(run=_make)

    sheet = actions.add_parser("sheet", help="draw a contact sheet of recordings")
    sheet.add_argument("paths", type=Path, nargs="+", metavar="DIR|FILE")
    sheet.add_argument("-o", "--out", type=output_place, required=True, metavar="PNG")
    sheet.add_argument("--count", type=int, default=48, help="frames to show (%(default)s)")
    sheet.add_argument("--columns", type=int, default=6, help="frames a row (%(default)s)")
    sheet.add_argument("--labels", action="store_true", help="draw head and pose")
    sheet.add_argument("--real", type=Path, metavar="DIR", help="put these PNG frames on top")
    sheet.set_defaults(run=_sheet)


def _make(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from gearshift.sim.flights.flight import FlightPlan
    from gearshift.sim.flights.make import is_made, make_flights

    plans = [
        FlightPlan(args.split, args.first + k, args.frames, args.rate, args.seed)
        for k in range(args.flights)
    ]
    frames, seconds = 0, 0.0
    cache = args.cache if args.cache is not None else args.out / ".rooms"
    done = sum(is_made(plan, args.out) for plan in plans)
    with tqdm(total=len(plans), initial=done, unit="flight", desc=args.split) as bar:
        for made in make_flights(plans, args.out, cache, args.jobs):
            frames, seconds = frames + made.frames, seconds + made.seconds
            bar.set_postfix_str(f"{frames / seconds:.1f} frames/s per process", refresh=False)
            bar.update()
    return 0


def _sheet(args: argparse.Namespace) -> int:
    import cv2

    from gearshift.sim.flights.sheet import (
        make_sheet,
        real_pictures,
        recordings,
        sample_pictures,
    )

    pictures = sample_pictures(recordings(args.paths), args.count)
    if args.real is not None:
        pictures = real_pictures(args.real)[: args.columns * 2] + pictures
    sheet = make_sheet(pictures, args.columns, labels=args.labels)
    done, content = cv2.imencode(".png", sheet)
    assert done
    make_folder(args.out.parent)
    write_whole(args.out, content.tobytes())
    return 0
