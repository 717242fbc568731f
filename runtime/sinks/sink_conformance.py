"""What every sink of estimates has to pass, ours and plugged-in ones alike.

for check in SINK_CHECKS:
    check(SinkUnderTest(plugin, options, heard))      # raises AssertionError, saying what is wrong
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from gearshift.runtime.errors import SinkError
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report, Sink, SinkPlugin
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Camera,
    Estimate,
    EstimateFlag,
    Frame,
    NetworkRole,
    Reason,
    StageTimes,
)

FRAME_NS = 33_333_333
SIZE = (96, 160)
CAMERA = Camera("conformance", SIZE[1], SIZE[0], 125.0, 125.0, 79.5, 47.5)
INFO = FlightInfo(POSE_COMPONENTS, CAMERA, 1_700_000_000_000_000_000, 0)
_GOOD = (2.0, 0.5, -0.25, 0.3)

Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SinkUnderTest:
    """One sink and how to listen to it.

    options: the keys of its table in `flight.toml`. heard: every pose that arrived since it was
    last asked, as something that may be acted upon, in the order of the components that the sink
    passes on; None for a sink that is no guide to action (a recording, a viewer). passes_on: what
    the sink makes of (x, y, z, phi).
    """

    plugin: SinkPlugin
    options: Mapping[str, Any]
    heard: Callable[[], Sequence[Values]] | None = None
    passes_on: Callable[[Values], Values] = lambda values: values

    def make(self) -> Sink:
        """A sink that is not yet open."""
        return self.plugin.make(msgspec.convert(dict(self.options), self.plugin.options))


SinkCheck = Callable[[SinkUnderTest], None]


def report(index: int, state: FlightState = FlightState.TRACKING, values: Values = _GOOD) -> Report:
    """A report of frame `index` of a flight at 30 Hz that began at 1 s."""
    time_ns = 1_000_000_000 + index * FRAME_NS
    image = np.full(SIZE, index % 256, dtype=np.uint8)
    lost = not all(map(math.isfinite, values))
    estimate = Estimate(
        sequence=index,
        capture_time_ns=time_ns - 2_000_000,
        publish_time_ns=time_ns,
        components=POSE_COMPONENTS,
        values=values,
        standard_deviation=(0.2, 0.1, 0.1, math.nan),
        presence=None,
        answered=None if lost else NetworkRole.LARGE,
        networks=(NetworkRole.SMALL, NetworkRole.LARGE),
        signal=math.inf,
        threshold=0.5,
        reason=Reason.BOTH_FAILED if lost else Reason.FIRST_FRAME,
        times=StageTimes(0, 300_000, 600_000, 1_000_000),
        flags=EstimateFlag.LOST if lost else EstimateFlag.NONE,
        index=index,
    )
    frame = Frame(image, estimate.capture_time_ns, index, "conformance", CAMERA)
    output = np.array(values, dtype=np.float32)
    return Report(time_ns, state, frame, estimate, {NetworkRole.LARGE: output})


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def takes_a_flight(test: SinkUnderTest) -> None:
    """It opens, takes estimates and changes of state, and closes, twice over."""
    sink = test.make()
    for _ in range(2):
        sink.open(INFO)
        for index, state in enumerate(FlightState):
            sink.write(report(index, state))
            sink.write(Report(1_000_000_000 + index * FRAME_NS, state))
        sink.close()
        sink.close()


def is_closed_when_closed(test: SinkUnderTest) -> None:
    """Writing to a sink that is not open raises SinkError, in one line."""
    sink = test.make()
    for _ in range(2):
        try:
            sink.write(report(0))
        except SinkError as error:
            _require("\n" not in str(error), "its error has several lines")
        else:
            raise AssertionError("a sink that is not open takes reports")
        sink.open(INFO)
        sink.close()


def passes_estimates_on(test: SinkUnderTest) -> None:
    """What arrives is what was said, in order."""
    if test.heard is None:
        return
    sink = test.make()
    sink.open(INFO)
    test.heard()
    said = [(1.0 + index, 0.5, -0.25, 0.125) for index in range(5)]
    for index, values in enumerate(said):
        sink.write(report(index, values=values))
    sink.close()
    expected = np.array([test.passes_on(values) for values in said])
    found = np.array(test.heard())
    _require(found.shape == expected.shape, f"{len(found)} of {len(expected)} poses arrived")
    _require(np.allclose(found, expected, atol=1e-5), f"{found} arrived instead of {expected}")


def vouches_for_nothing_but_tracking(test: SinkUnderTest) -> None:
    """No pose arrives as one to act upon while nobody is tracked, nor one that is no number."""
    if test.heard is None:
        return
    sink = test.make()
    sink.open(INFO)
    test.heard()
    others = [state for state in FlightState if state is not FlightState.TRACKING]
    for index, state in enumerate(others):
        sink.write(report(index, state))
        sink.write(Report(1_000_000_000 + index * FRAME_NS, state))
    for index, values in enumerate(((math.nan,) * 4, (math.inf, 0.0, 0.0, 0.0))):
        sink.write(report(10 + index, values=values))
    sink.close()
    found = test.heard()
    _require(not found, f"{found} may not be acted upon")


def knows_its_options(test: SinkUnderTest) -> None:
    """A wrong key is refused."""
    wrong = {**test.options, "no_such_option": 1}
    try:
        msgspec.convert(wrong, test.plugin.options)
    except msgspec.ValidationError:
        return
    raise AssertionError("an unknown option is taken without a word")


SINK_CHECKS: tuple[SinkCheck, ...] = (
    takes_a_flight,
    is_closed_when_closed,
    passes_estimates_on,
    vouches_for_nothing_but_tracking,
    knows_its_options,
)
