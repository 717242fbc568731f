"""`gearshift replay`: fly recorded flights again through the real scheduler and engines."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.runtime.files.whole_file import (
    make_folder,
    output_file,
    output_place,
    write_whole,
)

if TYPE_CHECKING:
    from gearshift.runtime.ensembles.ensemble import Ensemble
    from gearshift.runtime.scheduling.description import FlightDescription
    from gearshift.sim.replay.redecide import Changes

HELP = "fly recordings again through an ensemble and a policy: errors, latency, choices"
EXTRA = "replay"
TABLE_WIDTH = 100


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "examples:\n"
        "  gearshift replay flight.mcap --ensemble D1 --policy op --threshold 0.4\n"
        "  gearshift replay flights/ --ensemble D2 --policy anchor --threshold equal-error\n"
        "  gearshift replay flights/ --ensemble mine.toml --engine integer --policy always-large\n"
        "  gearshift replay flight.mcap --ensemble D1 --policy op --threshold=-inf \\\n"
        "      --clock real --profile gap8 --csv frames.csv\n"
        "  gearshift replay flight-*.mcap --decisions   (a flown or replayed recording)\n"
        "  gearshift replay flight-*.mcap --infer       (the same with the networks run again)"
    )
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING_OR_DIR")
    parser.add_argument(
        "--ensemble", metavar="NAME|FILE.toml", help="of the zoo, e.g. D1, or one of your own"
    )
    parser.add_argument(
        "--engine",
        metavar="NAME[:ARGUMENT]",
        help="what runs every network: onnx, litert, integer, ... (default: what suits its file)",
    )
    parser.add_argument(
        "--loop-on-board",
        action="store_true",
        help="with --engine board:ADDRESS, the board makes the choices too",
    )
    parser.add_argument(
        "--policy", metavar="NAME|FILE.py:NAME", help="e.g. op, anchor, ./mine.py:p"
    )
    parser.add_argument(
        "--threshold",
        metavar="T",
        help="a number, inf, --threshold=-inf, or an operating point of the ensemble",
    )
    parser.add_argument("--filter", metavar="NAME", help="none, anchor, smooth (default: policy's)")
    parser.add_argument("--combination", choices=("large", "fusion"))
    parser.add_argument("--max-gap", type=float, metavar="S", help="default 0.5")
    parser.add_argument("--per-second", action="store_true", help="distances per second")
    parser.add_argument("--clock", choices=("frame", "real"), default="frame")
    parser.add_argument(
        "--profile", metavar="NAME|FILE", help="device whose latencies the real clock uses"
    )
    parser.add_argument(
        "--truncated", action="store_true", help="read a cut-off recording to its last whole frame"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--decisions",
        action="store_true",
        help="recompute a flight's decisions from recorded outputs, as it was flown or with the "
        "ensemble, policy and threshold given here; exit 1 when one differs",
    )
    again.add_argument(
        "--infer",
        action="store_true",
        help="the same with the networks run again; says what differs first",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="D",
        help="with --infer: largest difference of an output that counts as equal",
    )
    parser.add_argument("--zoo", type=Path, metavar="DIR", help="networks and ensembles.json")
    parser.add_argument(
        "--json",
        type=output_or_dash,
        metavar="FILE",
        help="'-' prints it, without the table",
    )
    parser.add_argument(
        "--csv",
        type=output_or_dash,
        metavar="FILE",
        help="one line per frame; '-' prints it",
    )
    parser.add_argument(
        "--record", type=output_file, metavar="OUT.mcap", help="write it with decisions"
    )
    parser.set_defaults(run=_run, usage_error=parser.error)


def output_or_dash(text: str) -> Path:
    """A file to write as `output_place` has it, or "-" for standard output."""
    return Path(text) if text == "-" else output_place(text)


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from gearshift.runtime.decide.policy import PolicyOptions
    from gearshift.sim.commands.progress import progress_bar
    from gearshift.sim.compare.report import json_text
    from gearshift.sim.replay.replay import replay
    from gearshift.sim.replay.replay_report import replay_csv, replay_document, replay_table
    from gearshift.sim.traces.make_trace import find_recordings

    if options.decisions or options.infer:
        return _again(options, find_recordings(options.recordings))
    if options.ensemble is None or options.policy is None:
        options.usage_error("--ensemble and --policy are needed unless with --decisions or --infer")
    max_gap = PolicyOptions().max_gap_s if options.max_gap is None else options.max_gap
    replayed = replay(
        options.recordings,
        options.ensemble,
        options.policy,
        options.threshold,
        engine=options.engine,
        zoo=options.zoo,
        combination=options.combination or "large",
        filter_name=options.filter,
        options=PolicyOptions(max_gap_s=max_gap, per_second=options.per_second),
        clock=options.clock,
        profile=options.profile,
        record=options.record,
        loop_on_board=options.loop_on_board,
        allow_truncated=options.truncated,
        progress=progress_bar,
    )
    summary, flights, components = replayed.summary(), replayed.flights, replayed.components
    threshold, filter_name = replayed.threshold, replayed.filter_name
    source = replayed.latency_source
    said = {
        "ensemble": replayed.ensemble,
        "engines": replayed.engines,
        "policy": replayed.policy,
        "threshold": threshold,
        "filter": filter_name,
        "clock": str(replayed.clock),
    }
    texts: dict[Path, str] = {}
    if options.json is not None:
        texts[options.json] = json_text(replay_document(said, summary, flights, components, source))
    if options.csv is not None:
        texts[options.csv] = replay_csv(flights, components)
    for target, text in texts.items():
        _write(target, text)
    if Path("-") not in texts:
        parts = {
            "engine": options.engine,
            "loop": "on the board" if options.loop_on_board else None,
            "threshold": None if threshold is None else f"{threshold:g}",
            "filter": None if filter_name == "none" else filter_name,
        }
        title = f"{replayed.ensemble} {replayed.policy}, "
        title += "".join(f"{key} {value}, " for key, value in parts.items() if value is not None)
        title += f"{replayed.clock} clock, {len(flights)} recordings"
        console = Console()
        wide = Console(width=max(console.width, TABLE_WIDTH), soft_wrap=True)
        wide.print(replay_table(title, summary, components, source).rich())
    return 0


def _write(target: Path, text: str) -> None:
    """To a file, or to standard output for "-"."""
    import sys

    if str(target) == "-":
        sys.stdout.write(text)
    else:
        make_folder(target.parent)
        write_whole(target, text)


def _check_again(options: argparse.Namespace) -> None:
    """Refuse what would be left undone: deciding again writes nothing and has no clock."""
    mode = "--decisions" if options.decisions else "--infer"
    for option in ("json", "csv", "record", "profile"):
        if getattr(options, option) is not None:
            options.usage_error(f"--{option} does not go with {mode}, which prints what differs")
    if options.clock != "frame":
        options.usage_error(f"--clock {options.clock} does not go with {mode}")
    if options.decisions and options.tolerance:
        options.usage_error("--tolerance goes with --infer; --decisions is exact")
    if not 0 <= options.tolerance < math.inf:
        options.usage_error(f"--tolerance is {options.tolerance:g}, it must be 0 or more")


def _again(options: argparse.Namespace, paths: list[Path]) -> int:
    """Decide recorded flights again and say what differs."""
    import sys

    from gearshift.runtime.machine import this_machine
    from gearshift.sim.replay.recorded_flight import read_flights
    from gearshift.sim.replay.redecide import decide_again, infer_again

    _check_again(options)
    differing = 0
    for flight in read_flights(paths, allow_truncated=options.truncated):
        networks = _own_networks(options)
        changes = _changes(options, flight.description, networks)
        if options.infer:
            found = infer_again(
                flight,
                changes,
                zoo=options.zoo,
                engine=options.engine,
                networks=networks,
                tolerance=options.tolerance,
            )
        else:
            if networks is not None:
                networks.close()
            found = decide_again(flight, changes)
        differing += found.differing
        how = "made with the networks run again" if options.infer else "recomputed"
        sys.stdout.write(
            f"{found.flight}: {found.decisions} decisions {how}, {found.differing} differ\n"
        )
        for line in found.differences:
            sys.stdout.write(f"  {line}\n")
        for role, distance in found.largest.items():
            sys.stdout.write(f"  {role}: outputs differ by at most {distance:.3g}\n")
        there, here = flight.description.machine, this_machine()
        if options.infer and there != here:
            sys.stdout.write(f"  flown on: {there.summary}\n  run here: {here.summary}\n")
    return int(differing > 0)


def _own_networks(options: argparse.Namespace) -> Ensemble | None:
    """The loaded networks of a TOML file, which are not found by the names that a flight gives."""
    from gearshift.runtime.ensembles.loading import is_ensemble_file, load_ensemble

    if options.ensemble is None or not is_ensemble_file(options.ensemble):
        return None
    return load_ensemble(options.ensemble, options.zoo, engine=options.engine)


def _changes(
    options: argparse.Namespace, flown: FlightDescription, networks: Ensemble | None
) -> Changes:
    """What the command line replaces of how a flight was flown."""
    from dataclasses import replace

    from gearshift.runtime.decide.combination import Combination
    from gearshift.runtime.decide.policy_registry import find_policy
    from gearshift.runtime.ensembles.ensemble_records import read_ensemble
    from gearshift.runtime.ensembles.thresholds import resolve_threshold
    from gearshift.sim.replay.redecide import Changes

    ensemble = networks.record if networks is not None else None
    if options.ensemble is not None and ensemble is None:
        ensemble = read_ensemble(options.ensemble, options.zoo)
    settings = flown.settings
    if options.policy is not None:
        settings = replace(settings, policy=options.policy)
    if options.threshold is not None:
        policy = find_policy(settings.policy)
        threshold = resolve_threshold(options.threshold, ensemble or flown.ensemble, policy)
        settings = replace(settings, threshold=threshold)
    if options.filter is not None:
        settings = replace(settings, filter_name=options.filter)
    if options.combination is not None:
        settings = replace(settings, combination=Combination(options.combination))
    if options.max_gap is not None:
        settings = replace(settings, options=replace(settings.options, max_gap_s=options.max_gap))
    if options.per_second:
        settings = replace(settings, options=replace(settings.options, per_second=True))
    # The same settings given again are no change: a moving threshold stays as it was recorded.
    return Changes(ensemble, None if settings == flown.settings else settings)
