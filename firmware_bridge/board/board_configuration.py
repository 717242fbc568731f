"""What the `configure` command tells a board's adaptive loop, packed and read back.

Everything that a policy derives from a calibration is derived here, once, and sent as tables. The
layout is specified in `firmware/include/gearshift/configuration.h`.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.combination import Combination, Fusion
from gearshift.runtime.decide.filters import Gains
from gearshift.runtime.decide.policies import DEFAULT_ANCHOR_RATE
from gearshift.runtime.decide.policy import Policy, PolicyOptions, Probe
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.decide.selection import check_threshold
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray, NetworkRole

MAGIC = b"GSC1"
VERSION = 1
NO_NETWORK = 255
MAX_COMPONENTS = 16
MAX_BYTES = 4096
POLICIES = (
    "op",
    "op-ahead",
    "aux-sm",
    "aux-hlc",
    "random",
    "every",
    "hold",
    "always-small",
    "always-large",
    "anchor",
)
"""What the firmware knows; a policy's code on the wire is its index (`gearshift/policy.h`)."""
COMBINATIONS = (Combination.LARGE, Combination.FUSION)
FILTER_NAMES = ("none", "anchor", "smooth")
GAINS = ("alpha_large", "alpha_small", "beta_large", "beta_small", "gamma")

# Magic, length, CRC, version, policy, combination, filter, small, large, aux, per second, n,
# classes, seed, angular, threshold, max gap, deadline, anchor rate, rows of the gain tables, zero.
_HEADER = struct.Struct("<4sIIHBBBBBBBBHIIffqf5HH")
_FIXED_TABLES = 5


@dataclass(frozen=True, slots=True)
class BoardNetworks:
    """Which of a board's networks play which part, by their index in its bundle."""

    small: int
    large: int
    aux: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BoardConfiguration:
    """The settings of a board's adaptive loop.

    policy: one of POLICIES. threshold: float32, NaN for a policy without a signal. deadline_ns:
    None for none. angular: (n,) bool. weights, deviations, fusion_share: float32 (n,); deviations
    that are unknown are NaN, as is fusion_share without fusion. head_cell_gain: float32
    (classes,), empty without a table. gains: None without a filter.
    """

    policy: str
    combination: Combination
    filter_name: str
    networks: BoardNetworks
    options: PolicyOptions
    threshold: float
    deadline_ns: int | None
    anchor_rate: float
    angular: tuple[bool, ...]
    weights: FloatArray
    deviation_small: FloatArray
    deviation_large: FloatArray
    deviation_fused: FloatArray
    fusion_share: FloatArray
    head_cell_gain: FloatArray
    gains: Gains | None

    def pack(self) -> bytes:
        """The bytes of the `configure` command."""
        tables = [
            self.weights,
            self.deviation_small,
            self.deviation_large,
            self.deviation_fused,
            self.fusion_share,
            self.head_cell_gain,
        ]
        rows = [0] * len(GAINS)
        if self.gains is not None:
            gains = [getattr(self.gains, name) for name in GAINS]
            tables += gains
            rows = [len(table) for table in gains]
        numbers = b"".join(table.astype("<f4").tobytes() for table in tables)
        content = bytearray(_HEADER.size) + numbers
        networks = self.networks
        _HEADER.pack_into(
            content,
            0,
            MAGIC,
            len(content),
            0,
            VERSION,
            POLICIES.index(self.policy),
            COMBINATIONS.index(self.combination),
            FILTER_NAMES.index(self.filter_name),
            networks.small,
            networks.large,
            NO_NETWORK if networks.aux is None else networks.aux,
            self.options.per_second,
            len(self.weights),
            len(self.head_cell_gain),
            self.options.seed & 0xFFFFFFFF,
            sum(1 << i for i, angular in enumerate(self.angular) if angular),
            self.threshold,
            np.float32(self.options.max_gap_s),
            -1 if self.deadline_ns is None else self.deadline_ns,
            self.anchor_rate,
            *rows,
            0,
        )
        struct.pack_into("<I", content, 8, zlib.crc32(content[12:]))
        return bytes(content)


