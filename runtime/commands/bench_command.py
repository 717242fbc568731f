"""`gearshift bench`: what the scheduler and the engine add to a network, and how fast formats are.

`bench scheduler` is here, the others in `bench_engines.py`, `bench_pipeline.py` and
`bench_memory.py`. The contenders take turns in short blocks (`turns.py`); figures are medians over
blocks, differences are taken within a turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearshift.runtime.ensembles.ensemble import Ensemble
    from gearshift.runtime.types import Frame

HELP = "measure the runtime's own cost"
EXTRA: str | None = None

SCHEMA_VERSION = 1
TARGET_US = 15.0
TARGET_SHARE = 0.05
POLICIES = ("always-small", "op", "op-ahead", "aux-sm", "aux-hlc", "random", "anchor")


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds per frame of one contender: median and 10th and 90th percentile over blocks."""

    name: str
    median_us: float
    p10_us: float
    p90_us: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one contender takes over another; added_us is the median of differences in one turn."""

    name: str
    added_us: float
    ratio: float
    allowed_us: float
    met: bool


@dataclass(frozen=True, slots=True)
class SchedulerBench:
    """The result; policy_us is what a policy's signal and filter add to always-small."""

    schema_version: int
    network: str
    frames: int
    onnxruntime: str
    timings: tuple[Timing, ...]
    scheduler: Comparison
    engine: Comparison
    policy_us: dict[str, float]


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands of `gearshift bench`."""
    from gearshift.runtime.bench.engines import register_engines
    from gearshift.runtime.bench.pipeline import register_pipeline
    from gearshift.runtime.bench.startup import register_startup

    benches = parser.add_subparsers(dest="bench", metavar="BENCH", required=True)
    text = "the scheduler against the bare engine, the engine against a bare InferenceSession"
    scheduler = benches.add_parser("scheduler", help=text, description=text)
    scheduler.add_argument(
        "--network",
        default="F2",
        metavar="NAME|PATH",
        help="a network of the zoo or an ONNX file (default: %(default)s)",
    )
    scheduler.add_argument(
        "--frames",
        type=int,
        default=4000,
        help="frames per contender (default: %(default)s)",
    )
    scheduler.add_argument("--json", action="store_true", help="print JSON instead of a table")
    scheduler.set_defaults(run=run_scheduler)
    register_engines(benches)
    register_pipeline(benches)
    register_startup(benches)


def run_scheduler(options: argparse.Namespace) -> int:
    """Measure and print."""
    from gearshift.runtime.bench.turns import BLOCK
    from gearshift.runtime.errors import ConfigurationError

    if options.frames < BLOCK:
        raise ConfigurationError(f"--frames must be at least {BLOCK}")
    bench = bench_scheduler(options.network, options.frames)
    if options.json:
        sys.stdout.write(json.dumps(asdict(bench), indent=2) + "\n")
    else:
        sys.stdout.write(as_table(bench))
    return 0


def bench_scheduler(network: str, frames: int) -> SchedulerBench:
    """Measure with one network as both members of an ensemble; raises NetworkError."""
    import onnxruntime

    from gearshift.runtime.bench.turns import BLOCK, noise_frames, take_turns
    from gearshift.runtime.decide.policies import ALWAYS_SMALL
    from gearshift.runtime.engines.onnx_engine import INPUT_NAME, OUTPUT_NAME, session_options
    from gearshift.runtime.scheduling.scheduler import Scheduler

    content = _model_bytes(network)
    ensemble = _ensemble(content, network)
    scheduler = Scheduler(ensemble, ALWAYS_SMALL)
    session = onnxruntime.InferenceSession(
        content, session_options(), providers=["CPUExecutionProvider"]
    )
    small = ensemble.small.network
    pool = noise_frames(small.height, small.width)
    outputs = [OUTPUT_NAME]

    def through_scheduler(block: Sequence[Frame]) -> None:
        for frame in block:
            scheduler.process(frame)

    def bare_engine(block: Sequence[Frame]) -> None:
        for frame in block:
            ensemble.small.run(frame.image)

    def bare_session(block: Sequence[Frame]) -> None:
        for frame in block:
            session.run(outputs, {INPUT_NAME: frame.image[None, None]})

    contenders = {
        "always-small through the scheduler": through_scheduler,
        "bare engine": bare_engine,
        "bare InferenceSession.run": bare_session,
    }
    times = take_turns(list(contenders.values()), pool, max(1, frames // BLOCK))
    timings = tuple(_timing(name, t) for name, t in zip(contenders, times, strict=True))
    through, engine, bare = times
    allowed = max(TARGET_US, TARGET_SHARE * statistics.median(engine))
    bench = SchedulerBench(
        schema_version=SCHEMA_VERSION,
        network=small.name,
        frames=len(through) * BLOCK,
        onnxruntime=onnxruntime.__version__,
        timings=timings,
        scheduler=_compare("scheduler over engine", through, engine, allowed),
        engine=_compare("engine over session", engine, bare, 0.0),
        policy_us=_policy_costs(ensemble, pool, max(1, frames // 4)),
    )
    ensemble.close()
    return bench


def as_table(bench: SchedulerBench) -> str:
    """The result for a person to read."""
    from gearshift.runtime.bench.turns import BLOCK

    lines = [
        f"{bench.network}, {bench.frames} frames each in turns of {BLOCK}, "
        f"onnxruntime {bench.onnxruntime}, one thread",
        "",
        f"{'us per frame':38}{'median':>10}{'p10':>10}{'p90':>10}",
    ]
    lines += [
        f"{t.name:38}{t.median_us:10.1f}{t.p10_us:10.1f}{t.p90_us:10.1f}" for t in bench.timings
    ]
    lines.append("")
    for c in (bench.scheduler, bench.engine):
        verdict = "met" if c.met else "not met"
        lines.append(
            f"{c.name:38}{c.added_us:+10.1f} us, ratio {c.ratio:.3f} "
            f"(at most {c.allowed_us:+.1f} us: {verdict})"
        )
    lines += ["", "signal and filter of a policy, added to always-small, us per frame"]
    lines += [f"  {name:36}{cost:10.1f}" for name, cost in bench.policy_us.items()]
    return "\n".join(lines) + "\n"


def _policy_costs(ensemble: Ensemble, pool: Sequence[Frame], frames: int) -> dict[str, float]:
    """Per policy, the median time outside the networks, less that of always-small."""
    from gearshift.runtime.bench.turns import BLOCK
    from gearshift.runtime.decide.policy_registry import find_policy
    from gearshift.runtime.scheduling.scheduler import Scheduler

    # 0 lets the counters alternate; the others shift up now and then.
    schedulers = {name: Scheduler(ensemble, find_policy(name), 0.5) for name in POLICIES}
    costs: dict[str, list[float]] = {name: [] for name in POLICIES}
    for turn in range(max(2, frames // BLOCK)):
        start = turn * BLOCK % (len(pool) - BLOCK)
        for name, scheduler in schedulers.items():
            scheduler.reset()
            for frame in pool[start : start + BLOCK]:
                times = scheduler.process(frame).times
                costs[name].append((times.total - times.aux - times.small - times.large) / 1e3)
    medians = {name: statistics.median(cost) for name, cost in costs.items()}
    return {name: medians[name] - medians[POLICIES[0]] for name in POLICIES[1:]}


def _ensemble(content: bytes, where: str) -> Ensemble:
    """The network twice, and a scripted head localiser that costs nothing worth mentioning."""
    import dataclasses

    import numpy as np

    from gearshift.runtime.bench.turns import DISTINCT_FRAMES
    from gearshift.runtime.decide.calibration import Calibration
    from gearshift.runtime.engines.onnx_engine import OnnxEngine
    from gearshift.runtime.ensembles.ensemble import Ensemble
    from gearshift.runtime.scheduling.scripted import GRID, ScriptedEngine, scripted_network

    small, large = OnnxEngine(content, where), OnnxEngine(content, where)
    size = (small.network.height, small.network.width)
    scores = np.random.default_rng(0).normal(0, 3, (DISTINCT_FRAMES, GRID.classes))
    aux = ScriptedEngine(scripted_network("aux", (), GRID, size), scores.astype(np.float32))
    calibration = dataclasses.replace(
        Calibration.from_components(small.network.components),
        head_cell_gain=np.zeros(GRID.classes, dtype=np.float32),
    )
    return Ensemble("bench", small, large, aux, calibration)


def _model_bytes(network: str) -> bytes:
    from pathlib import Path

    from gearshift.runtime.engines.network import find_network
    from gearshift.runtime.errors import NetworkError

    if not network.endswith(".onnx"):
        return find_network(network).verified_bytes()
    try:
        return Path(network).read_bytes()
    except OSError as error:
        raise NetworkError(f"{network}: {error.strerror}") from error


def _timing(name: str, times: Sequence[float]) -> Timing:
    ordered = sorted(times)
    last = len(ordered) - 1
    return Timing(
        name, statistics.median(ordered), ordered[round(0.1 * last)], ordered[round(0.9 * last)]
    )


def _compare(name: str, a: Sequence[float], b: Sequence[float], allowed_us: float) -> Comparison:
    added = statistics.median(x - y for x, y in zip(a, b, strict=True))
    ratio = statistics.median(a) / statistics.median(b)
    return Comparison(name, added, ratio, allowed_us, met=added <= allowed_us)
