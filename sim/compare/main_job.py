"""The comparison from files to files: traces, ensembles and a profile in, a report out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.network import zoo_folder
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.ensembles.ensemble_file import calibration_path
from gearshift.runtime.ensembles.ensemble_records import (
    ENSEMBLES_NAME,
    EnsembleRecord,
    read_ensembles,
)
from gearshift.runtime.ensembles.loading import is_ensemble_file, load_ensemble
from gearshift.runtime.ensembles.profile import Profile, find_profile, read_profile
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.scoring.data_frame import data_frame
from gearshift.runtime.types import Image
from gearshift.sim.compare.comparison import Row, SplitReport, choose_on_val, compare_split
from gearshift.sim.compare.plane import draw_plane
from gearshift.sim.compare.report import report_document, write_json
from gearshift.sim.compare.systems import POLICIES as COMPARED
from gearshift.sim.traces.make_trace import (
    Engines,
    ensemble_engines,
    find_recordings,
    load_networks,
)
from gearshift.sim.traces.oracle import ORACLE
from gearshift.sim.traces.timing import Samples, measured_profile, time_networks
from gearshift.sim.traces.trace import (
    Trace,
    file_sha256,
    read_trace,
    recordings_folder,
    traces_folder,
)

if TYPE_CHECKING:
    from pandas import DataFrame

TIMED_FRAMES = 300
CONTROLS: Final = ("random", "hold")
"""What gains are over, see `comparison.Row`."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What a comparison found, and on which devices. inputs: the files it was made of.

    splits: everything that was found, per test split. device: whose latencies count. host: the
    machine at hand, where its networks were timed.
    """

    splits: tuple[SplitReport, ...]
    device: Profile
    host: Profile | None
    inputs: tuple[Path, ...]

    def columns(self) -> dict[str, NDArray[Any]]:
        """A row per split, system and operating point, (R,) each.

        split, system, kind, ensemble, policy, filter, point ("" for a single network), threshold;
        error with error_low and error_high: mean absolute, summed over the components, with its
        95 % interval; error_NAME of each component, in its unit; share_large of the frames;
        latency_ms and energy_mj per frame on the device; host_ms measured here, NaN without;
        gain_random and gain_hold: per cent by which the error is lower than a control's at the same
        latency, NaN where there is none.
        """
        rows = [_columns_of(report.split, row) for report in self.splits for row in report.rows]
        names = rows[0] if rows else {}
        return {name: np.array([row[name] for row in rows]) for name in names}

    def to_pandas(self) -> DataFrame:
        """`columns` as a DataFrame; raises MissingExtraError where pandas is missing."""
        return data_frame(self.columns())


def compare(
    ensembles: Sequence[str] = (),
    *,
    policies: Sequence[Policy | str] = (),
    zoo: Path | None = None,
    traces: Path | None = None,
    profile: str = "gap8",
    splits: Sequence[str] = ("known", "unseen"),
    timing: bool = True,
    resamples: int = 1000,
    done: Callable[[str], None] = lambda _name: None,
) -> Compared:
    """Choose thresholds on `val`, evaluate on every split of `splits`, time the networks here.

        table = compare(["D1"], policies=[mine], timing=False).to_pandas()

    What `gearshift compare` prints: every policy of ours, the controls that one has to beat, and
    yours beside them; about half a minute. ensembles: of the zoo by name, or TOML files; default
    all of the zoo. policies: more of them, each a name, `FILE.py:NAME`, or one made with `@policy`.
    zoo, traces: folders, default those that ship with the package. profile: the device whose
    latency and energy count, by name or a file. resamples: of the flights, for the intervals. done:
    told what is being worked on.

    Raises ConfigurationError for what does not exist or does not fit together, TraceError for
    traces or profiles of other networks.
    """
    own = [find_policy(policy) if isinstance(policy, str) else policy for policy in policies]
    taken = [*COMPARED, ORACLE.name, *(policy.name for policy in own)]
    for policy in own:
        if taken.count(policy.name) > 1:
            raise ConfigurationError(
                f"there are two policies of the name {policy.name!r}; give yours a name of its own"
            )
    if resamples < 1:
        raise ConfigurationError(f"resamples is {resamples}, it must be at least 1")
    loaded = [load_ensemble(name, zoo) for name in ensembles]
    records = [ensemble.record for ensemble in loaded] or list(read_ensembles(zoo).values())
    folder = traces or traces_folder()
    paths = {split: folder / f"{split}.npz" for split in ("val", *splits)}
    profile_path = find_profile(profile, zoo)
    device = read_profile(profile_path)
    val = read_trace(paths["val"])
    samples: Samples | None = None
    host: Profile | None = None
    if timing:
        done("timing the networks on this machine")
        engines = _engines(records, loaded, val, zoo)
        images, what = _images(engines)
        samples = time_networks(engines, images)
        host = measured_profile(engines, samples, what)
    choices = choose_on_val(records, val, device, lambda name: done(f"{name} on val"), own)
    reports = []
    for split in splits:
        done(split)
        trace = read_trace(paths[split])
        reports.append(compare_split(choices, records, trace, device, samples, resamples=resamples))
    inputs = (*_ensemble_files(ensembles, zoo), profile_path, *paths.values())
    return Compared(tuple(reports), device, host, inputs)


def _columns_of(split: str, row: Row) -> dict[str, str | float]:
    error = row.error["sum"]
    gains = {name: row.gains[name].value if name in row.gains else nan for name in CONTROLS}
    return {
        "split": split,
        "system": row.system,
        "kind": str(row.kind),
        "ensemble": row.ensemble,
        "policy": row.policy,
        "filter": row.filter_name,
        "point": str(row.point or ""),
        "threshold": row.threshold,
        "error": error.value,
        "error_low": error.low,
        "error_high": error.high,
        **{f"error_{name}": each.value for name, each in row.error.items() if name != "sum"},
        "share_large": row.share_large,
        "latency_ms": row.device_ms.mean_ms,
        "energy_mj": row.device_mj,
        "host_ms": nan if row.host_ms is None else row.host_ms.mean_ms,
        **{f"gain_{name}": gain for name, gain in gains.items()},
    }


def write_report(folder: Path, compared: Compared) -> None:
    """Write report.json and plane.png; raises OutputError."""
    document = report_document(
        compared.splits,
        compared.device,
        compared.host,
        {path.name: file_sha256(path) for path in compared.inputs},
    )
    write_json(folder / "report.json", document)
    draw_plane(folder / "plane.png", compared.splits, compared.device)


def _engines(
    records: Sequence[EnsembleRecord], loaded: Sequence[Ensemble], val: Trace, zoo: Path | None
) -> Engines:
    """The networks of every ensemble, and those of the trace that are controls."""
    names = {ref.name for record in records for ref in record.networks.values()}
    names |= {n for n, entry in val.networks.items() if entry.network.grid is None}
    there: dict[str, tuple[Engine, str]] = {}
    for ensemble in loaded:
        there |= ensemble_engines(ensemble)
    return {**load_networks(sorted(names - there.keys()), zoo), **there}


def _ensemble_files(ensembles: Sequence[str], zoo: Path | None) -> list[Path]:
    """What was read to know the ensembles."""
    own = [Path(name) for name in ensembles if is_ensemble_file(name)]
    found = [*own, *(side for side in map(calibration_path, own) if side.exists())]
    if len(own) < max(len(ensembles), 1):
        found.append((zoo or zoo_folder()) / ENSEMBLES_NAME)
    return found


def _images(engines: Engines) -> tuple[list[Image], str]:
    """Frames of the shipped recordings, evenly over each, and what they are.

    An installed wheel has no recordings; then noise, for which a network takes as long.
    """
    network = next(iter(engines.values()))[0].network
    shape = (network.height, network.width)
    if not any(recordings_folder().glob("*.mcap")):
        noise = np.random.default_rng(0).integers(0, 256, (TIMED_FRAMES, *shape), dtype=np.uint8)
        return list(noise), "noise"
    paths = find_recordings([recordings_folder()])
    images: list[Image] = []
    for path in paths:
        frames = [entry.frame.image for entry in RecordingReader(path)]
        images += frames[:: max(1, len(frames) * len(paths) // TIMED_FRAMES)]
    return images, "frames of the shipped recordings"
