from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policies import AUX_SM, OP
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.engines.network import find_network
from gearshift.runtime.ensembles.ensemble_records import (
    ENSEMBLES_NAME,
    EnsembleRecord,
    NetworkReference,
    read_ensemble,
    read_ensembles,
    write_ensembles,
)
from gearshift.runtime.ensembles.loading import load_ensemble
from gearshift.runtime.ensembles.thresholds import resolve_threshold
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import (
    GRID,
    Script,
    ScriptedEngine,
    scripted_calibration,
    scripted_network,
)
from gearshift.runtime.types import Component, Frame, NetworkRole

SMALL, LARGE, AUX = NetworkRole.SMALL, NetworkRole.LARGE, NetworkRole.AUX


def record_of(zoo: Path) -> EnsembleRecord:
    names = {SMALL: "little", LARGE: "big", AUX: "heads"}
    gain = np.linspace(-1, 1, GRID.classes, dtype=np.float32)
    gain[3] = np.nan
    calibration = dataclasses.replace(
        scripted_calibration(),
        head_cell_gain=gain,
        parameters={"anchor.rate": (2.5,), "anchor.gamma": (0.1, 0.2, 0.3, 0.4)},
    )
    return EnsembleRecord(
        name="D1",
        networks={
            role: NetworkReference(name, find_network(name, zoo).sha256)
            for role, name in names.items()
        },
        calibration=calibration,
        thresholds={"op": {"equal-mae": 0.1, "fast": np.inf}, "aux-sm": {"equal-mae": 0.3}},
    )


@pytest.fixture
def zoo(tiny_zoo: Path) -> Path:
    write_ensembles([record_of(tiny_zoo)], tiny_zoo)
    return tiny_zoo


def edit(zoo: Path, change: dict[str, Any]) -> None:
    path = zoo / ENSEMBLES_NAME
    document = json.loads(path.read_text())
    document["ensembles"]["D1"].update(change)
    path.write_text(json.dumps(document))


def test_what_is_written_is_read(zoo: Path) -> None:
    record, written = read_ensemble("D1", zoo), record_of(zoo)
    assert record.networks == written.networks
    assert record.thresholds == written.thresholds
    a, b = record.calibration, written.calibration
    assert (a.components, a.parameters) == (b.components, b.parameters)
    np.testing.assert_array_equal(a.weights, b.weights)
    np.testing.assert_array_equal(a.angular, b.angular)
    np.testing.assert_array_equal(a.head_cell_gain, b.head_cell_gain)
    for role in (SMALL, LARGE):
        np.testing.assert_array_equal(a.standard_deviation[role], b.standard_deviation[role])
    json.loads((zoo / ENSEMBLES_NAME).read_text(), parse_constant=pytest.fail)
    assert not list(zoo.glob("*.part"))


def test_it_flies(zoo: Path) -> None:
    ensemble = load_ensemble("D1", zoo)
    image = np.random.default_rng(0).integers(0, 256, (12, 20), dtype=np.uint8)
    estimate = Scheduler(ensemble, AUX_SM, -1.0).process(Frame(image, 0, 0, "test"))
    np.testing.assert_array_equal(
        np.array(estimate.values, dtype=np.float32), ensemble.large.run(image)
    )
    assert estimate.presence is not None
    ensemble.close()


def test_operating_points(zoo: Path) -> None:
    record = read_ensemble("D1", zoo)
    assert resolve_threshold("fast", record, OP) == np.inf
    with pytest.raises(ConfigurationError, match=r"no operating point 'slow'.*equal-mae, fast"):
        resolve_threshold("slow", record, OP)
    with pytest.raises(ConfigurationError, match=r"no operating point 'fast'.*there are none"):
        resolve_threshold("fast", record, find_policy("every"))


@pytest.mark.parametrize("given", ["0.25", 0.25, " 2.5e-1 "])
def test_a_threshold_is_a_number_or_its_text(zoo: Path, given: float | str) -> None:
    assert resolve_threshold(given, read_ensemble("D1", zoo), OP) == 0.25


