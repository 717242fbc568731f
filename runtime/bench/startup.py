"""`gearshift bench startup`: from the command to the first estimate, and where the time goes.

Every start is a process of its own, in turns with one of Python that does nothing: what Python
takes on this machine, and how busy the machine is, stands beside what Gearshift takes. A start of
`gearshift run` is timed from outside, until its first line can be read; another goes through the
same steps and says when each was done.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from gearshift.runtime.flight.capture import Available
    from gearshift.runtime.sinks.sink import Report

SCHEMA_VERSION: Final = 2
STARTUP_S: Final = 1.0
FRAME_NS: Final = 33_333_333
PYTHON: Final = "pass"
RUN: Final = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"
PROBE: Final = (
    "import time; began = time.monotonic_ns()\n"
    "from gearshift.runtime.bench.startup import probe; probe(began)"
)
PHASES: Final = {
    "python": "Python itself",
    "command": "command line read",
    "configuration": "modules imported, flight.toml checked",
    "networks": "networks loaded and run a few times",
    "source": "source open",
    "estimate": "first estimate",
}
Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of one step, medians over the starts: elapsed, the least of them, and on
    processors."""

    wall_ms: float
    least_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class StartupBench:
    """The result. python: a start of Python that does nothing, to its end. phases: each in itself,
    in order. first_line: `gearshift run` until its first line was read; its processor time is that
    of the whole flight of one frame. ratio: of the latter two's medians. load: processes that
    wanted a processor before, over the processors there are."""

    schema_version: int
    ensemble: str
    runs: int
    python: Cost
    phases: Mapping[str, Cost]
    first_line: Cost
    ratio: float
    cpu_ratio: float
    load: float
    met: bool


