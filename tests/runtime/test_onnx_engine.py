from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_conformance import EngineCheck, engine_checks
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.onnx_engine import OnnxEngine
from gearshift.runtime.errors import EngineError, FrameError, NetworkError

BuildModel = Callable[..., bytes]


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("check", engine_checks(), ids=lambda check: check.__name__)
def test_conformance(check: EngineCheck, tiny_model: BuildModel) -> None:
    content = tiny_model()
    check(lambda: OnnxEngine(content, "tiny.onnx"))


def test_it_says_what_a_bare_session_says(tiny_model: BuildModel) -> None:
    content = tiny_model()
    engine, session = OnnxEngine(content, "tiny.onnx"), onnxruntime.InferenceSession(content)
    for seed in range(5):
        shape = (engine.network.height, engine.network.width)
        image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        (expected,) = session.run(None, {"image": image[None, None]})
        np.testing.assert_array_equal(engine.run(image), expected[0])


def test_a_wrong_frame_names_both_sizes(tiny_model: BuildModel) -> None:
    engine = OnnxEngine(tiny_model(), "tiny.onnx")
    with pytest.raises(FrameError) as error:
        engine.run(np.zeros((96, 160), dtype=np.uint8))
    assert "96x160 uint8" in one_line(error)
    assert "12x20 uint8" in str(error.value)


def test_failing_at_run_time_is_an_engine_error(tiny_model: BuildModel) -> None:
    engine = OnnxEngine(tiny_model(fails_at_run_time=True), "tiny.onnx")
    image = np.zeros((12, 20), dtype=np.uint8)
    before = engine.run(image).copy()
    image[0, 0] = 9
    with pytest.raises(EngineError, match="tiny failed"):
        engine.run(image)
    image[0, 0] = 0
    np.testing.assert_array_equal(engine.run(image), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": None}, "no 'gearshift' metadata"),
        ({"metadata": "{"}, "damaged"),
        ({"metadata": json.dumps({"schema_version": 99})}, "schema version 99"),
        ({"outputs": 3}, r"output is output tensor\(float\) \[1, 3\]"),
        ({"output_name": "pose"}, "output is pose"),
        ({"input_type": TensorProto.FLOAT}, r"input is image tensor\(float\)"),
    ],
)
def test_a_wrong_interface_is_refused(
    tiny_model: BuildModel, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(NetworkError, match=message) as error:
        OnnxEngine(tiny_model(**changes), "tiny.onnx")
    assert one_line(error).startswith("tiny.onnx: ")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08" + b"\xff" * 100])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(NetworkError) as error:
        OnnxEngine(content, "broken.onnx")
    assert one_line(error).startswith("broken.onnx: ")


def test_loading_by_name_and_by_path(tiny_zoo: Path) -> None:
    engines: list[Engine] = [
        load_engine("little", tiny_zoo),
        load_engine(tiny_zoo / "little.onnx"),
        load_engine(str(tiny_zoo / "little.onnx")),
    ]
    image = np.full((12, 20), 7, dtype=np.uint8)
    assert len({engine.run(image).tobytes() for engine in engines}) == 1
    assert {engine.network.name for engine in engines} == {"little"}


def test_what_is_missing_or_changed_is_refused(tiny_zoo: Path) -> None:
    with pytest.raises(NetworkError, match="unknown network 'F9'"):
        load_engine("F9", tiny_zoo)
    with pytest.raises(NetworkError, match=r"nowhere\.onnx"):
        load_engine(tiny_zoo / "nowhere.onnx")
    path = tiny_zoo / "little.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(NetworkError, match="is not the manifest's") as error:
        load_engine("little", tiny_zoo)
    one_line(error)