def test_a_threshold_that_is_none(zoo: Path) -> None:
    record = read_ensemble("D1", zoo)
    assert resolve_threshold("-inf", record, OP) == -np.inf
    assert resolve_threshold("slow", record, find_policy("always-large")) is None
    for given, said in ((None, "op needs --threshold; "), ("nan", "'nan' is not a number")):
        with pytest.raises(ConfigurationError, match=said):
            resolve_threshold(given, record, OP, wanted="--threshold")


def test_unknown_ensembles_and_missing_files(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown ensemble 'D7'; there are D1"):
        read_ensemble("D7", zoo)
    with pytest.raises(ConfigurationError, match="make figures"):
        read_ensembles(tmp_path)


def test_an_outdated_calibration_is_refused(zoo: Path) -> None:
    manifest = json.loads((zoo / "manifest.json").read_text())
    manifest["networks"]["big"]["sha256"] = "0" * 64
    (zoo / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError, match="calibrated with another big") as error:
        load_ensemble("D1", zoo)
    assert "make figures" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1, 2]}, "2 numbers for 4 outputs"),
        ({"weights": ["many"] * 4}, "damaged"),
        ({"networks": {}}, "lacks a small or a large"),
        ({"components": [{"nom": "x"}]}, "damaged"),
        ({"standard_deviation": {"medium": [1]}}, "damaged"),
        ({"thresholds": 3}, "damaged"),
        ({"parameters": {"anchor.rate": 3}}, "damaged"),
    ],
)
def test_damage_is_one_line(zoo: Path, change: dict[str, Any], message: str) -> None:
    edit(zoo, change)
    with pytest.raises(ConfigurationError, match=message) as error:
        read_ensemble("D1", zoo)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_other_files_are_refused(zoo: Path, text: str) -> None:
    (zoo / ENSEMBLES_NAME).write_text(text)
    with pytest.raises(ConfigurationError, match=ENSEMBLES_NAME):
        read_ensembles(zoo)


def engine(
    components: tuple[Component, ...] = scripted_calibration().components,
    grid: object = None,
    size: tuple[int, int] = (8, 8),
) -> ScriptedEngine:
    network = scripted_network("other", components, GRID if grid else None, size)
    return ScriptedEngine(network, np.zeros((1, network.output_size), dtype=np.float32))


def test_networks_of_an_ensemble_agree() -> None:
    ensemble = Script.random(1).ensemble()
    metres = scripted_calibration().components
    feet = (dataclasses.replace(metres[0], unit="ft"), *metres[1:])
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"large": engine(metres[:3])}, "small gives x, y, z, phi, other x, y, z"),
        ({"large": engine(feet)}, "small gives"),
        ({"large": engine(size=(9, 8))}, "small takes 8x8 frames, other 8x9"),
        ({"large": engine((), grid=True)}, "other is no regression network"),
        ({"aux": engine()}, "other is no head localiser"),
        ({"aux": engine((), grid=True, size=(8, 9))}, "small takes 8x8 frames"),
    )
    for change, message in cases:
        with pytest.raises(NetworkError, match=message):
            dataclasses.replace(ensemble, **change)


def test_a_calibration_for_something_else_is_refused() -> None:
    ensemble = Script.random(1).ensemble()
    three = Calibration.from_components(scripted_calibration().components[:3])
    table = dataclasses.replace(ensemble.calibration, head_cell_gain=np.zeros(9, np.float32))
    for calibration, message in ((three, "not for outputs x, y, z, phi"), (table, "9 entries")):
        with pytest.raises(ConfigurationError, match=message):
            dataclasses.replace(ensemble, calibration=calibration)


def test_any_regression_pair_runs() -> None:
    """Nothing spells out x, y, z, phi: two gates seen from a racing drone work as well."""
    components = (Component("bearing", "rad", True, 0.5), Component("range", "m", scale=2.0))
    script = dataclasses.replace(
        Script.random(10), small=Script.random(10, n=2).small, large=Script.random(10, n=2).large
    )
    ensemble = script.ensemble(calibration=Calibration.from_components(components))
    for name in ("anchor", "op"):
        scheduler = Scheduler(ensemble, find_policy(name), 0.5)
        for frame in script.frames():
            assert len(scheduler.process(frame).values) == 2
