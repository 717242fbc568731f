"""Rebuilding everything that derives from networks and flights, in order:

networks -> their other forms; networks -> traces -> ensembles.json -> baseline, tables in README
and docs, docs/plane.png.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gearshift.models.evaluating.dataset import Dataset, load_dataset
from gearshift.models.formats.format_comparison import measure_formats, time_ratios
from gearshift.models.zoo_making.zoo_writer import GAP8_FOLDER, write_integer_form
from gearshift.runtime.engines.gap8_folder import GEOMETRY_NAME
from gearshift.runtime.engines.network import INTEGER, LITERT, MANIFEST_NAME, read_manifest
from gearshift.runtime.ensembles.ensemble_records import (
    ENSEMBLES_NAME,
    read_ensembles,
    write_ensembles,
)
from gearshift.runtime.ensembles.profile import read_profile
from gearshift.runtime.errors import ConfigurationError, MissingExtraError, NetworkError
from gearshift.runtime.files.whole_file import make_folder
from gearshift.runtime.installation import install_line
from gearshift.runtime.types import NetworkRole
from gearshift.sim.calibrate.ensemble_calibration import calibrate_ensembles
from gearshift.sim.compare.comparison_tables import (
    error_table,
    halfway_table,
    latency_table,
    readme_text,
    split_table,
    verdicts_text,
)
from gearshift.sim.compare.headline import Point
from gearshift.sim.compare.main_job import Compared, compare
from gearshift.sim.compare.network_tables import formats_table, networks_text
from gearshift.sim.compare.plane import draw_plane
from gearshift.sim.figures import derived
from gearshift.sim.gate import gate
from gearshift.sim.traces.make_trace import find_recordings, load_networks, make_trace
from gearshift.sim.traces.run_cost import check_profile
from gearshift.sim.traces.trace import read_trace, write_trace

SPLITS: Final = ("val", "known", "unseen")
ENSEMBLES: Final[Mapping[str, Mapping[NetworkRole, str]]] = {
    "D1": {NetworkRole.SMALL: "F1", NetworkRole.LARGE: "M1.0", NetworkRole.AUX: "aux"},
    "D2": {NetworkRole.SMALL: "F2", NetworkRole.LARGE: "M1.0", NetworkRole.AUX: "aux"},
}
ZOO: Final = "models/zoo"
PROFILE: Final = f"{ZOO}/profile-gap8.json"
ENSEMBLES_FILE: Final = f"{ZOO}/{ENSEMBLES_NAME}"
TRACES: Final = {split: f"sim/data/traces/{split}.npz" for split in SPLITS}
BASELINE: Final = "sim/data/baseline.json"
PLANE: Final = "docs/plane.png"
RECORDINGS: Final = "sim/data/recordings"
TIMED_SECONDS: Final = 2.0
"""How long each format of each network is timed for the table of formats."""

FLIGHTS: Final = 104
FLIGHT_FRAMES: Final = 64
FLIGHT_RATE: Final = 15
FLIGHT_SEED: Final = 0
"""What a split of the traces is made of: flights, frames each, frames a second, seed."""

Say = Callable[[str], None]


def rebuild(
    root: Path, flights: Path | None, say: Say, *, render: bool = False, force: bool = False
) -> list[str]:
    """Rebuild what is out of date (everything with `force`); returns the files written.

    flights: folder with one folder of recordings per split, needed only when traces are out of
    date; with `render`, flights that it lacks are made from their seeds (extra `sim`). Raises
    ConfigurationError when recordings are needed and not there.
    """
    written: list[str] = []
    sources = network_files(root)
    _check_profile(root)
    written += _write_forms(root, flights, say, force=force)
    if not derived.is_current(root, PROFILE, sources):
        derived.record(root, PROFILE, sources)
    for split in SPLITS:
        name = TRACES[split]
        if force or not derived.is_current(root, name, sources):
            say(f"{name}: running the networks over {split}")
            if render and flights is not None:
                make_missing_flights(flights, split, say)
            _make_trace(root, split, flights)
            derived.record(root, name, sources)
            written.append(name)
    steps: tuple[tuple[str, list[str], Callable[[], None]], ...] = (
        (ENSEMBLES_FILE, [TRACES["val"], PROFILE], lambda: _calibrate(root, say)),
        (
            BASELINE,
            [ENSEMBLES_FILE, PROFILE, TRACES["known"], TRACES["unseen"]],
            lambda: _write_baseline(root),
        ),
    )
    for name, sources, make in steps:
        if force or not derived.is_current(root, name, sources):
            say(f"{name}: rebuilding")
            make()
            derived.record(root, name, sources)
            written.append(name)
    return written + _documents(root, flights, say, force=force)


def network_files(root: Path) -> list[str]:
    """Every network of the zoo, relative to the root."""
    manifest = read_manifest(root / ZOO)
    return [f"{ZOO}/{entry['file']}" for _, entry in sorted(manifest["networks"].items())]


def _write_forms(root: Path, flights: Path | None, say: Say, *, force: bool) -> list[str]:
    """The integer and the TFLite form of every network that is an int8 model of ours."""
    written = []
    splits: dict[str, Dataset] | None = None
    for name, entry in sorted(read_manifest(root / ZOO)["networks"].items()):
        network = f"{ZOO}/{entry['file']}"
        forms = {
            INTEGER: f"{ZOO}/{GAP8_FOLDER}/{name}/{GEOMETRY_NAME}",
            LITERT: network.removesuffix(".onnx") + ".tflite",
        }
        for engine, form in forms.items():
            known = engine in entry["formats"]
            if known and not force and derived.is_current(root, form, [network]):
                continue
            say(f"{form}: converting")
            try:
                if engine == INTEGER:
                    write_integer_form(root / ZOO, name)
                else:
                    splits = _splits(flights) if splits is None else splits
                    _write_tflite(root / ZOO, name, splits)
            except NetworkError as error:
                say(f"{name}: no {engine} form ({error})")
                continue
            derived.record(root, form, [network])
            written.append(form)
    return written


def _splits(flights: Path | None) -> dict[str, Dataset]:
    """The flights on which the errors in the networks' metadata are measured, where they are."""
    present = [s for s in SPLITS if flights is not None and any((flights / s).glob("*.mcap"))]
    return {split: load_dataset(flights / split) for split in present if flights is not None}


