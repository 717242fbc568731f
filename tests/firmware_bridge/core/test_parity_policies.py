"""Python's scheduler and the firmware's adaptive loop make the same choices, to the last bit."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gearshift.firmware_bridge.board.board_configuration import (
    COMBINATIONS,
    FILTER_NAMES,
    GAINS,
    POLICIES,
    BoardNetworks,
    configure_board,
)
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.filters import DEFAULT_GAINS, FILTERS
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.decide.policy_registry import BUILT_IN, find_policy
from gearshift.runtime.decide.selection import REASON_CODE
from gearshift.runtime.scheduling.deadline import DeadlineMonitor
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import GRID, Script
from gearshift.runtime.types import Component, EstimateFlag, FloatArray, NetworkRole, Reason

FIRMWARE = Path(__file__).parents[3] / "firmware_bridge" / "firmware"
ROLES = tuple(NetworkRole)
NETWORKS = BoardNetworks(small=0, large=1, aux=2)
ODD = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e18, 9e17, 0.0, -0.0, 1e-40)
"""What a corrupt or extreme network says."""
FRAMES = 40
FLIGHTS = int(os.environ.get("GEARSHIFT_PARITY_FLIGHTS", "250"))
"""Random flights of FRAMES decisions each; more by hand, for a figure."""
MAX_COMPONENTS = 16
"""The most that the core holds."""
STEP_NS = 50_000_000
STEP_S = float(np.float32(STEP_NS) * np.float32(1e-9))
"""A gap of exactly so long, in the loop's own arithmetic, is none."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One flight and how it is flown; arrays of failing and durations by role."""

    script: Script
    calibration: Calibration
    policy: str
    options: PolicyOptions
    thresholds: FloatArray
    """First the scheduler's, then per frame, NaN where it stays."""
    combination: Combination
    filter_name: str
    deadline_ns: int | None
    failing: list[NDArray[np.uint8]]
    durations: list[NDArray[np.int64]]
    tick: int
    reset_at: int


def calibration_of(draw: Callable[..., Any], rng: np.random.Generator, n: int) -> Calibration:
    components = tuple(
        Component(f"c{i}", "m", bool(rng.integers(2)), float(rng.uniform(0.1, 3))) for i in range(n)
    )
    table = rng.normal(0, 1, GRID.classes).astype(np.float32)
    table[rng.integers(0, GRID.classes, 6)] = (np.nan, np.inf, -np.inf, 0, -0.0, 1e-40)
    parameters: dict[str, tuple[float, ...]] = {"anchor.rate": (float(rng.normal(0, 3)),)}
    for prefix in ("anchor", "smooth"):
        for gain in ("alpha_large", "alpha_small", "beta_large", "beta_small", "gamma"):
            choice = draw(st.integers(0, 4))
            if choice == 1:
                parameters[f"{prefix}.{gain}"] = (float(rng.uniform(0, 1)),)
            elif choice > 1:
                values = rng.uniform(-0.2, 1.2, (choice - 1) * n)
                parameters[f"{prefix}.{gain}"] = tuple(values.tolist())
    return dataclasses.replace(
        Calibration.from_components(components),
        head_cell_gain=table,
        standard_deviation={
            NetworkRole.SMALL: rng.uniform(0.01, 2, n).astype(np.float32),
            NetworkRole.LARGE: rng.uniform(0.01, 2, n).astype(np.float32),
        },
        parameters=parameters,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from((1, 2, 3, 4, 6, MAX_COMPONENTS)))
    script = Script.random(FRAMES, int(rng.integers(2**31)), n)
    reach = draw(st.sampled_from((1.0, 3.0, 100.0, 1e9)))
    script = dataclasses.replace(
        script,
        times=times_of(draw, rng),
        small=(script.small * np.float32(reach)).astype(np.float32),
        large=(script.large * np.float32(reach)).astype(np.float32),
        aux=(script.aux * np.float32(draw(st.sampled_from((0.0, 0.1, 1.0, 40.0))))),
    )
    corrupt = draw(st.sampled_from((0.0, 0.0, 0.1, 0.5)))
    for array in (script.small, script.large, script.aux):
        for frame in np.flatnonzero(rng.random(FRAMES) < corrupt):
            array[frame, rng.integers(array.shape[1])] = rng.choice(ODD)
    fails = draw(st.sampled_from((0.0, 0.0, 0.1, 0.5)))
    policy = draw(st.sampled_from(POLICIES))
    scale = reach if policy in ("op", "op-ahead", "anchor") else 1.0
    middle = draw(st.sampled_from((0.0, 0.05, 0.3, 1.0, 4.0))) * scale
    thresholds = np.full(FRAMES + 1, np.nan, np.float32)
    thresholds[0] = draw(st.sampled_from((middle, middle, middle, np.inf, -np.inf)))
    if draw(st.booleans()):
        moved = rng.integers(1, FRAMES, 4)
        thresholds[moved] = (rng.uniform(0, 2 * scale), middle, np.inf, -np.inf)
    return Case(
        script=script,
        calibration=calibration_of(draw, rng, n),
        policy=policy,
        options=PolicyOptions(
            max_gap_s=draw(st.sampled_from((0.5, STEP_S, 0.0, 1e9, np.inf))),
            per_second=draw(st.booleans()),
            seed=draw(st.integers(-(2**40), 2**40)),
        ),
        thresholds=thresholds,
        combination=draw(st.sampled_from(tuple(Combination))),
        filter_name=draw(st.sampled_from(FILTERS)),
        deadline_ns=draw(st.sampled_from((None, None, 0, 8_000_000, 20_000_000))),
        failing=[(rng.random(FRAMES) < fails).astype(np.uint8) for _ in ROLES],
        durations=[rng.integers(0, 12_000_000, FRAMES) * draw(st.integers(0, 2)) for _ in ROLES],
        tick=draw(st.sampled_from((0, 1, 100_000))),
        reset_at=draw(st.integers(1, 2 * FRAMES)),
    )


