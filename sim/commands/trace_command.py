"""`gearshift trace`: make traces of recordings, and look into them."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.runtime.files.whole_file import make_folder, output_place

HELP = "run every network over recordings once, so that policies can be swept without them"
EXTRA = "replay"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands `make` and `info`."""
    parser.epilog = (
        "examples:\n"
        "  gearshift trace make flights/val --out val.npz\n"
        "  gearshift trace make flight.mcap --networks F1 M1.0 aux --out flight.npz\n"
        "  gearshift trace info val.npz"
    )
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = commands.add_parser("make", help="run networks over recordings")
    make.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING_OR_DIR")
    make.add_argument(
        "--networks",
        nargs="+",
        metavar="NAME",
        help="of the zoo, or .onnx and .tflite files and GAP8 folders (default: all of the zoo)",
    )
    make.add_argument("--engine", metavar="NAME", help="what runs them: onnx, litert, integer, ...")
    make.add_argument("--split", help="name of the data set (default: what the recordings say)")
    make.add_argument("--zoo", type=Path, metavar="DIR", help="folder of networks")
    make.add_argument("--out", required=True, type=output_place, metavar="FILE.npz")
    make.set_defaults(run=_make)
    info = commands.add_parser("info", help="what a trace holds")
    info.add_argument("trace", type=Path)
    info.set_defaults(run=_info)


def _make(options: argparse.Namespace) -> int:
    from rich.console import Console

    from gearshift.runtime.engines.network import read_manifest
    from gearshift.sim.commands.progress import progress_bar
    from gearshift.sim.traces.make_trace import find_recordings, load_networks, make_trace
    from gearshift.sim.traces.trace import write_trace

    recordings = find_recordings(options.recordings)
    names = options.networks or sorted(read_manifest(options.zoo)["networks"])
    engines = load_networks(names, options.zoo, engine=options.engine)
    trace = make_trace(recordings, engines, options.split, progress_bar)
    make_folder(options.out.parent)
    write_trace(trace, options.out)
    size = options.out.stat().st_size / 1e6
    Console().print(
        f"{options.out}: {trace.frames} frames of {len(trace.flights)} flights, "
        f"{', '.join(trace.outputs)}, {size:.1f} MB",
        soft_wrap=True,
    )
    return 0


def _info(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
    from gearshift.runtime.scoring.metrics import presence
    from gearshift.sim.traces.trace import read_trace

    trace = read_trace(options.trace)
    console = Console()
    rooms = {f.room for f in trace.flights}
    people = {f.person for f in trace.flights}
    console.print(
        f"{trace.split}: {trace.frames} frames of {len(trace.flights)} flights, "
        f"{len(rooms)} rooms, {len(people)} people",
        soft_wrap=True,
    )
    table = Table("network", "sha256", "M MAC", *(f"{c.name} {c.unit}" for c in trace.components))
    table.add_column("sum")
    angular = angular_mask(trace.components)
    scored = scored_frames(trace.truth, trace.visible, angular)
    notes = []
    for name, entry in trace.networks.items():
        row = [name, entry.sha256[:12], f"{entry.network.mac / 1e6:.1f}"]
        if entry.network.grid is not None:
            said = presence(trace.outputs[name], trace.head_cell, entry.network.grid)
            notes.append(
                f"{name}: false present {said.false_present:.1%} of {said.frames_without} frames, "
                f"false absent {said.false_absent:.1%} of {said.frames_with}"
            )
        elif scored.any():
            error = absolute_error(trace.outputs[name], trace.truth, angular)[scored].mean(axis=0)
            row += [f"{value:.3f}" for value in (*error, error.sum())]
        table.add_row(*row)
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)
    if not scored.any():
        console.print("no ground truth: no errors")
    return 0
