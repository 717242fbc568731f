"""What each format of a network is worth: how near it stays to the int8 ONNX file, its error, its
size, and how its time compares.

`agreement.py` says what an LSB of an output is. Errors of the float network are those that were
measured when it was exported, and are taken only where the manifest's int8 figure is what is found
here: then the frames are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from gearshift.models.evaluating.agreement import agreement
from gearshift.models.evaluating.dataset import load_dataset
from gearshift.models.evaluating.evaluation import SUM, relative_loss, scores
from gearshift.models.evaluating.inference import run_engine
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_registry import open_engine
from gearshift.runtime.engines.network import ONNX, NetworkFile, find_network_source, read_manifest
from gearshift.runtime.errors import ConfigurationError, MissingExtraError
from gearshift.runtime.types import FloatArray

SAME_DATA: Final = 1e-4
"""int8 scores nearer than this come from the same frames: kernels differ less between processors
than flights do."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OutputAgreement:
    """Distance of one output from int8 ONNX over all frames, in LSB; lsb: in its unit."""

    output: str
    lsb: float
    max_lsb: float
    mean_lsb: float


@dataclass(frozen=True, slots=True)
class FormatFigures:
    """One network in one format.

    agreement: per output of a regression network; the worst score and the mean over all scores of
    a localiser; empty for int8 ONNX itself. score: per split the summed MAE, or a localiser's share
    of right cells. loss: per split, against float where that is known of the same frames: a share
    of the MAE, or points of accuracy. time_ratio: measured hot p50 against int8 ONNX,
    None where not timed.
    """

    network: str
    engine: str
    size_bytes: int
    localises: bool
    agreement: tuple[OutputAgreement, ...]
    score: Mapping[str, float]
    loss: Mapping[str, float]
    time_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class FormatReport:
    """All rows, the data sets they were measured on, and what was left out, one line each."""

    rows: tuple[FormatFigures, ...]
    splits: Mapping[str, int]
    left_out: tuple[str, ...]


def measure_formats(
    names: Sequence[str],
    folders: Iterable[Path],
    zoo: Path | None = None,
    *,
    ratios: Mapping[tuple[str, str], float] | None = None,
    say: Say = lambda _: None,
) -> FormatReport:
    """Run every format of networks over folders of recordings with ground truth.

    names: of the zoo, empty for all. ratios: time ratios by network and engine. Raises
    NetworkError, RecordingError, ConfigurationError.
    """
    splits = {data.name: data for data in map(load_dataset, folders)}
    if not splits:
        raise ConfigurationError("formats are measured on recordings: give --data DIR")
    networks = read_manifest(zoo)["networks"]
    rows: list[FormatFigures] = []
    left_out: list[str] = []
    for name in list(names) or sorted(networks):
        source = find_network_source(name, zoo)
        reference: dict[str, FloatArray] = {}
        entry = networks.get(name, {})
        for form in sorted(source.forms, key=lambda form: form != ONNX):
            say(f"{name}: running its {form} form")
            try:
                engine = open_engine(source, form)
            except MissingExtraError as error:
                left_out.append(f"{name}: {error}")
                continue
            outputs = {split: run_engine(engine, data.images) for split, data in splits.items()}
            engine.close()
            if form == ONNX:
                reference = outputs
            found = {split: scores(outputs[split], data) for split, data in splits.items()}
            rows.append(
                FormatFigures(
                    network=name,
                    engine=form,
                    size_bytes=size_of(source.forms[form]),
                    localises=engine.network.grid is not None,
                    agreement=() if form == ONNX else _agreement(engine, reference, outputs),
                    score={split: _headline(score) for split, score in found.items()},
                    loss=_losses(entry, found, rows, name),
                    time_ratio=None if ratios is None else ratios.get((name, form)),
                )
            )
    frames = {split: len(data) for split, data in splits.items()}
    return FormatReport(tuple(rows), frames, tuple(left_out))


def size_of(file: NetworkFile) -> int:
    """Bytes of a network's file, or of a deployment's weight files, without its golden run."""
    if file.path.is_file():
        return file.path.stat().st_size
    return sum(path.stat().st_size for path in file.path.glob("*_weights.hex"))


