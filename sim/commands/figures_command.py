"""`gearshift figures`: rebuild everything that derives from networks and flights."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "rebuild traces, calibration, thresholds, tables, picture and baseline (maintainers)"
EXTRA = "replay"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "examples:\n"
        "  gearshift figures --flights flights         what is out of date\n"
        "  gearshift figures --flights flights --make-flights --force\n"
        "  gearshift figures --check                   exit 1 when anything is out of date"
    )
    parser.add_argument(
        "--flights", type=Path, metavar="DIR", help="recordings, one folder per split"
    )
    parser.add_argument(
        "--make-flights",
        action="store_true",
        help="render missing ones where they are needed",
    )
    parser.add_argument("--force", action="store_true", help="rebuild also what is up to date")
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from gearshift.runtime.errors import ConfigurationError
    from gearshift.sim.figures.derived import find_root, stale

    console = Console(soft_wrap=True)
    root = find_root()
    if options.check:
        reasons = stale(root)
        for reason in reasons:
            console.print(reason)
        return int(bool(reasons))

    from gearshift.sim.figures.rebuild import rebuild

    if options.make_flights and options.flights is None:
        raise ConfigurationError("--make-flights needs --flights DIR to put them")
    with console.status("figures") as status:
        written = rebuild(
            root,
            options.flights,
            status.update,
            render=options.make_flights,
            force=options.force,
        )
    for name in written:
        console.print(f"wrote {name}")
    if not written:
        console.print("everything is up to date")
    return 0
