"""`gearshift compare`: the six adaptive systems, ours, the baselines and the controls."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.runtime.files.whole_file import output_place

if TYPE_CHECKING:
    from gearshift.sim.compare.main_job import Compared

HELP = "the paper's six systems on the shipped traces: tables, headline figures and a picture"
EXTRA = "replay"
TABLE_WIDTH = 170
POINTS = ("equal-error", "equal-latency", "best-error")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "examples:\n"
        "  gearshift compare\n"
        "  gearshift compare --point equal-latency --out /tmp/report\n"
        "  gearshift compare --policy ./mine.py:signal\n"
        "  gearshift compare --traces my-traces --profile my-board.json --no-timing\n"
        "  gearshift compare --ensemble mine.toml --traces my-traces --profile my-gap8.json"
    )
    parser.add_argument("--out", type=output_place, default=Path("report"), metavar="DIR")
    parser.add_argument(
        "--ensemble",
        nargs="+",
        default=[],
        metavar="NAME|FILE.toml",
        help="of the zoo, or your own; traces and profile must have its networks (default: the "
        "zoo's)",
    )
    parser.add_argument(
        "--policy",
        nargs="+",
        default=[],
        metavar="NAME|FILE.py:NAME",
        help="beside those that are always compared",
    )
    parser.add_argument("--traces", type=Path, metavar="DIR", help="val.npz, known.npz, unseen.npz")
    parser.add_argument("--zoo", type=Path, metavar="DIR", help="networks and ensembles.json")
    parser.add_argument(
        "--profile",
        default="gap8",
        metavar="NAME|FILE",
        help="device whose latency and energy count (default: gap8)",
    )
    parser.add_argument("--point", choices=POINTS, default="equal-error", help="of the tables")
    parser.add_argument("--splits", nargs="+", default=["known", "unseen"], metavar="SPLIT")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N")
    parser.add_argument("--no-timing", action="store_true", help="do not time networks here")
    parser.add_argument("--json", action="store_true", help="print the report, not the tables")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import sys

    from rich.console import Console

    from gearshift.sim.compare.comparison_tables import (
        VERDICTS,
        error_table,
        halfway_table,
        latency_table,
        split_table,
        verdicts,
    )
    from gearshift.sim.compare.headline import Point
    from gearshift.sim.compare.main_job import compare, write_report

    console = Console(stderr=options.json)
    with console.status("comparing") as status:
        compared: Compared = compare(
            options.ensemble,
            policies=options.policy,
            zoo=options.zoo,
            traces=options.traces,
            profile=options.profile,
            splits=options.splits,
            timing=not options.no_timing,
            resamples=options.resamples,
            done=lambda what: status.update(f"comparing: {what}"),
        )
    write_report(options.out, compared)
    if options.json:
        sys.stdout.write((options.out / "report.json").read_text())
        return 0
    wide = Console(width=max(console.width, TABLE_WIDTH), soft_wrap=True)
    for report in compared.splits:
        wide.print(split_table(report, Point(options.point), compared.device).rich())
        wide.print(latency_table(report, compared.device).rich())
        wide.print(error_table(report, compared.device).rich())
        wide.print(halfway_table(report, compared.device).rich())
    wide.print(VERDICTS)
    for report in compared.splits:
        for line in verdicts(report):
            wide.print(f"  {line}")
    for profile in (compared.host, compared.device):
        if profile is not None:
            wide.print(f"{profile.kind}: {profile.device}; {profile.method}")
    wide.print(f"wrote {options.out}/report.json and {options.out}/plane.png")
    return 0
