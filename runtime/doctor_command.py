"""`gearshift doctor`: what is wrong with this machine, said before take-off."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "examine this machine before take-off: processor, camera, ports, disk, networks, latency"
EXTRA: str | None = None


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "examples:\n"
        "  gearshift doctor\n"
        "  gearshift doctor flight.toml --json\n"
        "\n"
        "exit code 1 when something would stop or spoil a flight"
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FLIGHT.toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the self-test (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from gearshift.runtime.doctor import run_doctor

    return run_doctor(options.file, options.set, seconds=options.seconds, as_json=options.json)