def _write_tflite(zoo: Path, name: str, splits: Mapping[str, Dataset]) -> None:
    try:
        from gearshift.models.zoo_making.tflite_export import export_tflite
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"writing TFLite needs the package {error.name!r}: {install_line('tflite')}"
        ) from error
    export_tflite(name, zoo, splits)


def _check_profile(root: Path) -> None:
    """Raise TraceError unless the modelled profile is of the networks that the zoo has."""
    networks = read_manifest(root / ZOO)["networks"]
    hashes = {name: entry["sha256"] for name, entry in networks.items()}
    check_profile(read_profile(root / PROFILE), hashes)


def _make_trace(root: Path, split: str, flights: Path | None) -> None:
    if flights is None or not (flights / split).is_dir():
        raise ConfigurationError(
            f"the {split} trace is out of date and there are no flights to make it of; "
            f"give --flights DIR with a folder {split}, or --make-flights"
        )
    names = sorted(read_manifest(root / ZOO)["networks"])
    recordings = find_recordings([flights / split])
    trace = make_trace(recordings, load_networks(names, root / ZOO), split)
    path = root / TRACES[split]
    make_folder(path.parent)
    write_trace(trace, path)


def _calibrate(root: Path, say: Say) -> None:
    val, profile = read_trace(root / TRACES["val"]), read_profile(root / PROFILE)
    write_ensembles(calibrate_ensembles(val, profile, ENSEMBLES, say), root / ZOO)


def _write_baseline(root: Path) -> None:
    records = list(read_ensembles(root / ZOO).values())
    traces = [read_trace(root / TRACES[split]) for split in SPLITS if split != "val"]
    profile = read_profile(root / PROFILE)
    gate.write_baseline(root / BASELINE, gate.compute(records, traces, profile))


