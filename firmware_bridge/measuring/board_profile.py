"""What networks and policies cost on a board: the board's own time, or what its counter counts.

Instructions of an emulated core are no latency: a core takes one or many cycles for each. So they
have a document of their own, which nothing takes for a profile.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gearshift.firmware_bridge.board.board import Board
from gearshift.firmware_bridge.board.board_configuration import (
    POLICIES,
    BoardNetworks,
    configure_board,
)
from gearshift.firmware_bridge.line.messages import CountKind
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.engines.network import find_network_source
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.ensembles.profile import NetworkProfile, Profile, ProfileKind
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.files.whole_file import write_whole
from gearshift.runtime.types import Image, NetworkRole

SCHEMA_VERSION = 1
FRAME_NS = 33_333_333
WARM_UP = 2
Time = Literal["compute", "round-trip"]


@dataclass(frozen=True, slots=True)
class NetworkCount:
    """One run of a network. identity: sha256 of its image. agreeing: runs, of `runs`, that counted
    exactly this; a byte that arrives while a network runs costs the others an interrupt."""

    identity: str
    count: int
    runs: int
    agreeing: int


@dataclass(frozen=True, slots=True)
class PolicyCount:
    """The adaptive loop over some frames, per frame. own: without its networks. large_share: of
    frames on which the large network ran."""

    threshold: float | None
    frames: int
    total: float
    own: float
    large_share: float


@dataclass(frozen=True, slots=True)
class BoardCount:
    """Counts of a board; kind: what was counted."""

    schema_version: int
    device: str
    kind: str
    method: str
    networks: Mapping[str, NetworkCount]
    policies: Mapping[str, PolicyCount]


def count_networks(board: Board, runs: int) -> dict[str, NetworkCount]:
    """Run every network on noise; raises LinkError, ConfigurationError when nothing is counted."""
    if board.info.count_kind is CountKind.NONE:
        raise ConfigurationError(f"a {board.info.port} board counts nothing; it has a clock only")
    counts = {}
    for network in board.networks:
        images = _noise((network.height, network.width), runs)
        for image in images[:WARM_UP]:
            board.infer(network.number, image)
        seen = Counter(board.infer(network.number, image).count for image in images)
        # What disturbs a run only adds to it.
        least = min(seen)
        counts[network.name] = NetworkCount(network.identity, least, runs, seen[least])
    return counts


def count_policies(
    board: Board,
    record: EnsembleRecord,
    networks: Mapping[str, NetworkCount],
    images: Sequence[Image],
    point: str,
) -> dict[str, PolicyCount]:
    """Fly frames through the loop with every portable policy of an ensemble.

    point: the operating point whose thresholds are used; policies without it are left out.
    """
    numbers = {network.name: network.number for network in board.networks}
    members = {role: reference.name for role, reference in record.networks.items()}
    missing = [name for name in members.values() if name not in numbers]
    if missing:
        raise ConfigurationError(f"the board has no {', '.join(missing)} of {record.name}")
    parts = BoardNetworks(
        numbers[members[NetworkRole.SMALL]],
        numbers[members[NetworkRole.LARGE]],
        numbers.get(members.get(NetworkRole.AUX, "")),
    )
    counts = {}
    for name in POLICIES:
        policy = find_policy(name)
        threshold = None
        if policy.signal is not None:
            threshold = record.thresholds.get(name, {}).get(point)
            if threshold is None:
                continue
        board.configure(configure_board(record.calibration, policy, parts, threshold).pack())
        totals, own, large = [], [], 0
        for index, image in enumerate(images):
            turn = board.process(image, index + 1, index * FRAME_NS)
            ran = [role for i, role in enumerate(_ROLES) if turn.estimate.ran >> i & 1]
            totals.append(turn.count)
            own.append(turn.count - sum(networks[members[role]].count for role in ran))
            large += NetworkRole.LARGE in ran
        share = large / len(images)
        counts[f"{record.name} {name}"] = PolicyCount(
            threshold, len(images), statistics.fmean(totals), statistics.fmean(own), share
        )
    return counts


_ROLES = (NetworkRole.SMALL, NetworkRole.LARGE, NetworkRole.AUX)


def board_count(
    board: Board, networks: Mapping[str, NetworkCount], policies: Mapping[str, PolicyCount]
) -> BoardCount:
    """The document."""
    kind = board.info.count_kind.name.lower()
    emulated = " on an emulated core: no latency, no cycles" if board.info.port == "rv32" else ""
    return BoardCount(
        SCHEMA_VERSION,
        f"{board.info.port} ({board.info.build})",
        kind,
        f"{kind} per run{emulated}",
        dict(networks),
        dict(policies),
    )


def measure_board(board: Board, runs: int, time: Time) -> Profile:
    """A profile of the board's networks. time: what the board computes, or with the line to it.

    Networks are named by the zoo's, so that a replay can use the profile. Raises LinkError,
    ConfigurationError for an emulated board, whose time is that of this computer.
    """
    if board.info.port == "rv32":
        raise ConfigurationError(
            "an emulated core has no time of its own; count its instructions with --instructions"
        )
    networks = {}
    for network in board.networks:
        images = _noise((network.height, network.width), runs)
        results = [board.infer(network.number, image) for image in images]
        seconds = [r.compute_s if time == "compute" else r.round_trip_s for r in results]
        networks[network.name] = NetworkProfile.timed(
            find_network_source(network.name).sha256, [1e3 * s for s in seconds]
        )
    what = "networks on the board, without the line" if time == "compute" else "with the line"
    baud = board.address.baud
    return Profile(
        device=f"{board.info.port} board",
        kind=ProfileKind.MEASURED,
        method=f"{what}; {runs} runs each on noise"
        + ("" if time == "compute" else f", {baud} baud"),
        versions={"firmware": board.info.build},
        networks=networks,
    )


def count_json(count: BoardCount) -> str:
    """The document as JSON."""
    return json.dumps(asdict(count), indent=1, sort_keys=True) + "\n"


def write_count(path: Path, count: BoardCount) -> None:
    """Write it, whole or not at all; raises OutputError."""
    write_whole(path, count_json(count))


def _noise(shape: tuple[int, int], length: int) -> list[Image]:
    return list(np.random.default_rng(0).integers(0, 256, (length, *shape), dtype=np.uint8))
