"""What a consumer may assume: fresh and in view, fresh but nobody there, or lost.

A pure state machine over monotonic times; the threads around it only tell it what happened, and
when.
"""

from __future__ import annotations

from dataclasses import dataclass

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.sinks.sink import FlightState


@dataclass(frozen=True, slots=True)
class PresenceRule:
    """Hysteresis between somebody and nobody in view.

    Nobody is taken to be there after `frames` probabilities in a row below `vanish`, somebody again
    after as many above `appear`. Raises ConfigurationError unless 0 <= vanish <= appear <= 1.
    """

    appear: float = 0.6
    vanish: float = 0.4
    frames: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.vanish <= self.appear <= 1 or self.frames < 1:
            raise ConfigurationError(
                f"presence: vanish {self.vanish} and appear {self.appear} must be "
                f"0 <= vanish <= appear <= 1, frames {self.frames} at least 1"
            )


class Presence:
    """Somebody until shown otherwise."""

    def __init__(self, rule: PresenceRule) -> None:
        self._rule = rule
        self._against = 0
        self.somebody = True

    def update(self, probability: float) -> None:
        """Take in the probability that a person is in view."""
        rule = self._rule
        contradicts = probability < rule.vanish if self.somebody else probability > rule.appear
        self._against = self._against + 1 if contradicts else 0
        if self._against >= rule.frames:
            self.somebody = not self.somebody
            self._against = 0


class FlightStateMachine:
    """waiting -> tracking <-> absent, and lost whenever the last value is too old.

    max_estimate_age_ns: from the capture of the frame a value comes from.
    """

    def __init__(self, max_estimate_age_ns: int, rule: PresenceRule) -> None:
        self._max_age_ns = max_estimate_age_ns
        self.presence = Presence(rule)
        self.state = FlightState.WAITING
        self._value_ns: int | None = None

    @property
    def expires_ns(self) -> int | None:
        """The last moment at which the state holds without a new value; None when it does not
        hang on one."""
        if self._value_ns is None or self.state is FlightState.LOST:
            return None
        return self._value_ns + self._max_age_ns

    def on_value(self, now_ns: int, captured_ns: int) -> bool:
        """A valid value from a frame captured then is about to be published: whether it may pass
        as fresh."""
        self.on_time(now_ns)
        if now_ns - captured_ns > self._max_age_ns:
            return False
        if self._value_ns is None or captured_ns > self._value_ns:
            self._value_ns = captured_ns
        here = self.presence.somebody
        self.state = FlightState.TRACKING if here else FlightState.ABSENT
        return True

    def on_time(self, now_ns: int) -> FlightState:
        """Let time pass; the state then."""
        expires = self.expires_ns
        if expires is not None and now_ns > expires:
            self.state = FlightState.LOST
        return self.state