def _documents(root: Path, flights: Path | None, say: Say, *, force: bool) -> list[str]:
    """Tables between markers, and the picture."""
    sources = [ENSEMBLES_FILE, PROFILE, f"{ZOO}/{MANIFEST_NAME}", *TRACES.values()]
    pages = [f"{p}{derived.BLOCKS}" for p in documents_with_blocks(root)]
    names = [*pages, PLANE]
    if not force and all(derived.is_current(root, name, sources) for name in names):
        return []
    say("tables and picture: comparing")
    compared = compare(zoo=root / ZOO, traces=root / "sim/data/traces", profile=str(root / PROFILE))
    traces = [read_trace(root / TRACES[split]) for split in SPLITS]
    networks = networks_text(read_manifest(root / ZOO), compared.device, traces)
    blocks = figure_blocks(compared) | {"networks": networks}
    if any("<!-- figures:formats -->" in _text(root, page) for page in pages):
        blocks["formats"] = _formats(root, flights, say)
    for page in pages:
        derived.fill_blocks(root / page.removesuffix(derived.BLOCKS), blocks)
    draw_plane(root / PLANE, compared.splits, compared.device)
    for name in names:
        derived.record(root, name, sources)
    return names


def _text(root: Path, page: str) -> str:
    return (root / page.removesuffix(derived.BLOCKS)).read_text()


def _formats(root: Path, flights: Path | None, say: Say) -> str:
    """Formats on the test splits; without those on the recordings that ship. Times are this
    machine's, of this run."""
    ratios = time_ratios([], root / ZOO, TIMED_SECONDS)
    with _test_splits(root, flights) as folders:
        report = measure_formats([], folders, root / ZOO, ratios=ratios, say=say)
    return formats_table(report).markdown()


@contextmanager
def _test_splits(root: Path, flights: Path | None) -> Iterator[list[Path]]:
    splits = [split for split in SPLITS if split != "val"]
    if flights is not None and all((flights / split).is_dir() for split in splits):
        yield [flights / split for split in splits]
        return
    # What is decoded is cached beside its folder, which a checkout is no place for.
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / f"{split} (shipped recordings)" for split in splits]
        for split, folder in zip(splits, folders, strict=True):
            folder.mkdir()
            for recording in sorted((root / RECORDINGS).glob(f"{split}-*.mcap")):
                (folder / recording.name).symlink_to(recording.resolve())
        yield folders


def documents_with_blocks(root: Path) -> list[str]:
    """README and docs that have markers for figures, relative to the root."""
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return [
        str(page.relative_to(root))
        for page in pages
        if page.exists() and "<!-- figures:" in page.read_text()
    ]


def figure_blocks(compared: Compared) -> dict[str, str]:
    """What may stand between markers, by name, as markdown."""
    blocks = {"readme": readme_text(compared.splits, compared.device, compared.host)}
    for report in compared.splits:
        for point in Point:
            table = split_table(report, point, compared.device)
            blocks[f"{report.split}-{point}"] = table.markdown()
        blocks[f"{report.split}-verdicts"] = verdicts_text(report)
        blocks[f"{report.split}-latency"] = latency_table(report, compared.device).markdown()
        blocks[f"{report.split}-halfway"] = halfway_table(report, compared.device).markdown()
        blocks[f"{report.split}-error"] = error_table(report, compared.device).markdown()
    return blocks


def make_missing_flights(folder: Path, split: str, say: Say) -> None:
    """Render the flights that a split lacks; needs the extra `sim`."""
    from gearshift.sim.flights.flight import FlightPlan
    from gearshift.sim.flights.make import make_flights

    plans = [
        FlightPlan(split, index, FLIGHT_FRAMES, FLIGHT_RATE, FLIGHT_SEED)
        for index in range(FLIGHTS)
    ]
    out = folder / split
    for number, _ in enumerate(make_flights(plans, out, out / ".rooms", 2), 1):
        say(f"{split}: rendered {number} flights")
