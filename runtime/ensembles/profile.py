"""What a network costs on one device. Measured and modelled figures never share a column."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.engines.network import zoo_folder
from gearshift.runtime.errors import ConfigurationError, TraceError
from gearshift.runtime.files.whole_file import write_whole
from gearshift.runtime.scoring.metrics import summarise_latency

SCHEMA_VERSION = 1


class ProfileKind(StrEnum):
    """How the figures of a profile were obtained."""

    MEASURED = "measured"
    MODELLED = "modelled"


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """Latency of one run in milliseconds, and its energy in millijoules where known.

    sha256 identifies the network file the figures belong to. runs: how often it was timed, 0 for a
    model; mean and percentiles are then one number, and low_ms..high_ms is the model's own error.
    """

    sha256: str
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    runs: int
    energy_mj: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None

    @classmethod
    def timed(cls, sha256: str, milliseconds: Sequence[float]) -> NetworkProfile:
        """Of timed runs."""
        spread = summarise_latency(np.asarray(milliseconds, dtype=np.float64))
        return cls(sha256, **asdict(spread), runs=len(milliseconds))


@dataclass(frozen=True, slots=True)
class Profile:
    """The networks of a zoo on one device.

    method says in a sentence how the figures came about; versions name the software (and clocks,
    governor, threads) that they hold for.
    """

    device: str
    kind: ProfileKind
    method: str
    versions: Mapping[str, str]
    networks: Mapping[str, NetworkProfile]

    def latency_ms(self, network: str) -> float:
        """Mean latency of one network; raises TraceError when the profile does not know it."""
        return self._network(network).mean_ms

    def energy_mj(self, network: str) -> float | None:
        """Energy of one run, None where unknown; raises TraceError for an unknown network."""
        return self._network(network).energy_mj

    def _network(self, name: str) -> NetworkProfile:
        if name not in self.networks:
            raise TraceError(
                f"profile of {self.device} has no network {name!r} "
                f"(it has {', '.join(sorted(self.networks))}); profile it again"
            )
        return self.networks[name]


def find_profile(name: str, zoo: Path | None = None) -> Path:
    """A profile's file: a path, or the name of one in the zoo. Raises ConfigurationError."""
    if name.endswith(".json") or "/" in name:
        return Path(name)
    folder = zoo or zoo_folder()
    path = folder / f"profile-{name}.json"
    if not path.exists():
        known = sorted(p.stem.removeprefix("profile-") for p in folder.glob("profile-*.json"))
        raise ConfigurationError(
            f"there is no profile {name!r}; the zoo has {', '.join(known) or 'none'}; "
            "or give a .json file, which `gearshift doctor --profile` writes"
        )
    return path


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile as JSON, whole or not at all; raises OutputError."""
    document = {"schema_version": SCHEMA_VERSION, **asdict(profile)}
    write_whole(path, json.dumps(document, indent=1, sort_keys=True) + "\n")


def read_profile(path: Path) -> Profile:
    """Read a profile; raises TraceError when it is missing, of another version or damaged."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise TraceError(f"{path}: not valid JSON ({error})") from error
    try:
        version = document.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise TraceError(
                f"{path}: profile schema version {version}, this gearshift reads {SCHEMA_VERSION}; "
                "make the profile again"
            )
        networks = {n: NetworkProfile(**p) for n, p in document.pop("networks").items()}
        for name, entry in networks.items():
            if not (math.isfinite(entry.mean_ms) and entry.mean_ms > 0):
                raise TraceError(f"{path}: latency of {name} is {entry.mean_ms} ms")
        kind = ProfileKind(document.pop("kind"))
        return Profile(kind=kind, networks=networks, **document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TraceError(f"{path}: not a profile ({error})") from error
