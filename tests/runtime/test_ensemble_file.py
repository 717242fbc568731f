"""Ensembles from TOML: what is found, what has precedence, and errors that name the line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearshift.runtime.decide.policies import AUX_SM, OP
from gearshift.runtime.engines.network import zoo_folder
from gearshift.runtime.engines.onnx_engine import OnnxEngine
from gearshift.runtime.ensembles.ensemble_file import calibration_path, load_ensemble_file
from gearshift.runtime.ensembles.ensemble_records import write_records
from gearshift.runtime.ensembles.loading import load_ensemble
from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import GRID
from gearshift.runtime.types import Frame, NetworkRole

SMALL, LARGE, AUX = NetworkRole.SMALL, NetworkRole.LARGE, NetworkRole.AUX
PLAIN = """\
schema_version = 1
[small]
network = "zoo/little.onnx"
[large]
network = "big"
"""
WITH_AUX = PLAIN + '[aux]\nnetwork = "heads"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def refused(path: Path, zoo: Path) -> str:
    with pytest.raises(GearshiftError) as error:
        load_ensemble_file(path, zoo)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_it_flies(tiny_zoo: Path, tmp_path: Path) -> None:
    path = write(tmp_path, WITH_AUX)
    ensemble = load_ensemble(str(path), tiny_zoo)
    assert ensemble.name == "mine"
    assert {role: r.name for role, r in ensemble.networks.items()} == {
        SMALL: "little",
        LARGE: "big",
        AUX: "heads",
    }
    assert ensemble.engines == {SMALL: "onnx", LARGE: "onnx", AUX: "onnx"}
    image = np.random.default_rng(0).integers(0, 256, (12, 20), dtype=np.uint8)
    estimate = Scheduler(ensemble, AUX_SM, -1.0).process(Frame(image, 0, 0, "test"))
    np.testing.assert_array_equal(
        np.array(estimate.values, dtype=np.float32), ensemble.large.run(image)
    )
    ensemble.close()


def test_without_a_calibration_nothing_is_made_up(tiny_zoo: Path, tmp_path: Path) -> None:
    ensemble = load_ensemble_file(write(tmp_path, PLAIN), tiny_zoo)
    components = ensemble.small.network.components
    np.testing.assert_array_equal(
        ensemble.calibration.weights, np.array([1 / c.scale for c in components], np.float32)
    )
    assert ensemble.calibration.standard_deviation == {}
    assert ensemble.thresholds == {}
    frame = Frame(np.zeros((12, 20), dtype=np.uint8), 0, 0, "test")
    estimate = Scheduler(ensemble, OP, 0.0).process(frame)
    assert np.isfinite(estimate.values).all()
    assert np.isnan(estimate.standard_deviation).all()


def test_what_the_file_says_is_used(tiny_zoo: Path, tmp_path: Path) -> None:
    text = (
        "schema_version = 1\nname = 'other'\n"
        "[small]\nnetwork = 'little'\nstandard_deviation = {x = 0.5, phi = 1}\n"
        "[large]\nnetwork = 'big'\n[aux]\nnetwork = 'heads'\n"
        "[weights]\ny = 7\n"
        "[parameters]\nanchor.rate = 2\nanchor.alpha_small = [0.1, 0.2, 0.3, 0.4]\n"
        "'mine.own' = 3.5\n[thresholds.op]\nfast = inf\neasy = 0.5\n"
    )
    ensemble = load_ensemble_file(write(tmp_path, text), tiny_zoo)
    assert ensemble.name == "other"
    weights = [1 / c.scale for c in ensemble.small.network.components]
    weights[1] = 7
    np.testing.assert_array_equal(ensemble.calibration.weights, np.array(weights, np.float32))
    deviation = ensemble.calibration.standard_deviation
    np.testing.assert_array_equal(deviation[SMALL], np.array([0.5, np.nan, np.nan, 1], np.float32))
    assert LARGE not in deviation
    assert ensemble.calibration.parameters == {
        "anchor.rate": (2.0,),
        "anchor.alpha_small": (0.1, 0.2, 0.3, 0.4),
        "mine.own": (3.5,),
    }
    assert ensemble.thresholds == {"op": {"fast": np.inf, "easy": 0.5}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PLAIN.replace("network = 'big'", "").replace('"big"', '"bigg"'),
            ":5: unknown network 'bigg'; the zoo has big, heads, little",
        ),
        (PLAIN.replace('"big"', '"b.onnx"'), ":5: "),
        (PLAIN.replace("[large]", "[larg]"), ":4: key 'larg' is unknown; did you mean 'large'?"),
        (
            PLAIN + 'engin = "onnx"\n',
            ":6: key 'large.engin' is unknown; did you mean 'engine'?",
        ),
        (
            PLAIN + 'engine = "onx"\n',
            ":6: unknown engine 'onx'; did you mean 'onnx'?",
        ),
        (PLAIN + 'engine = "integer"\n', ":6: big has no integer form"),
        (
            PLAIN + "[weights]\nx = 1\nq = 2\n",
            ":8: 'weights.q' is no output of these networks; there are x, y, z, phi",
        ),
        (PLAIN + "[weights]\nx = -1\n", ":7: 'weights.x' is -1; expected a number >= 0.0"),
        (
            PLAIN + "[large.standard_deviation]\nphy = 1\n",
            ":7: 'large.standard_deviation.phy' is no output of these networks; "
            "did you mean 'phi'?",
        ),
        (
            PLAIN + "[parameters]\nanchor.rat = 1\n",
            ":7: parameter 'anchor.rat' is unknown; did you mean 'anchor.rate' or 'anchor.gamma'?",
        ),
        (
            PLAIN + "[parameters]\nanchor.rate = 'fast'\n",
            ":7: 'parameters.anchor.rate' must be a number or a list of numbers",
        ),
        (
            PLAIN + "[thresholds.op]\neasy = 'low'\n",
            ":7: 'thresholds.op.easy' is \"low\"; expected a number",
        ),
        (PLAIN + "[weights]\nx = nan\n", ":7: 'weights.x' is nan"),
        (PLAIN + "[small.standard_deviation]\nx = inf\n", ":7: 'small.standard_deviation.x' is"),
        (PLAIN + "[thresholds.op]\neasy = nan\n", ":7: 'thresholds.op.easy' is nan"),
        (PLAIN.replace('"big"', "''"), ":5: unknown network ''"),
        (PLAIN.replace('"big"', r'"./a\u0000b"'), ":5: "),
        (PLAIN.replace('"big"', r'"a\u0000b"'), ":5: unknown network"),
        (PLAIN.replace('"big"', f'"./{"n" * 5000}"'), ":5: "),
        (PLAIN + "[aux]\nnetwork = 'little'\n", ": mine: little is no head localiser"),
        (
            WITH_AUX + "head_cell_gain = [1]\n",
            ":8: key 'aux.head_cell_gain' is unknown; there are network, engine",
        ),
        (
            "head_cell_gain = [1, 2]\n" + WITH_AUX,
            f": mine: head_cell_gain has 2 entries for {GRID.classes} classes",
        ),
        (PLAIN.replace('"big"', '"heads"'), ": mine: heads is no regression network"),
    ],
)
def test_what_is_wrong_is_named(tiny_zoo: Path, tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    said = refused(path, tiny_zoo)
    assert said.startswith(str(path))
    assert said.removeprefix(str(path)).startswith(message)


def test_a_file_beside_needs_a_slash(tiny_zoo: Path, tmp_path: Path) -> None:
    shutil.copytree(zoo_folder() / "gap8" / "F2", tmp_path / "folder")
    said = refused(write(tmp_path, PLAIN.replace('"big"', '"folder"')), tiny_zoo)
    assert said.endswith("for the one beside this file write './folder'")


def test_two_networks_of_one_name_are_refused(tiny_zoo: Path, tmp_path: Path) -> None:
    content = (tiny_zoo / "big.onnx").read_bytes()
    (tmp_path / "copy.onnx").write_bytes(content + b"\x0a\x00")
    path = write(tmp_path, PLAIN.replace("zoo/little.onnx", "copy.onnx"))
    said = refused(path, tiny_zoo)
    assert "small and large are different networks of one name, big" in said


def test_what_was_opened_before_an_error_is_closed(
    tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    close = OnnxEngine.close

    def counted(engine: OnnxEngine) -> None:
        closed.append(engine.network.name)
        close(engine)

    monkeypatch.setattr(OnnxEngine, "close", counted)
    refused(write(tmp_path, PLAIN + "engine = 'integer'\n"), tiny_zoo)
    assert closed == ["little"]
    refused(write(tmp_path, PLAIN + "[weights]\nq = 1\n"), tiny_zoo)
    assert closed == ["little", "little", "big"]


def test_every_network_can_have_its_engine(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'schema_version = 1\n[small]\nnetwork = "F2"\nengine = "integer"\n'
        '[large]\nnetwork = "F1"\n',
    )
    assert load_ensemble_file(path).engines == {SMALL: "integer", LARGE: "onnx"}
    everywhere = load_ensemble(str(path), engine="integer")
    assert everywhere.engines == {SMALL: "integer", LARGE: "integer"}
    # The network is the same whatever runs it.
    assert everywhere.networks == load_ensemble_file(path).networks


def test_a_calibration_is_read_from_beside(tiny_zoo: Path, tmp_path: Path) -> None:
    path = write(tmp_path, WITH_AUX + "[thresholds.op]\nmine = 2\n[weights]\nx = 3\n")
    plain = load_ensemble_file(path, tiny_zoo)
    calibration = dataclasses.replace(
        plain.calibration,
        weights=np.array([9, 8, 7, 6], np.float32),
        head_cell_gain=np.linspace(0, 1, GRID.classes, dtype=np.float32),
        standard_deviation={SMALL: np.array([1, 2, 3, 4], np.float32)},
        parameters={"anchor.rate": (5.0,)},
    )
    learnt = dataclasses.replace(
        plain.record,
        calibration=calibration,
        thresholds={"op": {"easy": 1.0}, "anchor": {"easy": 2.0}},
    )
    write_records(calibration_path(path), [learnt])
    ensemble = load_ensemble_file(path, tiny_zoo)
    np.testing.assert_array_equal(ensemble.calibration.weights, np.array([3, 8, 7, 6], np.float32))
    np.testing.assert_array_equal(ensemble.calibration.head_cell_gain, calibration.head_cell_gain)
    assert ensemble.calibration.parameters == {"anchor.rate": (5.0,)}
    assert ensemble.thresholds == {"op": {"easy": 1.0, "mine": 2.0}, "anchor": {"easy": 2.0}}
    assert load_ensemble_file(path, tiny_zoo, calibrated=False).thresholds == {"op": {"mine": 2.0}}

    path.write_text(path.read_text().replace("zoo/little.onnx", "zoo/big.onnx"))
    said = refused(path, tiny_zoo)
    assert "mine.calibration.json: was made with another small network (little" in said
    assert f"run `gearshift ensemble calibrate {path} --data FLIGHTS` or remove it" in said
    path.write_text(PLAIN)
    assert "was made with another aux network (heads" in refused(path, tiny_zoo)
    for text in ("{", '{"schema_version": 1, "ensembles": {}}', '{"schema_version": 9}'):
        calibration_path(path).write_text(text)
        assert "mine.calibration.json" in refused(path, tiny_zoo)


def inline(value: object) -> str:
    """A value in TOML; strings as JSON writes them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


