"""The whole adaptive loop on a board, to be used as a `Scheduler` is: a frame in, an estimate out.

The board chooses, combines and filters; its choices and values are those of a `Scheduler` over
integer engines, bit for bit. With a link that fails the host loses a frame and no more.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping

from gearshift.firmware_bridge.board.board import Board, Turn
from gearshift.firmware_bridge.board.board_configuration import BoardNetworks, configure_board
from gearshift.firmware_bridge.board.board_engine import BoardEngine
from gearshift.firmware_bridge.line.messages import BoardEstimate
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import Policy, PolicyOptions
from gearshift.runtime.decide.selection import REASONS
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import ConfigurationError, FrameError, LinkError
from gearshift.runtime.scheduling.description import SchedulerSettings
from gearshift.runtime.scheduling.scheduler import Clock
from gearshift.runtime.types import (
    Component,
    Estimate,
    EstimateFlag,
    FloatArray,
    Frame,
    NetworkRole,
    Reason,
    StageTimes,
)

logger = logging.getLogger(__name__)

_ROLES = tuple(NetworkRole)
_SMALL, _LARGE, _AUX = range(3)


class BoardLoop:
    """Flies an ensemble's networks on a board; arguments as of `Scheduler`.

    networks: which of the board's networks are the ensemble's. deadline_ns: held by the board, on
    its clock, without the line. Raises LinkError, and ConfigurationError when policy, tables and
    networks do not fit together. Not thread-safe.
    """

    def __init__(
        self,
        board: Board,
        networks: BoardNetworks,
        calibration: Calibration,
        policy: Policy,
        *,
        threshold: float | None = None,
        options: PolicyOptions | None = None,
        combination: Combination = Combination.LARGE,
        filter_name: str | None = None,
        deadline_ns: int | None = None,
        replay: bool = False,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.policy = policy
        configuration = configure_board(
            calibration,
            policy,
            networks,
            threshold,
            options,
            combination=combination,
            filter_name=filter_name,
            deadline_ns=deadline_ns,
        )
        board.configure(configuration.pack())
        self._board = board
        self._components = calibration.components
        self._threshold = configuration.threshold
        small = board.networks[networks.small]
        self._shape = (small.height, small.width)
        self._replay = replay
        self._clock = clock
        self._frame = 0
        self._index = 0
        self._fresh = True
        self._failing = False
        self._outputs: Mapping[NetworkRole, FloatArray] = {}
        self.last: Turn | None = None
        """The last turn, which tells the line's time from the board's."""

    @property
    def threshold(self) -> float:
        """The threshold in use; NaN for a policy without one."""
        return self._threshold

    @property
    def components(self) -> tuple[Component, ...]:
        """What its estimates say."""
        return self._components

    @property
    def outputs(self) -> Mapping[NetworkRole, FloatArray]:
        """What the networks said of the last frame, without those that failed."""
        return self._outputs

    def set_threshold(self, threshold: float) -> None:
        """Move the threshold from the next frame on; raises LinkError."""
        self._board.set_threshold(threshold)
        self._threshold = threshold

    def reset(self) -> None:
        """Start a new flight; on a link that is down, with the next frame that gets through."""
        self._index = 0
        try:
            self._board.reset_history()
        except LinkError as error:
            logger.warning("the board's history is forgotten later: %s", error)
            self._fresh = False
        else:
            self._fresh = True

    def process(self, frame: Frame) -> Estimate:
        """The estimate for one frame; lost, with values that are NaN, when the link failed.

        Raises FrameError, with nothing changed, for a frame of the wrong size or type.
        """
        image = frame.image
        if image.shape != self._shape or image.dtype.name != "uint8":
            raise FrameError(
                f"frame is {'x'.join(map(str, image.shape))} {image.dtype}, the board takes "
                f"{self._shape[0]}x{self._shape[1]} uint8 (height x width)"
            )
        started = self._clock()
        try:
            if not self._fresh:
                self._board.reset_history()
                self._fresh = True
            self._frame += 1
            turn = self._board.process(image, self._frame, frame.capture_time_ns)
        except LinkError as error:
            self._report(error)
            estimate = self._lost(frame, started)
        else:
            self._report(None)
            self.last = turn
            estimate = self._published(frame, started, turn.estimate)
        self._index += 1
        return estimate

    def _published(self, frame: Frame, started: int, said: BoardEstimate) -> Estimate:
        self._outputs = {_ROLES[role]: output for role, output in said.outputs.items()}
        finished = self._clock()
        total = finished - started
        times = said.times_ns
        return Estimate(
            sequence=frame.sequence,
            capture_time_ns=frame.capture_time_ns,
            publish_time_ns=frame.capture_time_ns + total if self._replay else finished,
            components=self._components,
            values=tuple(said.values.tolist()),
            standard_deviation=tuple(said.deviation.tolist()),
            presence=None if math.isnan(said.presence) else said.presence,
            answered=None if said.answered is None else _ROLES[said.answered],
            networks=tuple(role for bit, role in enumerate(_ROLES) if said.ran >> bit & 1),
            signal=said.signal,
            threshold=said.threshold,
            reason=REASONS[said.reason],
            times=StageTimes(times[_AUX], times[_SMALL], times[_LARGE], total),
            flags=EstimateFlag(said.flags),
            index=said.index,
        )

    def _lost(self, frame: Frame, started: int) -> Estimate:
        self._outputs = {}
        unknown = (math.nan,) * len(self._components)
        finished = self._clock()
        total = finished - started
        return Estimate(
            sequence=frame.sequence,
            capture_time_ns=frame.capture_time_ns,
            publish_time_ns=frame.capture_time_ns + total if self._replay else finished,
            components=self._components,
            values=unknown,
            standard_deviation=unknown,
            presence=None,
            answered=None,
            networks=(),
            signal=math.nan,
            threshold=self._threshold,
            reason=Reason.BOTH_FAILED,
            times=StageTimes(total=total),
            flags=EstimateFlag.DEGRADED | EstimateFlag.LOST,
            index=self._index,
        )

    def _report(self, error: LinkError | None) -> None:
        """Log a change, not every frame."""
        if (error is not None) is self._failing:
            return
        self._failing = error is not None
        if error is None:
            logger.warning("the board's loop works again")
        else:
            logger.warning("the board's loop failed: %s", error)


def loop_of_ensemble(
    ensemble: Ensemble, policy: Policy, settings: SchedulerSettings, *, replay: bool = False
) -> BoardLoop:
    """The loop on the board that runs all of an ensemble's networks (engines `board:ADDRESS`).

    Raises ConfigurationError when they are not all on one board, and what `BoardLoop` does.
    """
    numbers: dict[NetworkRole, int] = {}
    boards = []
    for role in NetworkRole:
        engine = ensemble.engine(role)
        if engine is None:
            continue
        if not isinstance(engine, BoardEngine):
            raise ConfigurationError(
                f"{role} network {engine.network.name} is not on a board; the loop needs all of "
                f"{ensemble.name} there: --engine board:ADDRESS"
            )
        board, numbers[role] = engine.place()
        boards.append(board)
    if any(board is not boards[0] for board in boards):
        raise ConfigurationError(f"the networks of {ensemble.name} are on different boards")
    deadline_ms = settings.deadline_ms
    return BoardLoop(
        boards[0],
        BoardNetworks(
            numbers[NetworkRole.SMALL], numbers[NetworkRole.LARGE], numbers.get(NetworkRole.AUX)
        ),
        ensemble.calibration,
        policy,
        threshold=settings.threshold,
        options=settings.options,
        combination=settings.combination,
        filter_name=settings.filter_name,
        deadline_ns=None if deadline_ms is None else round(deadline_ms * 1e6),
        replay=replay,
    )
