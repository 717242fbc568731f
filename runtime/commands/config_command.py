"""`gearshift config`: look at a flight's configuration before it flies."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "check, document and exemplify flight.toml"
EXTRA: str | None = None


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "validate a file, print what is in effect and whether the machine can hold it"
    check = actions.add_parser("check", help=text, description=text)
    check.add_argument("file", type=Path, metavar="FLIGHT.toml")
    check.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    check.add_argument("--json", action="store_true", help="print what is in effect as JSON")
    check.set_defaults(run=_check)
    text = "print the JSON schema, for editors and other programs"
    schema = actions.add_parser("schema", help=text, description=text)
    schema.set_defaults(run=_schema)
    text = "print a file with every key and what it means"
    example = actions.add_parser("example", help=text, description=text)
    example.set_defaults(run=_example)


def _check(options: argparse.Namespace) -> int:
    import json
    import os

    from gearshift.runtime.launch.configuration import read_flight_config
    from gearshift.runtime.launch.configuration_tables import as_toml
    from gearshift.runtime.launch.feasibility import check_flight

    config = read_flight_config(options.file, options.set, os.environ)
    notes = check_flight(config)
    if options.json:
        sys.stdout.write(json.dumps(config.resolved(), indent=2, default=str) + "\n")
    else:
        sys.stdout.write(as_toml(config.resolved()))
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    return 0


def _schema(_options: argparse.Namespace) -> int:
    import json

    from gearshift.runtime.launch.configuration import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
    return 0


def _example(_options: argparse.Namespace) -> int:
    from gearshift.runtime.launch.configuration_tables import EXAMPLE

    sys.stdout.write(EXAMPLE)
    return 0
