"""`gearshift run`: fly. A source of frames, an ensemble and a policy, sinks, from one file."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "fly: frames from a camera or a recording in, poses out, as flight.toml says"
EXTRA: str | None = None


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "examples:\n"
        "  gearshift config example > flight.toml\n"
        "  gearshift run flight.toml\n"
        "  gearshift run flight.toml --set policy.threshold=0.4 --set source.pace=none\n"
        "  GEARSHIFT_RUN__SOURCE__KIND=v4l2 gearshift run flight.toml\n"
        "\n"
        "SIGTERM and SIGINT (Ctrl-C) end a flight within a second and leave its recording whole;\n"
        "SIGHUP (the terminal went away) does not end it."
    )
    parser.add_argument("file", type=Path, metavar="FLIGHT.toml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value: policy.threshold=0.4 (may be repeated)",
    )
    parser.add_argument("--seconds", type=_seconds, metavar="S", help="end after so long")
    parser.add_argument("--viewer", choices=("rerun",), help="show frames, poses and decisions")
    parser.add_argument(
        "--print-unit",
        action="store_true",
        help="print a systemd unit that flies this file, instead of flying",
    )
    parser.set_defaults(run=_run)


def _seconds(text: str) -> float:
    """A time above 0; NaN compares as if the end had come, and a negative one has."""
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return seconds


def _run(options: argparse.Namespace) -> int:
    import os

    from gearshift.runtime.launch.conduct import conduct, systemd_unit
    from gearshift.runtime.launch.configuration import read_flight_config

    overrides = list(options.set)
    viewer = [options.viewer] if options.viewer else []
    config = read_flight_config(options.file, overrides, os.environ, viewer)
    if options.print_unit:
        import sys

        sys.stdout.write(systemd_unit(options.file.resolve(), overrides))
        return 0
    return conduct(config, seconds=options.seconds)
