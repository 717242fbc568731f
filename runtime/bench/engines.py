"""`gearshift bench engines`: every format of every network on this machine, in one run.

Hot: runs follow one another, which is what a replay does. Paced: one run per frame of a camera, the
processor idle in between, which is what a flight does; caches are cold then and the clock is low.
In both, every network and format takes short turns, so that drift meets all of them. Opening a
network and its first run are timed apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from gearshift.runtime.engines.engine import Engine
    from gearshift.runtime.machine import Machine

SCHEMA_VERSION: Final = 1
HOT_BLOCK: Final = 20
PACED_BLOCK: Final = 10
"""Runs of one turn; the first is not counted, as it meets the caches of another network."""
INTEGER_LIMIT: Final = 20.0
"""At most this many times ONNX Runtime's time for the integer engine on Frontnet-like networks."""
ONNX: Final = "onnx"
FRONTNET: Final = "PULP-Frontnet"
_HEADS: Final = ("p50", "p90", "p99", "max", "runs", "ratio")
Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds of single runs; ratio: of p50 to that of ONNX Runtime on the same network."""

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class EngineTiming:
    """One network in one format. start_ms: opening it, with everything imported already."""

    network: str
    architecture: str
    engine: str
    start_ms: float
    first_run_ms: float
    hot: Spread
    paced: Spread


@dataclass(frozen=True, slots=True)
class EngineBench:
    """The result.

    first_ms: opening the first network with each engine, which imports its libraries. left_out
    says, one line each, which formats were not there.
    """

    schema_version: int
    machine: Machine
    rate_hz: float
    timings: tuple[EngineTiming, ...]
    first_ms: Mapping[str, float]
    left_out: tuple[str, ...]

    @property
    def integer_ratio(self) -> float | None:
        """The highest hot ratio of the integer engine on Frontnet-like networks."""
        ratios = [
            timing.hot.ratio
            for timing in self.timings
            if timing.engine == "integer" and timing.architecture == FRONTNET
        ]
        return max((ratio for ratio in ratios if ratio is not None), default=None)


def register_engines(benches: Parsers) -> None:
    """Add `gearshift bench engines`."""
    text = "every format of every network on this machine: hot, and paced as by a camera"
    parser = benches.add_parser("engines", help=text, description=text)
    parser.add_argument(
        "networks",
        nargs="*",
        metavar="NETWORK",
        help="of the zoo, or files and folders (default: the whole zoo)",
    )
    parser.add_argument(
        "--engine", action="append", dest="engines", metavar="NAME", help="only these engines"
    )
    parser.add_argument("--zoo", metavar="DIR", help="folder of networks")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second (%(default)g)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=4.0,
        help="per network and format, hot and paced each (%(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(run=run_engines)


def run_engines(options: argparse.Namespace) -> int:
    """Measure and print."""
    from pathlib import Path

    bench = bench_engines(
        options.networks,
        engines=options.engines,
        zoo=Path(options.zoo) if options.zoo is not None else None,
        rate_hz=options.rate,
        seconds=options.seconds,
    )
    sys.stdout.write(as_json(bench) if options.json else as_table(bench))
    return 0


def bench_engines(
    networks: Sequence[str],
    *,
    engines: Sequence[str] | None = None,
    zoo: Path | None = None,
    rate_hz: float = 30.0,
    seconds: float = 4.0,
) -> EngineBench:
    """Time networks (default: the whole zoo) in the formats that they have.

    seconds: about how long one network in one format runs, hot and paced each. Raises NetworkError
    and ConfigurationError, the latter also when nothing is left to time.
    """
    from gearshift.runtime.engines.network import read_manifest
    from gearshift.runtime.errors import ConfigurationError
    from gearshift.runtime.machine import this_machine

    if not (0 < rate_hz <= 1000 and 0 < seconds <= 3600):
        raise ConfigurationError(
            f"--rate {rate_hz:g} and --seconds {seconds:g} must be above 0, "
            "at most 1000 Hz and 3600 s"
        )
    names = list(networks) or sorted(read_manifest(zoo)["networks"])
    opened, first_ms, left_out = _open_all(names, engines, zoo)
    if not opened:
        raise ConfigurationError(f"nothing to time: {'; '.join(left_out)}")
    contenders = [_Contender(one) for one in opened]
    try:
        hot = _hot_turns(contenders, seconds)
        paced = _paced_turns(contenders, seconds, 1 / rate_hz)
    finally:
        for one in opened:
            one.engine.close()
    return EngineBench(
        schema_version=SCHEMA_VERSION,
        machine=this_machine(),
        rate_hz=rate_hz,
        timings=_timings(opened, hot, paced),
        first_ms=first_ms,
        left_out=tuple(left_out),
    )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A network in one format, and what it took to get there."""

    name: str
    form: str
    engine: Engine
    start_ms: float
    first_run_ms: float


