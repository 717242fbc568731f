"""What flows through the runtime: frames in, estimates out, and the named components they carry.

Signals, metrics, traces and filters work over `Component` tuples and never spell out x, y, z, phi,
so that a user's own regression pair runs through the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, StrEnum, auto

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError

FloatArray = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Component:
    """One number of a regression output.

    `scale` is its standard deviation on the training split, in `unit`; distances between outputs
    weigh a component by 1 / scale. Differences of an `angular` component (rad) are wrapped.
    """

    name: str
    unit: str
    angular: bool = False
    scale: float = 1.0


def interfaces(components: tuple[Component, ...]) -> list[tuple[str, str, bool]]:
    """What must agree between components that mean the same; their scales may differ."""
    return [(c.name, c.unit, c.angular) for c in components]


POSE_COMPONENTS = (
    Component("x", "m"),
    Component("y", "m"),
    Component("z", "m"),
    Component("phi", "rad", angular=True),
)
"""Pose of the head in the drone's yaw-levelled FLU frame; phi is 0 when it faces the drone."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of a person's head in the drone's yaw-levelled frame: x forward, y left, z up.

    x, y, z in metres; phi = wrap(person heading - drone yaw + pi) in radians, 0 when the person
    faces the drone (the convention of PULP-Frontnet and NanoCockpit).
    """

    x: float
    y: float
    z: float
    phi: float


@dataclass(frozen=True, slots=True)
class Camera:
    """Intrinsics in pixels, pixel centres at integers; `lens` has the models of distortion.

    distortion: OpenCV's k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 as far as they go; of a fisheye lens
    k1 k2 k3 k4 of its fisheye model.
    """

    name: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    fisheye: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One grey image and where it came from.

    image: (height, width) uint8. capture_time_ns: monotonic time of exposure. sequence: its number,
    growing. source: what it came from, for messages. camera: None when the source does not know its
    intrinsics (metric pose is then only as good as the guess).
    """

    image: Image
    capture_time_ns: int
    sequence: int
    source: str = ""
    camera: Camera | None = None


@dataclass(frozen=True, slots=True)
class HeadGrid:
    """The auxiliary task: the cell that holds the head, row-major; the last class is 'no head'."""

    columns: int = 8
    rows: int = 6

    @property
    def classes(self) -> int:
        """Cells and the 'no head' class."""
        return self.columns * self.rows + 1

    @property
    def no_head(self) -> int:
        """Index of the 'no head' class."""
        return self.columns * self.rows

    def cell(self, u: float, v: float, width: int, height: int) -> int:
        """Class of the pixel (u, v) of a width x height image; pixel centres at integers."""
        column = int((u + 0.5) * self.columns // width)
        row = int((v + 0.5) * self.rows // height)
        if 0 <= column < self.columns and 0 <= row < self.rows:
            return row * self.columns + column
        return self.no_head


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What is true of one frame.

    values: one per component (NaN when nobody is there). visible: the head is in the image and not
    hidden; values without it: a person partly in view, the head not. head_pixel: (u, v), pixel
    centres at integers; None while visible: its place is unknown and head_cell means nothing.
    head_cell: class on the `HeadGrid`.
    """

    values: tuple[float, ...]
    visible: bool
    head_pixel: tuple[float, float] | None
    head_cell: int


class NetworkRole(StrEnum):
    """The part a network plays in an ensemble."""

    SMALL = "small"
    LARGE = "large"
    AUX = "aux"


class Reason(StrEnum):
    """Why an estimate came from where it came from."""

    EASY = "easy"
    """The signal did not exceed the threshold."""
    HARD = "hard"
    """The signal exceeded the threshold."""
    CONSTANT = "constant"
    """The policy has no signal."""
    FIRST_FRAME = "first-frame"
    """A history-based signal has no history yet."""
    GAP = "gap"
    """The last accepted output is older than max_gap."""
    SIGNAL_NAN = "signal-nan"
    """The signal was not a number and counted as +inf."""
    HELD = "held"
    """The last output was held instead of running a network."""
    SMALL_FAILED = "small-failed"
    LARGE_FAILED = "large-failed"
    PROBE_FAILED = "probe-failed"
    DEADLINE = "deadline"
    """Large was due but would have missed the deadline."""
    BOTH_FAILED = "both-failed"
    """No network gave an output; nothing is published."""


class EstimateFlag(Flag):
    """What a consumer must know before using an estimate."""

    NONE = 0
    DEGRADED = auto()
    """A network that ran failed, or large was skipped for the deadline."""
    LATE = auto()
    """It came out after its deadline."""
    HELD = auto()
    """It repeats an earlier output."""
    LOST = auto()
    """There is no valid output."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Time spent on one frame, per stage, in nanoseconds; 0 where the stage did not run."""

    aux: int = 0
    small: int = 0
    large: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is published for one frame, and why.

    values: one per component, in the component's unit, NaN when lost. standard_deviation: likewise,
    calibrated per network on `val`. presence: probability that a person is in view, None where the
    auxiliary network did not run. answered: the network whose output is published (None when held
    or lost). networks: every network that ran. index: frames that the scheduler had processed
    before this one since it was reset. Times are monotonic nanoseconds.
    """

    sequence: int
    capture_time_ns: int
    publish_time_ns: int
    components: tuple[Component, ...]
    values: tuple[float, ...]
    standard_deviation: tuple[float, ...]
    presence: float | None
    answered: NetworkRole | None
    networks: tuple[NetworkRole, ...]
    signal: float
    threshold: float
    reason: Reason
    times: StageTimes
    flags: EstimateFlag = EstimateFlag.NONE
    index: int = 0

    @property
    def pose(self) -> Pose:
        """The values as a pose; raises ConfigurationError when they are something else."""
        names = tuple(component.name for component in self.components)
        if names != ("x", "y", "z", "phi"):
            raise ConfigurationError(f"these outputs are no pose: {', '.join(names)}")
        return Pose(*self.values)