def register_startup(benches: Parsers) -> None:
    """Add `bench startup`."""
    text = "from `gearshift run` to the first estimate on stdout, from a recording"
    parser = benches.add_parser("startup", help=text, description=text)
    parser.add_argument("--ensemble", default="D1", metavar="NAME|FILE.toml")
    parser.add_argument("--runs", type=int, default=10, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from gearshift.runtime.errors import ConfigurationError

    if options.runs < 1:
        raise ConfigurationError(f"--runs is {options.runs}, it must be at least 1")
    bench = bench_startup(options.ensemble, options.runs)
    text = json.dumps(asdict(bench), indent=2) + "\n" if options.json else startup_table(bench)
    sys.stdout.write(text)
    return 0


def bench_startup(ensemble_name: str, runs: int) -> StartupBench:
    """Start again and again on a recording of one frame made here; raises GearshiftError."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    python: list[tuple[float, float]] = []
    lines: list[tuple[float, float]] = []
    phases: dict[str, list[tuple[float, float]]] = {name: [] for name in PHASES}
    with tempfile.TemporaryDirectory() as name:
        flight = _write_flight(Path(name), ensemble_name)
        for _ in range(runs):
            python.append(_start(PYTHON, wait_for_line=False)[:2])
            lines.append(_start(RUN, "run", str(flight))[:2])
            spawned_ns = time.monotonic_ns()
            _, _, said = _start(PROBE, str(flight))
            _add_phases(phases, spawned_ns, json.loads(said))
    costs = {phase: _cost(values) for phase, values in phases.items()}
    bare, first_line = _cost(python), _cost(lines)
    return StartupBench(
        schema_version=SCHEMA_VERSION,
        ensemble=ensemble_name,
        runs=runs,
        python=bare,
        phases=costs,
        first_line=first_line,
        ratio=first_line.wall_ms / bare.wall_ms,
        cpu_ratio=first_line.cpu_ms / bare.cpu_ms,
        load=load,
        met=first_line.wall_ms < 1000 * STARTUP_S,
    )


def probe(began_ns: int) -> None:
    """Start the flight that the command line names as `gearshift run` does; print a JSON list of
    (phase, monotonic ns, processor ns) when its first estimate is out."""
    done = [("python", began_ns, time.process_time_ns())]

    def on_phase(phase: str) -> None:
        done.append((phase, time.monotonic_ns(), time.process_time_ns()))

    from gearshift.runtime.cli import build_parser, load_commands

    options = build_parser(load_commands("run")).parse_args(["run", sys.argv[1]])
    on_phase("command")
    # `gearshift run` imports this one; it brings along everything a flight needs.
    import gearshift.runtime.launch.conduct  # noqa: F401
    from gearshift.runtime.launch.configuration import read_flight_config
    from gearshift.runtime.launch.feasibility import check_flight
    from gearshift.runtime.launch.setup import build_flight

    config = read_flight_config(options.file, (), os.environ)
    check_flight(config)
    on_phase("configuration")

    def observe(_available: Available, _report: Report) -> None:
        on_phase("estimate")

    # The estimates of this flight are not to be mixed with what is printed here.
    from dataclasses import replace

    ready = build_flight(replace(config, sinks=()), observer=observe, on_phase=on_phase)
    ready.flight.start()
    ready.flight.wait()
    ready.flight.stop()
    ready.close()
    sys.stdout.write(json.dumps(done) + "\n")


def startup_table(bench: StartupBench) -> str:
    """The result for a person to read."""
    rows = {PHASES[name]: cost for name, cost in bench.phases.items()}
    verdict = "met" if bench.met else "not met"
    lines = [
        f"{bench.ensemble} from a recording, {bench.runs} starts in turns, "
        f"{bench.load:.1f} processes per processor before",
        "",
        f"{'ms':44}{'median':>9}{'least':>9}{'processor':>11}",
        *(_row(f"  {name}", cost) for name, cost in rows.items()),
        _row("gearshift run, until its first line", bench.first_line),
        _row("python -c pass, until its end", bench.python),
        "",
        f"ratio to python -c pass: {bench.ratio:.1f}, in processor time {bench.cpu_ratio:.1f}",
        f"first line at {bench.first_line.wall_ms / 1000:.2f} s "
        f"(less than {STARTUP_S:g} s: {verdict})",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, cost: Cost) -> str:
    return f"{name:44}{cost.wall_ms:9.1f}{cost.least_ms:9.1f}{cost.cpu_ms:11.1f}"


def _write_flight(folder: Path, ensemble_name: str) -> Path:
    """A configuration and its recording, of one frame."""
    from gearshift.runtime.bench.flight import bench_images
    from gearshift.runtime.ensembles.loading import load_ensemble
    from gearshift.runtime.recordings.recording_writer import RecordingWriter
    from gearshift.runtime.types import Frame

    ensemble = load_ensemble(ensemble_name)
    images, camera = bench_images(ensemble, None)
    ensemble.close()
    recording = folder / "startup.mcap"
    with RecordingWriter(recording, camera=camera) as writer:
        writer.write_frame(Frame(images[0], FRAME_NS, 0, "bench", camera))
    flight = folder / "flight.toml"
    flight.write_text(
        "schema_version = 1\n"
        f"[source]\nkind = 'recording'\npath = {json.dumps(str(recording))}\npace = 'none'\n"
        f"[ensemble]\nname = {json.dumps(ensemble_name)}\n"
        "[policy]\nthreshold = 0.5\n[[sinks]]\nkind = 'jsonl'\n[log]\nstatus = 'off'\n"
    )
    return flight


def _start(code: str, *words: str, wait_for_line: bool = True) -> tuple[float, float, str]:
    """Milliseconds until the first line of a new Python, or until its end; milliseconds on
    processors until its end; the line. Raises GearshiftError when it fails."""
    from gearshift.runtime.errors import GearshiftError

    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        wall = time.monotonic() - began
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if not wait_for_line:
            wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or (wait_for_line and not line):
        raise GearshiftError(f"a start failed: exit code {process.returncode}")
    return 1000 * wall, 1000 * (usage.ru_utime + usage.ru_stime), line


def _add_phases(
    phases: Mapping[str, list[tuple[float, float]]],
    spawned_ns: int,
    done: Sequence[tuple[str, int, int]],
) -> None:
    """Milliseconds of each phase from when it and the one before were done."""
    before_ns, before_cpu_ns = spawned_ns, 0
    for phase, at_ns, cpu_ns in done:
        phases[phase].append(((at_ns - before_ns) / 1e6, (cpu_ns - before_cpu_ns) / 1e6))
        before_ns, before_cpu_ns = at_ns, cpu_ns


def _cost(values: Sequence[tuple[float, float]]) -> Cost:
    wall = [w for w, _ in values]
    return Cost(statistics.median(wall), min(wall), statistics.median(c for _, c in values))