class _Contender:
    """Runs the next frames of its pool and times each of them."""

    def __init__(self, opened: _Opened) -> None:
        from gearshift.runtime.bench.turns import noise_frames

        network = opened.engine.network
        self._run = opened.engine.run
        self._images = [frame.image for frame in noise_frames(network.height, network.width)]
        self._next = 0

    def once(self) -> float:
        """Milliseconds of one run."""
        image = self._images[self._next % len(self._images)]
        self._next += 1
        before = time.perf_counter_ns()
        self._run(image)
        return _since(before)


def _open_all(
    names: Sequence[str], engines: Sequence[str] | None, zoo: Path | None
) -> tuple[list[_Opened], dict[str, float], list[str]]:
    import numpy as np

    from gearshift.runtime.engines.engine_registry import ENGINES, open_engine
    from gearshift.runtime.engines.network import find_network_source
    from gearshift.runtime.errors import MissingExtraError

    opened: list[_Opened] = []
    first_ms: dict[str, float] = {}
    missing: dict[str, str] = {}
    left_out: list[str] = []
    for name in names:
        source = find_network_source(name, zoo)
        for wanted in _forms(source.forms) if engines is None else engines:
            form = wanted.partition(":")[0]
            if form not in source.forms and form in ENGINES.built_in:
                left_out.append(f"{name} has no {form} form")
                continue
            if wanted in missing:
                continue
            if wanted not in first_ms:
                before = time.perf_counter_ns()
                try:
                    open_engine(source, wanted).close()
                except MissingExtraError as error:
                    missing[wanted] = str(error)
                    continue
                first_ms[wanted] = _since(before)
            before = time.perf_counter_ns()
            engine = open_engine(source, wanted)
            start_ms = _since(before)
            image = np.zeros((engine.network.height, engine.network.width), dtype=np.uint8)
            before = time.perf_counter_ns()
            engine.run(image)
            opened.append(_Opened(name, wanted, engine, start_ms, _since(before)))
    return opened, first_ms, [*left_out, *missing.values()]


def _forms(forms: Iterable[str]) -> list[str]:
    """The forms, LiteRT's once more for its predecessor where that is installed as well."""
    from gearshift.runtime.engines.network import LITERT
    from gearshift.runtime.machine import library_versions

    every = list(forms)
    if LITERT in every and {"ai-edge-litert", "tflite-runtime"} <= library_versions().keys():
        every.append(f"{LITERT}:tflite-runtime")
    return every


def _since(before_ns: int) -> float:
    return (time.perf_counter_ns() - before_ns) / 1e6


def _hot_turns(contenders: Sequence[_Contender], seconds: float) -> list[list[float]]:
    """Turns of as many runs for all, until they took their seconds together."""
    from gearshift.runtime.bench.turns import rotation

    times: list[list[float]] = [[] for _ in contenders]
    until = time.perf_counter() + seconds * len(contenders)
    turn = 0
    while turn == 0 or time.perf_counter() < until:
        for which in rotation(len(contenders), turn):
            contender = contenders[which]
            contender.once()
            times[which] += [contender.once() for _ in range(HOT_BLOCK)]
        turn += 1
    return times


