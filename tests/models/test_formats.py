"""The table of formats: agreement, error and size are what the formats' own outputs say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gearshift.models.evaluating.dataset import load_dataset
from gearshift.models.evaluating.evaluation import scores
from gearshift.models.evaluating.inference import run_engine, run_frames
from gearshift.models.formats.format_comparison import (
    FormatReport,
    formats_text,
    measure_formats,
)
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.network import find_network, zoo_folder
from gearshift.runtime.errors import ConfigurationError, NetworkError, RecordingError

from .test_command import run


@pytest.fixture(scope="module")
def report(flights: Path) -> FormatReport:
    return measure_formats(["F2", "aux"], [flights / "val"])


def test_figures_are_those_of_the_outputs(report: FormatReport, flights: Path) -> None:
    data = load_dataset(flights / "val")
    onnx = run_frames(find_network("F2").verified_bytes(), np.asarray(data.images))
    integer = run_engine(load_engine("F2", engine="integer"), np.asarray(data.images))
    row = next(r for r in report.rows if (r.network, r.engine) == ("F2", "integer"))
    assert row.score["val"] == pytest.approx(scores(integer, data)["sum"])
    lsb = (onnx.max(axis=0) - onnx.min(axis=0)) / 255
    assert [a.output for a in row.agreement] == ["x", "y", "z", "phi"]
    expected = np.abs(integer - onnx).max(axis=0) / lsb
    np.testing.assert_allclose([a.max_lsb for a in row.agreement], expected, rtol=1e-3)
    expected = np.abs(integer - onnx).mean(axis=0) / lsb
    np.testing.assert_allclose([a.mean_lsb for a in row.agreement], expected, rtol=1e-3)
    weights = (zoo_folder() / "gap8" / "F2").glob("*_weights.hex")
    assert row.size_bytes == sum(len(path.read_bytes()) for path in weights)


def test_every_form_has_a_row_and_onnx_comes_first(report: FormatReport) -> None:
    engines = [r.engine for r in report.rows if r.network == "aux"]
    assert engines[0] == "onnx"
    assert "integer" in engines
    assert all(not r.agreement for r in report.rows if r.engine == "onnx")
    localiser = next(r for r in report.rows if (r.network, r.engine) == ("aux", "integer"))
    assert localiser.localises
    assert [a.output for a in localiser.agreement] == ["scores"]
    assert 0 <= localiser.score["val"] <= 1


def test_other_frames_have_no_loss(report: FormatReport) -> None:
    """These frames are called val as the zoo's own, whose float errors they must not borrow."""
    assert all(row.loss == {} for row in report.rows)


def test_the_float_error_counts_where_the_frames_are_the_same(
    flights: Path, tmp_path: Path
) -> None:
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "F2.onnx").write_bytes(find_network("F2").verified_bytes())
    manifest = json.loads((zoo_folder() / "manifest.json").read_text())
    entry = {**manifest["networks"]["F2"], "formats": {}}
    (onnx,) = measure_formats(["F2"], [flights / "val"], zoo_folder()).rows[:1]
    int8 = {"x": 0.0, "sum": onnx.score["val"]}
    entry["mae"] = {"val": {"int8": int8, "float": {**int8, "sum": onnx.score["val"] / 1.02}}}
    manifest["networks"] = {"F2": entry}
    (zoo / "manifest.json").write_text(json.dumps(manifest))
    (row,) = measure_formats([], [flights / "val"], zoo).rows
    assert row.loss["val"] == pytest.approx(0.02)


def test_the_command(flights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("formats", "F2", "--data", str(flights / "val"))
    assert run(*arguments, "--seconds", "0") == 0
    shown = capsys.readouterr().out
    assert "F2 integer" in shown
    assert "error, val" in shown
    assert "measured hot" not in shown
    assert run(*arguments, "--seconds", "0.05", "--json") == 0
    onnx, *others = json.loads(capsys.readouterr().out)["formats"]
    assert onnx["time_ratio"] == 1.0
    assert all(other["time_ratio"] > 0 for other in others)


def test_what_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give --data DIR"):
        run("formats", "F2", "--seconds", "0")
    with pytest.raises(RecordingError, match="holds no recordings"):
        run("formats", "F2", "--seconds", "0", "--data", str(tmp_path))
    with pytest.raises(NetworkError, match="unknown network"):
        run("formats", "F9")


def test_a_missing_package_is_a_note(report: FormatReport) -> None:
    without = FormatReport(report.rows, report.splits, ("F2: engine 'litert' needs a package",))
    assert formats_text(without)[2][-1] == "F2: engine 'litert' needs a package"
