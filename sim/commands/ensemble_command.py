"""`gearshift ensemble`: look at an ensemble, and calibrate one of your own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearshift.runtime.ensembles.profile import Profile
    from gearshift.sim.traces.make_trace import Engines

HELP = "show an ensemble; calibrate one of your own on recordings with ground truth"
EXTRA = "replay"
TIMED_FRAMES = 300
TABLE_WIDTH = 110


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands `show` and `calibrate`."""
    parser.epilog = (
        "examples:\n"
        "  gearshift ensemble show D1\n"
        "  gearshift ensemble calibrate mine.toml --data flights/val\n"
        "  gearshift ensemble calibrate mine.toml --data flights/val --profile my-board.json"
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = commands.add_parser("show", help="networks, engines, weights and operating points")
    show.add_argument("ensemble", metavar="NAME|FILE.toml")
    show.add_argument("--zoo", type=Path, metavar="DIR", help="networks and ensembles.json")
    show.set_defaults(run=_show)
    calibrate = commands.add_parser(
        "calibrate",
        help="deviations, tables, gains and thresholds from labelled recordings, into "
        "NAME.calibration.json beside NAME.toml",
    )
    calibrate.add_argument("ensemble", type=Path, metavar="FILE.toml")
    calibrate.add_argument(
        "--data", nargs="+", required=True, type=Path, metavar="RECORDING_OR_DIR"
    )
    calibrate.add_argument(
        "--profile",
        metavar="NAME|FILE",
        help="device whose latencies make the operating points (default: measured here)",
    )
    calibrate.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    calibrate.set_defaults(run=_calibrate)


def _show(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from gearshift.runtime.ensembles.loading import load_ensemble
    from gearshift.runtime.types import NetworkRole

    ensemble = load_ensemble(options.ensemble, options.zoo)
    calibration = ensemble.calibration
    names = [component.name for component in calibration.components]
    networks = Table("role", "network", "sha256", "engine", "M MAC")
    for name in names:
        networks.add_column(f"sd {name}")
    for role, reference in ensemble.networks.items():
        engine = ensemble.engine(role)
        mac = f"{engine.network.mac / 1e6:.2f}" if engine is not None else ""
        deviation = calibration.standard_deviation.get(role)
        cells = [] if deviation is None else [f"{value:.3f}" for value in deviation]
        if deviation is None and role is not NetworkRole.AUX:
            cells = ["unknown"] * len(names)
        row = [str(role), reference.name, reference.sha256[:12], ensemble.engines[role], mac]
        networks.add_row(*row, *cells)
    console = Console(width=max(Console().width, TABLE_WIDTH), soft_wrap=True)
    console.print(f"ensemble {ensemble.name}")
    console.print(networks)
    weights = zip(names, calibration.weights, strict=True)
    console.print("weights: " + ", ".join(f"{name} {weight:.4g}" for name, weight in weights))
    for policy, points in ensemble.thresholds.items():
        shown = ", ".join(f"{point} {threshold:.4g}" for point, threshold in points.items())
        console.print(f"thresholds of {policy}: {shown}", highlight=False)
    if not ensemble.thresholds:
        console.print("no thresholds: give numbers, or calibrate it")
    ensemble.close()
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from rich.console import Console

    from gearshift.runtime.ensembles.ensemble_file import calibration_path, load_ensemble_file
    from gearshift.runtime.ensembles.ensemble_records import write_records
    from gearshift.runtime.ensembles.profile import find_profile, read_profile
    from gearshift.runtime.errors import ConfigurationError
    from gearshift.runtime.scoring.counted_frames import angular_mask, scored_frames
    from gearshift.sim.calibrate.ensemble_calibration import (
        calibrate_ensembles,
        with_measured_scales,
    )
    from gearshift.sim.commands.progress import progress_bar
    from gearshift.sim.traces.make_trace import ensemble_engines, find_recordings, make_trace

    recordings = find_recordings(options.data)
    ensemble = load_ensemble_file(options.ensemble, options.zoo, calibrated=False)
    engines = ensemble_engines(ensemble)
    members = {role: reference.name for role, reference in ensemble.networks.items()}
    trace = make_trace(recordings, engines, "val", progress_bar)
    counting = scored_frames(trace.truth, trace.visible, angular_mask(trace.components))
    if not counting.any():
        raise ConfigurationError(
            "the recordings have no frame with ground truth that counts; calibrating needs labels"
        )
    console = Console(soft_wrap=True)
    with console.status("calibrating") as status:
        if options.profile is not None:
            profile = read_profile(find_profile(options.profile, options.zoo))
        else:
            status.update("timing the networks on this machine")
            profile = _time(engines, recordings)
        trace = with_measured_scales(trace)
        records = calibrate_ensembles(trace, profile, {ensemble.name: members}, status.update)
    target = calibration_path(options.ensemble)
    write_records(target, records)
    console.print(
        f"{target}: from {int(counting.sum())} labelled frames of {len(trace.flights)} flights; "
        f"thresholds for {profile.device} ({profile.kind})",
        highlight=False,
    )
    ensemble.close()
    return 0


def _time(engines: Engines, recordings: Sequence[Path]) -> Profile:
    """Latencies on this machine, on the first frames of the recordings."""
    from itertools import chain, islice

    from gearshift.runtime.recordings.recording import RecordingReader
    from gearshift.sim.traces.timing import measured_profile, time_networks

    entries = chain.from_iterable(RecordingReader(path) for path in recordings)
    images = [entry.frame.image for entry in islice(entries, TIMED_FRAMES)]
    return measured_profile(engines, time_networks(engines, images), "the calibration's recordings")
