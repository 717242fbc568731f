"""`gearshift doctor`: what is wrong with this machine, said before take-off."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.runtime.files.whole_file import output_file

HELP = "examine this machine before take-off: processor, camera, ports, disk, networks, latency"
EXTRA: str | None = None
USUAL_HZ = 30.0


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "examples:\n"
        "  gearshift doctor\n"
        "  gearshift doctor flight.toml --json\n"
        "  gearshift doctor flight.toml --profile pi.json    (for limits.profile)\n"
        "\n"
        "exit code 1 when something would stop a flight or make it useless"
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FLIGHT.toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="of the self-test (default 5)"
    )
    parser.add_argument(
        "--profile", type=output_file, metavar="OUT.json", help="write the self-test as a profile"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import json
    import os
    import sys

    from gearshift.runtime.decide.policies import OP
    from gearshift.runtime.decide.policy_registry import find_policy
    from gearshift.runtime.ensembles.loading import load_ensemble
    from gearshift.runtime.errors import GearshiftError
    from gearshift.runtime.launch import doctor
    from gearshift.runtime.launch.configuration import read_flight_config
    from gearshift.runtime.launch.self_test import examine_latency

    findings = list(doctor.examine_machine())
    policy, rate_hz, ensemble = OP, USUAL_HZ, None
    try:
        if options.file is None:
            ensemble = load_ensemble("D1")
        else:
            config = read_flight_config(options.file, options.set, os.environ)
            findings += doctor.examine_flight(config)
            ensemble, found = doctor.examine_networks(config)
            findings += found
            rate_hz = config.sections.limits.rate_hz or USUAL_HZ
            policy = find_policy(config.sections.policy.name)
    except GearshiftError as error:
        findings.append(doctor.failure("configuration", str(error)))
    latencies: dict[str, object] = {}
    if ensemble is not None:
        found, latencies = examine_latency(
            ensemble, policy, rate_hz, options.seconds, options.profile
        )
        findings += found
        ensemble.close()
    document = doctor.as_document(findings, latencies)
    if options.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(doctor.as_table(findings))
    return 0 if document["ready"] else 1