def times_of(draw: Callable[..., Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Frame times with jitter, gaps, repetitions and, sometimes, jumps backwards."""
    steps = rng.integers(0, 70_000_000, FRAMES)
    if draw(st.booleans()):
        steps = rng.integers(1, 3, FRAMES) * STEP_NS
    steps[rng.random(FRAMES) < 0.1] = 0
    steps[rng.random(FRAMES) < draw(st.sampled_from((0.0, 0.1)))] += 600_000_000
    steps[rng.random(FRAMES) < draw(st.sampled_from((0.0, 0.1)))] *= -1
    start = draw(st.sampled_from((0, 10**9, 2**62, -(10**15))))
    times: NDArray[np.int64] = start + np.cumsum(steps)
    return times


class VirtualClock:
    """Time that passes by ticks per look and while networks run."""

    def __init__(self, tick: int) -> None:
        self.now, self.tick = 0, tick

    def __call__(self) -> int:
        self.now += self.tick
        return self.now


class Slow:
    """An engine of a script that takes its time and, by the script, raises."""

    def __init__(self, engine: Any, clock: VirtualClock, durations: NDArray[np.int64]) -> None:
        self.network, self._engine, self._clock, self._durations = (
            engine.network,
            engine,
            clock,
            durations,
        )

    def run(self, image: Any) -> FloatArray:
        self._clock.now += int(self._durations[int(image[0, 0]) + 256 * int(image[0, 1])])
        output: FloatArray = self._engine.run(image)
        return output

    def close(self) -> None:
        self._engine.close()


def fly_python(case: Case) -> list[Any]:
    clock = VirtualClock(case.tick)
    failing = {
        role: frozenset(np.flatnonzero(case.failing[i]).tolist()) for i, role in enumerate(ROLES)
    }
    ensemble = case.script.ensemble(failing, case.calibration)
    small, large, aux = (
        Slow(ensemble.engine(role), clock, case.durations[i]) for i, role in enumerate(ROLES)
    )
    ensemble = dataclasses.replace(ensemble, small=small, large=large, aux=aux)
    scheduler = Scheduler(
        ensemble,
        find_policy(case.policy),
        float(case.thresholds[0]),
        case.options,
        combination=case.combination,
        filter_name=case.filter_name,
        deadline=None if case.deadline_ns is None else DeadlineMonitor(case.deadline_ns),
        clock=clock,
    )
    estimates = []
    for i, frame in enumerate(case.script.frames()):
        if i == case.reset_at:
            scheduler.reset()
        if not np.isnan(case.thresholds[i + 1]):
            scheduler.set_threshold(float(case.thresholds[i + 1]))
        estimates.append(scheduler.process(frame))
    return estimates


def fly_core(core: Any, case: Case) -> NDArray[Any]:
    configuration = configure_board(
        case.calibration,
        find_policy(case.policy),
        NETWORKS,
        float(case.thresholds[0]),
        case.options,
        combination=case.combination,
        filter_name=case.filter_name,
        deadline_ns=case.deadline_ns,
    )
    outputs = case.script.outputs
    results: NDArray[Any]
    status, results = core.fly(
        configuration.pack(),
        case.script.times,
        [outputs[role] for role in ROLES],
        case.failing,
        case.durations,
        angular=sum(1 << i for i, angular in enumerate(case.calibration.angular) if angular),
        tick=case.tick,
        thresholds=case.thresholds[1:],
        reset_at=case.reset_at,
    )
    assert status == 0, core.status_text(status)
    return results


def bits(values: Any) -> bytes:
    """The bytes of float32 values, every NaN being the same one."""
    array = np.array(values, np.float32)
    array[np.isnan(array)] = np.nan
    return array.tobytes()


def check_same(core: Any, case: Case) -> None:
    python, board = fly_python(case), fly_core(core, case)
    n = len(case.calibration.components)
    for i, (ours, theirs) in enumerate(zip(python, board, strict=True)):
        where = f"frame {i} of {case.policy}"
        assert REASON_CODE[ours.reason] == theirs["reason"], where
        assert ours.flags.value == theirs["flags"], where
        assert sum(1 << ROLES.index(role) for role in ours.networks) == theirs["networks"], where
        answered = 255 if ours.answered is None else ROLES.index(ours.answered)
        assert answered == theirs["answered"], where
        assert bits(ours.signal) == bits(theirs["signal"]), where
        assert bits(ours.threshold) == bits(theirs["threshold"]), where
        assert bits(ours.values) == bits(theirs["values"][:n]), where
        assert bits(ours.standard_deviation) == bits(theirs["deviation"][:n]), where
        times = [ours.times.small, ours.times.large, ours.times.aux, ours.times.total]
        assert times == theirs["time_ns"].tolist(), where
        # Python's presence is no decision and computed in float64.
        presence = np.nan if ours.presence is None else ours.presence
        assert theirs["presence"] == pytest.approx(presence, abs=1e-6, nan_ok=True), where


@pytest.mark.slow
@settings(max_examples=FLIGHTS)
@given(case=cases())
def test_every_choice_and_every_value(core: Any, case: Case) -> None:
    check_same(core, case)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_chooses_both_ways(core: Any, policy: str) -> None:
    """Not vacuous: on this flight every policy with a signal both shifts up and does not."""
    rng = np.random.default_rng(1)
    script = Script.random(FRAMES, 3)
    calibration = dataclasses.replace(
        Calibration.from_components(script.ensemble().small.network.components),
        head_cell_gain=rng.normal(0, 1, GRID.classes).astype(np.float32),
    )
    threshold = {"op": 0.6, "op-ahead": 0.6, "aux-hlc": 0.0, "anchor": 0.5, "every": 2, "hold": 2}
    zeros = [np.zeros(FRAMES, np.int64) for _ in ROLES]
    case = Case(
        script=script,
        calibration=calibration,
        policy=policy,
        options=PolicyOptions(),
        thresholds=np.array([threshold.get(policy, 0.7)] + [np.nan] * FRAMES, np.float32),
        combination=Combination.LARGE,
        filter_name="none",
        deadline_ns=None,
        failing=[zero.astype(np.uint8) for zero in zeros],
        durations=zeros,
        tick=0,
        reset_at=FRAMES,
    )
    check_same(core, case)
    reasons = {estimate.reason for estimate in fly_python(case)}
    if find_policy(policy).signal is None:
        assert reasons == {Reason.CONSTANT}
    else:
        assert {Reason.HELD if policy == "hold" else Reason.EASY} <= reasons
        assert reasons & {Reason.HARD, Reason.FIRST_FRAME}


def plain_case(n: int, policy: str, threshold: float, **changes: Any) -> Case:
    """A flight on which nothing happens, but for the changes."""
    nothing = [np.zeros(FRAMES, np.int64) for _ in ROLES]
    case = Case(
        script=Script.random(FRAMES, 5, n),
        calibration=Calibration.from_components(
            tuple(Component(f"c{i}", "m", i == 2) for i in range(n))
        ),
        policy=policy,
        options=PolicyOptions(),
        thresholds=np.array([threshold] + [np.nan] * FRAMES, np.float32),
        combination=Combination.LARGE,
        filter_name="none",
        deadline_ns=None,
        failing=[zeros.astype(np.uint8) for zeros in nothing],
        durations=nothing,
        tick=0,
        reset_at=FRAMES,
    )
    return dataclasses.replace(case, **changes)


@pytest.mark.parametrize("policy", ["op", "op-ahead", "anchor"])
@pytest.mark.parametrize("n", [1, 3, MAX_COMPONENTS])
@pytest.mark.parametrize("max_gap_s", [0.5, np.inf])
@pytest.mark.parametrize("fails", [(), (0,), (0, 1, 2), (1,)])
@pytest.mark.parametrize("reset_at", [FRAMES, 6])
def test_a_flights_first_frames(
    core: Any, *, policy: str, n: int, max_gap_s: float, fails: tuple[int, ...], reset_at: int
) -> None:
    """Before there is a history, with small failing meanwhile: what is not known is not 0."""
    small = np.zeros(FRAMES, np.uint8)
    small[list(fails) + [reset_at + i for i in fails if reset_at < FRAMES]] = 1
    case = plain_case(n, policy, 1e6, options=PolicyOptions(max_gap_s=max_gap_s), reset_at=reset_at)
    check_same(core, dataclasses.replace(case, failing=[small, *case.failing[1:]]))


@pytest.mark.parametrize("filter_name", [name for name in FILTERS if name != "none"])
@pytest.mark.parametrize("table", ["beta_large", "beta_small"])
@pytest.mark.parametrize("place", [0, 5, 6, 11])
@pytest.mark.parametrize("gain", [0.25, -0.25])
def test_one_gain_is_enough_for_a_velocity(
    core: Any, filter_name: str, table: str, place: int, gain: float
) -> None:
    """Wherever it stands in a table of four rows and three components, whatever its sign."""
    n, rows = 3, 4
    gains = np.zeros(rows * n)
    gains[place] = gain
    zero = tuple(np.zeros(rows * n).tolist())
    betas = {"beta_large": zero, "beta_small": zero} | {table: tuple(gains.tolist())}
    calibration = dataclasses.replace(
        Calibration.from_components(tuple(Component(f"c{i}", "m", i == 2) for i in range(n))),
        parameters={f"{filter_name}.{name}": values for name, values in betas.items()},
    )
    case = plain_case(n, "every", 5.0, calibration=calibration, filter_name=filter_name)
    check_same(core, case)
    still = dataclasses.replace(
        calibration, parameters={f"{filter_name}.{name}": zero for name in betas}
    )
    values, without = (
        np.array([estimate.values for estimate in fly_python(flown)])
        for flown in (case, dataclasses.replace(case, calibration=still))
    )
    used = table == "beta_small" or place >= 9  # large comes late: it finds the last row
    assert np.array_equal(values, without) == (not used), "the gain is not what is tested"


def test_the_numbers_of_the_codes_are_those_of_python(core: Any) -> None:
    """What goes over the wire as a number; a portable policy that the firmware lacks fails here."""
    assert [core.policy_name(code) for code in range(len(POLICIES))] == list(POLICIES)
    assert {name for name in BUILT_IN if find_policy(name).portable} == set(POLICIES)
    assert set(COMBINATIONS) == set(Combination)
    assert set(FILTER_NAMES) == set(FILTERS)
    assert set(GAINS) == set(DEFAULT_GAINS)


def test_the_numbers_of_the_header_are_those_of_python() -> None:
    header = (FIRMWARE / "include" / "gearshift" / "policy.h").read_text()
    numbers = {name: int(value) for name, value in re.findall(r"(GS_\w+) = (\d+)", header)}

    def named(prefix: str) -> dict[str, int]:
        return {
            name.removeprefix(prefix).lower().replace("_", "-"): value
            for name, value in numbers.items()
            if name.startswith(prefix)
        }

    assert named("GS_REASON_") == {str(reason): code for reason, code in REASON_CODE.items()}
    assert named("GS_ROLE_") == {str(role): i for i, role in enumerate(ROLES)} | {"none": 255}
    flags = {str(flag.name).lower(): flag.value for flag in EstimateFlag}
    assert named("GS_FLAG_") == flags
    codes = {name: code for code, name in enumerate(POLICIES)}
    assert named("GS_POLICY_") == codes | {"count": len(POLICIES)}