WORDS = st.sampled_from(
    ["little", "big", "heads", "./x", "a.onnx", "onnx", "x", "op", "anchor.rate"]
)
VALUES = st.recursive(
    st.one_of(WORDS, st.integers(-2, 2), st.floats(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["name", "small", "large", "aux", "weights", "head_cell_gain", "parameters", "thresholds"]
)
ENTRIES = st.fixed_dictionaries(
    {"network": st.sampled_from(["little", "big", "heads"])},
    optional={"engine": WORDS, "standard_deviation": VALUES, "other": VALUES},
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {"schema_version": st.just(1), "small": ENTRIES, "large": ENTRIES},
        optional={"aux": ENTRIES},
    ),
    st.dictionaries(KEYS, VALUES, max_size=2),
)
def test_any_file_is_flown_or_refused(
    tiny_zoo: Path, tmp_path: Path, good: dict[str, object], changed: dict[str, object]
) -> None:
    document = {**good, **changed}
    path = write(tmp_path, "".join(f"{k} = {inline(v)}\n" for k, v in document.items()))
    try:
        ensemble = load_ensemble_file(path, tiny_zoo)
    except GearshiftError as error:
        said = str(error)
    else:
        said = str(path)
        ensemble.close()
    assert said.startswith(str(path))
    assert "\n" not in said