def _paced_turns(
    contenders: Sequence[_Contender], seconds: float, period_s: float
) -> list[list[float]]:
    from gearshift.runtime.bench.turns import rotation

    times: list[list[float]] = [[] for _ in contenders]
    turns = max(1, round(seconds / period_s / (PACED_BLOCK + 1)))
    due = time.perf_counter()
    for turn in range(turns):
        for which in rotation(len(contenders), turn):
            for place in range(PACED_BLOCK + 1):
                # A run that took longer than the period is followed at once, as by a late frame.
                due = max(due + period_s, time.perf_counter())
                time.sleep(max(0.0, due - time.perf_counter()))
                taken = contenders[which].once()
                if place:
                    times[which].append(taken)
    return times


def _timings(
    opened: Sequence[_Opened], hot: Sequence[Sequence[float]], paced: Sequence[Sequence[float]]
) -> tuple[EngineTiming, ...]:
    modes = [_against_onnx(opened, [_spread(times) for times in mode]) for mode in (hot, paced)]
    return tuple(
        EngineTiming(
            one.name,
            one.engine.network.architecture,
            one.form,
            one.start_ms,
            one.first_run_ms,
            hot_spread,
            paced_spread,
        )
        for one, hot_spread, paced_spread in zip(opened, *modes, strict=True)
    )


def _spread(times: Sequence[float]) -> Spread:
    import numpy as np

    from gearshift.runtime.scoring.metrics import summarise_latency

    found = summarise_latency(np.array(times))
    return Spread(len(times), found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms)


def _against_onnx(opened: Sequence[_Opened], spreads: Sequence[Spread]) -> list[Spread]:
    """The spreads with the ratio to ONNX Runtime on the same network, where that ran too."""
    pairs = list(zip(opened, spreads, strict=True))
    onnx = {one.name: spread.p50_ms for one, spread in pairs if one.form == ONNX}
    return [
        replace(spread, ratio=spread.p50_ms / onnx[one.name]) if one.name in onnx else spread
        for one, spread in pairs
    ]


def as_json(bench: EngineBench) -> str:
    """The result for machines."""
    document = {**asdict(bench), "integer_ratio": bench.integer_ratio}
    return json.dumps({**document, "integer_ratio_allowed": INTEGER_LIMIT}, indent=2) + "\n"


def as_table(bench: EngineBench) -> str:
    """The result for a person to read."""
    machine = bench.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines = [
        f"{machine.processor} ({' '.join(machine.features)}), {machine.system}, "
        f"governor {machine.governor or 'unknown'}",
        f"{versions}; one thread",
    ]
    titles = {"hot": "hot", "paced": f"paced at {bench.rate_hz:g} Hz"}
    for mode, title in titles.items():
        lines += ["", f"{title + ', ms':26}" + "".join(f"{head:>9}" for head in _HEADS)]
        for timing in bench.timings:
            spread: Spread = getattr(timing, mode)
            ratio = "" if spread.ratio is None else f"{spread.ratio:.2f}"
            times = (spread.p50_ms, spread.p90_ms, spread.p99_ms, spread.max_ms)
            lines.append(
                f"{timing.network + ' ' + timing.engine:26}"
                + "".join(f"{value:9.3f}" for value in times)
                + f"{spread.runs:9}{ratio:>9}"
            )
    lines += ["", f"{'once, ms':26}{'open':>9}{'1st run':>9}"]
    lines += [
        f"{t.network + ' ' + t.engine:26}{t.start_ms:9.1f}{t.first_run_ms:9.2f}"
        for t in bench.timings
    ]
    first = ", ".join(f"{name} {value:.0f} ms" for name, value in bench.first_ms.items())
    lines += ["", f"first open, with what it imports: {first}", *bench.left_out]
    if (worst := bench.integer_ratio) is not None:
        verdict = "met" if worst <= INTEGER_LIMIT else "not met"
        lines.append(
            f"integer on {FRONTNET} networks: at most {worst:.2f} times ONNX Runtime "
            f"({INTEGER_LIMIT:g} allowed: {verdict})"
        )
    return "\n".join(lines) + "\n"