def formats_text(report: FormatReport) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads, rows and notes of the one table of formats."""
    timed = any(row.time_ratio is not None for row in report.rows)
    heads = ["network, format", "kB", "max (mean) distance from int8 ONNX, LSB"]
    for split in report.splits:
        heads += [f"error, {split}", f"loss, {split}"]
    heads += ["time, measured hot, int8 ONNX = 1"] if timed else []
    rows = []
    for row in report.rows:
        cells = [f"{row.network} {row.engine}", f"{row.size_bytes / 1e3:.0f}", _shown(row)]
        for split in report.splits:
            unit = "" if not row.localises else " of cells"
            cells += [f"{row.score[split]:.3f}{unit}", _percent(row.loss.get(split))]
        if timed:
            cells.append("" if row.time_ratio is None else f"{row.time_ratio:.2f}")
        rows.append(cells)
    frames = ", ".join(f"{count} of {split}" for split, count in report.splits.items())
    notes = [
        f"Frames: {frames}. Error: MAE of x, y, z [m] and phi [rad] summed; of a localiser the "
        "share of right cells. Loss: against the float network, where its error on these frames is "
        "known. LSB: a step of eight bits that span the output on these frames; outputs that are "
        "not named stand together."
    ]
    return heads, rows, [*notes, *report.left_out]


def formats_json(report: FormatReport) -> dict[str, Any]:
    """The report as a document."""
    return {
        "splits": dict(report.splits),
        "formats": [asdict(row) for row in report.rows],
        "left_out": list(report.left_out),
    }


def time_ratios(
    names: Sequence[str], zoo: Path | None, seconds: float
) -> dict[tuple[str, str], float]:
    """Hot time ratios of every format on this machine, by network and engine."""
    from gearshift.runtime.bench.engines import bench_engines

    bench = bench_engines(names, zoo=zoo, seconds=seconds)
    return {
        (timing.network, timing.engine): timing.hot.ratio
        for timing in bench.timings
        if timing.hot.ratio is not None
    }


def _agreement(
    engine: Engine, reference: Mapping[str, FloatArray], outputs: Mapping[str, FloatArray]
) -> tuple[OutputAgreement, ...]:
    if not reference:
        return ()
    onnx = np.concatenate([reference[split] for split in outputs])
    found = agreement(onnx, np.concatenate(list(outputs.values())))
    names = [component.name for component in engine.network.components]
    if engine.network.grid is not None:
        worst = int(found.largest.argmax())
        mean = float(found.mean.mean())
        return (
            OutputAgreement("scores", float(found.step[worst]), float(found.largest[worst]), mean),
        )
    figures = zip(names, found.step, found.largest, found.mean, strict=True)
    return tuple(OutputAgreement(name, *map(float, numbers)) for name, *numbers in figures)


def _headline(found: Mapping[str, float]) -> float:
    return found[SUM] if SUM in found else found["accuracy"]


def _losses(
    entry: Mapping[str, Any],
    found: Mapping[str, Mapping[str, float]],
    rows: Sequence[FormatFigures],
    name: str,
) -> dict[str, float]:
    """Against the manifest's float scores, on splits whose int8 score is the manifest's."""
    onnx = next((r.score for r in rows if r.network == name and r.engine == ONNX), None)
    losses = {}
    for split, here in found.items():
        stored = entry.get("mae", {}).get(split)
        measured = _headline(here) if onnx is None else onnx[split]
        if stored is not None and abs(_headline(stored["int8"]) - measured) <= SAME_DATA:
            losses[split] = relative_loss(stored["float"], here)
    return losses


def _shown(row: FormatFigures) -> str:
    if row.engine == ONNX:
        return "-"
    return ", ".join(f"{a.output} {a.max_lsb:.2f} ({a.mean_lsb:.3f})" for a in row.agreement)


def _percent(loss: float | None) -> str:
    return "" if loss is None else f"{100 * loss:+.2f} %"
