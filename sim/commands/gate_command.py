"""`gearshift gate`: fail when decisions, errors or modelled latency on stored traces got worse."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "compare every operating point on stored traces with a baseline; exit 1 when worse"
EXTRA = "replay"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "examples:\n"
        "  gearshift gate                        against the baseline that ships\n"
        "  gearshift gate mine.json --trace my-traces/known.npz --tolerance 1\n"
        "  gearshift gate --write mine.json      store what is now\n"
        "prints markdown; figures are deterministic, nothing is timed"
    )
    parser.add_argument(
        "baseline", nargs="?", type=Path, help="JSON file (default: the one that ships)"
    )
    parser.add_argument(
        "--trace",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="traces (default: shipped known, unseen)",
    )
    parser.add_argument("--zoo", type=Path, metavar="DIR", help="networks and ensembles.json")
    parser.add_argument("--profile", default="gap8", metavar="NAME|FILE")
    parser.add_argument(
        "--tolerance", type=float, default=0.5, metavar="PCT", help="per cent (%(default)s)"
    )
    parser.add_argument(
        "--exact", action="store_true", help="fail on any change, not only on a worse one"
    )
    parser.add_argument("--write", action="store_true", help="write the baseline instead")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import sys

    from gearshift.runtime.ensembles.ensemble_records import read_ensembles
    from gearshift.runtime.ensembles.profile import find_profile, read_profile
    from gearshift.runtime.errors import ConfigurationError
    from gearshift.sim.gate import gate
    from gearshift.sim.traces.trace import read_trace, traces_folder

    if not options.tolerance >= 0:
        raise ConfigurationError(f"--tolerance is {options.tolerance}, it must not be negative")
    path = options.baseline or gate.baseline_path()
    old = None if options.write else gate.read_baseline(path)
    folder = traces_folder()
    traces = [read_trace(p) for p in options.trace or (folder / "known.npz", folder / "unseen.npz")]
    profile = read_profile(find_profile(options.profile, options.zoo))
    new = gate.compute(list(read_ensembles(options.zoo).values()), traces, profile)
    if old is None:
        gate.write_baseline(path, new)
        sys.stdout.write(f"wrote {len(new.cases)} cases to {path}\n")
        return 0
    changes = gate.judge(old, new, options.tolerance)
    sys.stdout.write(gate.markdown(changes, options.tolerance) + "\n")
    failing = {gate.Verdict.WORSE, gate.Verdict.MISSING}
    if options.exact:
        failing |= {gate.Verdict.CHANGED, gate.Verdict.NEW}
    return int(any(change.verdict in failing for change in changes))
