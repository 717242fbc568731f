"""The tables of `flight.toml` and their keys, but for what plug-ins define."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.types import NetworkRole

Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class EnginesSection(_Section, frozen=True):
    """What runs each network: `NAME` or `NAME:ARGUMENT`, such as `board:/dev/ttyUSB0`."""

    small: str | None = None
    large: str | None = None
    aux: str | None = None


class EnsembleSection(_Section, frozen=True):
    """name: of the zoo, or a TOML file of one's own. engine: runs every network that `engines`
    says nothing of; default what suits its file."""

    name: str = "D1"
    engine: str | None = None
    engines: EnginesSection = EnginesSection()

    def engine_of(self, role: NetworkRole) -> str | None:
        """What runs the network of that role; None: what suits its file."""
        chosen: str | None = getattr(self.engines, role)
        return chosen or self.engine


class BudgetSection(_Section, frozen=True):
    """Moves the threshold in flight so that one of the two is held on average: the share of frames
    on large, or the time of the networks in milliseconds."""

    large_share: Share | None = None
    mean_latency_ms: Positive | None = None


class PolicySection(_Section, frozen=True):
    """name: a policy, or FILE.py:NAME. threshold: a number, inf, -inf, or an operating point of
    the ensemble. filter: default the policy's own. max_gap_s, per_second, seed: see
    `PolicyOptions`."""

    name: str = "op"
    threshold: float | str | None = None
    budget: BudgetSection | None = None
    filter: Literal["none", "anchor", "smooth"] | None = None
    combination: Literal["large", "fusion"] = "large"
    max_gap_s: Positive = 0.5
    per_second: bool = False
    seed: int = 0

    def options(self) -> PolicyOptions:
        """As the scheduler takes them."""
        return PolicyOptions(max_gap_s=self.max_gap_s, per_second=self.per_second, seed=self.seed)


class LimitsSection(_Section, frozen=True):
    """rate_hz: frame rate that has to be held, default the source's. deadline_ms: from the start of
    inference; large is skipped where it would miss it; default one frame period of a live source,
    0: none. max_estimate_age_s: from capture; the state is `lost` after that. stall_ms: a network
    that has not returned after this is left behind. profile: of this machine, a file or the name of
    one in the zoo, by which rate and deadline are checked before take-off."""

    rate_hz: Positive | None = None
    deadline_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    max_estimate_age_s: Annotated[float, msgspec.Meta(gt=0, le=0.75)] = 0.75
    stall_ms: Positive = 300.0
    profile: str | None = None


class PresenceSection(_Section, frozen=True):
    """Whether anybody is in view. every: the auxiliary network runs after every so many frames,
    once their estimate is out, where the policy does not run it; 0: never. Nobody is taken to be
    there after `frames` probabilities in a row below `vanish`, somebody after as many above
    `appear`."""

    every: Count = 10
    appear: Share = 0.6
    vanish: Share = 0.4
    frames: Annotated[int, msgspec.Meta(ge=1)] = 3


class LogSection(_Section, frozen=True):
    """level: of messages on stderr. status: a line that is kept up to date ("line", on terminals),
    one from time to time ("log"), nothing ("off"). every_s: between two of the latter."""

    level: Literal["debug", "info", "warning", "error"] = "warning"
    status: Literal["auto", "line", "log", "off"] = "auto"
    every_s: Positive = 5.0


class PrometheusSection(_Section, frozen=True):
    """A metrics endpoint, http://127.0.0.1:PORT/metrics, on the loopback interface only."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9464


class FlightSections(_Section, frozen=True):
    """Everything but what plug-ins define."""

    schema_version: int
    ensemble: EnsembleSection = EnsembleSection()
    policy: PolicySection = PolicySection()
    limits: LimitsSection = LimitsSection()
    presence: PresenceSection = PresenceSection()
    log: LogSection = LogSection()
    prometheus: PrometheusSection | None = None


class SourceKeys(_Section, frozen=True):
    """What every [source] has. calibration: file with intrinsics, see `gearshift camera`.
    max_age_ms: a live frame older than this when inference could start is dropped."""

    calibration: str | None = None
    max_age_ms: Positive = 200.0


class SinkKeys(_Section, frozen=True):
    """What every [[sinks]] has. required: the flight does not start when it cannot be opened."""

    required: bool = True