def configure_board(
    calibration: Calibration,
    policy: Policy,
    networks: BoardNetworks,
    threshold: float | None = None,
    options: PolicyOptions | None = None,
    *,
    combination: Combination = Combination.LARGE,
    filter_name: str | None = None,
    deadline_ns: int | None = None,
) -> BoardConfiguration:
    """What makes a board's loop choose as a `Scheduler` with the same arguments does.

    Raises ConfigurationError where a Scheduler would, for a policy that is not portable, and for
    what a board has no room for.
    """
    options = options or PolicyOptions()
    if policy.name not in POLICIES or find_policy(policy.name) != policy or not policy.portable:
        raise ConfigurationError(
            f"policy {policy.name} is not known to a board, which has {', '.join(POLICIES)}; "
            "run the adaptive loop on the host, with the board as an engine"
        )
    anchor_rate = DEFAULT_ANCHOR_RATE
    if policy.signal is not None:
        policy.signal(calibration, options)  # Raises where the calibration lacks what it needs.
        if threshold is None:
            raise ConfigurationError(f"policy {policy.name} needs a threshold")
        if policy.name == "anchor":
            anchor_rate = calibration.parameters.get("anchor.rate", (anchor_rate,))[0]
    if policy.probe is Probe.AUX and networks.aux is None:
        raise ConfigurationError(
            f"policy {policy.name} needs an auxiliary network, the board has none"
        )
    if not options.max_gap_s >= 0:
        raise ConfigurationError(f"max_gap_s is {options.max_gap_s}; it must be 0 seconds or more")
    if deadline_ns is not None and deadline_ns < 0:
        raise ConfigurationError(f"a deadline of {deadline_ns} ns has passed before it starts")
    n = len(calibration.components)
    if n > MAX_COMPONENTS:
        raise ConfigurationError(f"{n} outputs; a board takes {MAX_COMPONENTS}")
    unknown: FloatArray = np.full(n, np.nan, dtype=np.float32)
    fusion = Fusion(calibration) if combination is Combination.FUSION else None
    chosen = filter_name or policy.filter_name
    if chosen not in FILTER_NAMES:
        raise ConfigurationError(f"unknown filter {chosen!r}; there are {', '.join(FILTER_NAMES)}")
    configuration = BoardConfiguration(
        policy=policy.name,
        combination=combination,
        filter_name=chosen,
        networks=networks,
        options=options,
        threshold=math.nan if threshold is None else check_threshold(threshold),
        deadline_ns=deadline_ns,
        anchor_rate=float(np.float32(anchor_rate)),
        angular=tuple(bool(angular) for angular in calibration.angular),
        weights=calibration.weights,
        deviation_small=calibration.standard_deviation.get(NetworkRole.SMALL, unknown),
        deviation_large=calibration.standard_deviation.get(NetworkRole.LARGE, unknown),
        deviation_fused=unknown if fusion is None else fusion.standard_deviation,
        fusion_share=unknown if fusion is None else fusion.share,
        head_cell_gain=calibration.head_cell_gain,
        gains=None if chosen == "none" else Gains.from_calibration(calibration, chosen),
    )
    size = len(configuration.pack())
    if size > MAX_BYTES:
        raise ConfigurationError(
            f"its tables take {size} bytes, a board takes {MAX_BYTES}; use shorter gain tables"
        )
    return configuration


def read_configuration(content: bytes, where: str) -> BoardConfiguration:
    """The configuration of packed bytes; raises ConfigurationError, in one line, when they are
    damaged."""
    if len(content) < _HEADER.size or content[:4] != MAGIC:
        raise ConfigurationError(f"{where}: this is no configuration of a board")
    _, length, crc, version, policy, combination, filter_code, *rest = _HEADER.unpack_from(content)
    if version != VERSION:
        raise ConfigurationError(
            f"{where}: configuration of version {version}, this gearshift reads {VERSION}"
        )
    small, large, aux, per_second, n, classes, seed, angular, threshold, max_gap_s, *rest = rest
    deadline_ns, anchor_rate, *rows, _ = rest
    numbers_there = n * (_FIXED_TABLES + sum(rows)) + classes
    if length != len(content) or length != _HEADER.size + 4 * numbers_there:
        raise ConfigurationError(f"{where}: {len(content)} bytes do not hold the tables it names")
    if zlib.crc32(content[12:]) != crc:
        raise ConfigurationError(f"{where}: its content does not match its checksum")
    if (
        policy >= len(POLICIES)
        or combination >= len(COMBINATIONS)
        or filter_code >= len(FILTER_NAMES)
        or n == 0
        or any((count > 0) != (filter_code > 0) for count in rows)
    ):
        raise ConfigurationError(f"{where}: its codes mean nothing to this gearshift")
    numbers = np.frombuffer(content, "<f4", offset=_HEADER.size).astype(np.float32)
    fixed, cells, *by_gain = np.split(
        numbers, np.cumsum([_FIXED_TABLES * n, classes, *(count * n for count in rows)])[:-1]
    )
    weights, of_small, of_large, of_fused, share = fixed.reshape(_FIXED_TABLES, n)
    gains = None
    if filter_code:
        by_name = zip(GAINS, by_gain, strict=True)
        gains = Gains(**{name: table.reshape(-1, n) for name, table in by_name})
    return BoardConfiguration(
        POLICIES[policy],
        COMBINATIONS[combination],
        FILTER_NAMES[filter_code],
        BoardNetworks(small, large, None if aux == NO_NETWORK else aux),
        PolicyOptions(max_gap_s=max_gap_s, per_second=bool(per_second), seed=seed),
        threshold,
        None if deadline_ns < 0 else deadline_ns,
        anchor_rate,
        tuple(bool(angular >> i & 1) for i in range(n)),
        weights,
        of_small,
        of_large,
        of_fused,
        fusion_share=share,
        head_cell_gain=cells,
        gains=gains,
    )
