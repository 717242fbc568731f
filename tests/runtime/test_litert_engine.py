"""The LiteRT engine on whichever runtime is installed; CI runs this on tflite-runtime 2.14 too."""

from __future__ import annotations

import gc
import importlib
import json
import re
import shutil
import tracemalloc
import weakref
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gearshift.models.evaluating.agreement import agreement
from gearshift.runtime.engines.engine_conformance import EngineCheck, engine_checks
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.litert_engine import RUNTIMES, LiteRtEngine
from gearshift.runtime.engines.litert_metadata import read_document, stamped
from gearshift.runtime.engines.network import find_network_source, zoo_folder
from gearshift.runtime.errors import (
    ConfigurationError,
    EngineError,
    FrameError,
    MissingExtraError,
    NetworkError,
)
from gearshift.runtime.installation import install_line
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.scheduling.scripted import scripted_network
from gearshift.runtime.types import POSE_COMPONENTS

INSTALLED = [name for name, module in RUNTIMES.items() if find_spec(module.split(".")[0])]
MISSING = [name for name in RUNTIMES if name not in INSTALLED]
NETWORKS = ("F1", "F2", "Frontnet160x24", "M1.0", "aux")
RECORDINGS = Path(__file__).parents[2] / "sim" / "data" / "recordings"

pytestmark = pytest.mark.skipif(not INSTALLED, reason="neither ai-edge-litert nor tflite-runtime")
every_runtime = pytest.mark.parametrize("runtime", INSTALLED)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@cache
def content_of(name: str) -> bytes:
    return find_network_source(name).form("litert").verified_bytes()


def engine_of(name: str, runtime: str) -> LiteRtEngine:
    return LiteRtEngine(content_of(name), f"{name}.tflite", runtime)


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 96, 160), dtype=np.uint8)


def described_as(name: str, document: str) -> bytes:
    """A network of the zoo with another document in place of its own, padded to its length."""
    content = content_of(name)
    own = read_document(content, name).encode()
    assert content.count(own) == 1
    return stamped(content.replace(own, document.encode().ljust(len(own))))


@every_runtime
@pytest.mark.parametrize("name", ["F2", "M1.0", "aux"])
@pytest.mark.parametrize("check", engine_checks(), ids=lambda check: check.__name__)
def test_conformance(check: EngineCheck, name: str, runtime: str) -> None:
    check(lambda: engine_of(name, runtime))


@every_runtime
def test_it_says_what_a_bare_interpreter_says(runtime: str) -> None:
    engine = engine_of("F2", runtime)
    bare: Any = importlib.import_module(RUNTIMES[runtime]).Interpreter(
        model_content=content_of("F2"), num_threads=1
    )
    bare.allocate_tensors()
    for image in images(5):
        bare.set_tensor(bare.get_input_details()[0]["index"], image[None, :, :, None])
        bare.invoke()
        expected = bare.get_tensor(bare.get_output_details()[0]["index"])[0]
        np.testing.assert_array_equal(engine.run(image), expected)


@pytest.fixture(scope="module")
def flown() -> NDArray[np.uint8]:
    """Every frame of the recordings that ship with the repository."""
    paths = sorted(RECORDINGS.glob("*.mcap"))
    return np.stack([entry.frame.image for path in paths for entry in RecordingReader(path)])


@every_runtime
@pytest.mark.parametrize("name", NETWORKS)
def test_it_agrees_with_the_int8_onnx_network(
    name: str, runtime: str, flown: NDArray[np.uint8]
) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # CPUs with AVX2 but without VNNI would add in int16 and saturate.
    options.add_session_config_entry("session.x64quantprecision", "1")
    content = find_network_source(name).form("onnx").verified_bytes()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    reference = [session.run(None, {"image": frame[None, None]})[0][0] for frame in flown]
    engine = engine_of(name, runtime)
    outputs = [engine.run(frame).copy() for frame in flown]
    found = agreement(np.stack(reference), np.stack(outputs))
    if runtime == "ai-edge-litert":
        assert found.largest.max() <= 2
    else:
        # Its own int8 kernels round what lies just below a tie up (docs/models.md).
        assert found.mean.max() <= 1.5


@every_runtime
def test_a_frame_costs_no_memory(runtime: str) -> None:
    engine = engine_of("F2", runtime)
    image = images(1)[0]
    engine.run(image)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(50):
            engine.run(image)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Views of the interpreter's memory, not a copy of the frame's 15 kB.
    assert peak - before < 2000
    assert after - before < 500


@every_runtime
def test_closing_gives_the_interpreter_back(runtime: str) -> None:
    engine = engine_of("F2", runtime)
    held = weakref.ref(engine._interpreter)
    engine.close()
    gc.collect()
    assert held() is None


@every_runtime
def test_a_wrong_frame_names_both_sizes(runtime: str) -> None:
    engine = engine_of("F2", runtime)
    with pytest.raises(FrameError) as error:
        engine.run(np.zeros((12, 20), np.uint8))
    assert "12x20 uint8" in one_line(error)
    assert "96x160 uint8" in str(error.value)


def test_loading_by_name_and_by_path() -> None:
    path = zoo_folder() / "F2.tflite"
    engines = [
        load_engine("F2", engine="litert"),
        load_engine(path),
        load_engine(str(path)),
        load_engine("F2", engine=f"litert:{INSTALLED[0]}"),
    ]
    image = images(1)[0]
    assert len({engine.run(image).tobytes() for engine in engines}) == 1
    assert {engine.network.name for engine in engines} == {"F2"}


def test_what_is_missing_or_changed_is_refused(tmp_path: Path) -> None:
    shutil.copy(zoo_folder() / "manifest.json", tmp_path)
    with pytest.raises(NetworkError, match=r"F2\.tflite: No such file"):
        load_engine("F2", tmp_path, engine="litert")
    (tmp_path / "F2.tflite").write_bytes(content_of("F1"))
    with pytest.raises(NetworkError, match="is not the manifest's") as error:
        load_engine("F2", tmp_path, engine="litert")
    one_line(error)
    with pytest.raises(ConfigurationError, match="there is no such runtime, only ai-edge-litert"):
        load_engine("F2", engine="litert:coral")


@pytest.mark.skipif(not MISSING, reason="every runtime is installed")
def test_a_runtime_that_is_not_installed_is_named() -> None:
    with pytest.raises(MissingExtraError, match=f"pip install {MISSING[0]}"):
        load_engine("F2", engine=f"litert:{MISSING[0]}")


def test_without_any_runtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearshift.runtime.engines.litert_engine.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("litert"))):
        load_engine("F2", engine="litert")


def changed(name: str, **fields: object) -> str:
    """The document of a zoo's network with other fields, in no more characters."""
    document = json.loads(read_document(content_of(name), name))
    return json.dumps({**document, "mae": {}, **fields}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"height": 95}, r"input is uint8 \[1, 96, 160, 1\], .* asks for uint8 \[1, 95, 160, 1\]"),
        ({"components": []}, r"output is float32 \[1, 4\], .* asks for float32 \[1, 0\]"),
        ({"surplus": 1}, "damaged"),
    ],
)
def test_a_wrong_interface_is_refused(fields: dict[str, object], message: str) -> None:
    content = described_as("F2", changed("F2", **fields))
    with pytest.raises(NetworkError, match=message) as error:
        LiteRtEngine(content, "F2.tflite")
    assert one_line(error).startswith("F2.tflite: ")


def test_damaged_metadata_is_refused() -> None:
    with pytest.raises(NetworkError, match="metadata is damaged"):
        LiteRtEngine(described_as("F2", "{"), "F2.tflite")
    content = content_of("F2")
    for key in (b"gearshift\0", b"gearshift.sha256\0"):
        assert content.count(key) >= 1
        other = content.replace(key, b"x" * (len(key) - 1) + b"\0")
        with pytest.raises(NetworkError, match="no 'gearshift' metadata; write it with"):
            LiteRtEngine(other, "F2.tflite")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0\0\0\0TFL3", b"\xff" * 100])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(NetworkError) as error:
        LiteRtEngine(content, "broken.tflite")
    assert one_line(error).startswith("broken.tflite: ")


@given(st.binary(max_size=300))
def test_no_bytes_at_all_get_past_the_reader(tail: bytes) -> None:
    with pytest.raises(NetworkError) as error:
        read_document(tail[:4] + b"TFL3" + tail[4:], "random.tflite")
    one_line(error)


@settings(max_examples=200)
@given(st.data())
def test_a_file_cut_short_is_refused(data: st.DataObject) -> None:
    content = content_of("aux")
    kept = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(NetworkError) as error:
        LiteRtEngine(content[:kept], "aux.tflite")
    one_line(error)


@settings(max_examples=200)
@given(st.data())
def test_a_changed_byte_is_refused_wherever_it_is(data: st.DataObject) -> None:
    content = bytearray(content_of("aux"))
    # Half of the draws hit the tables at the front, not the weights.
    end = data.draw(st.sampled_from((4000, len(content))))
    place = data.draw(st.integers(0, end - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(NetworkError) as error:
        LiteRtEngine(bytes(content), "aux.tflite")
    one_line(error)


def failing_model(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Four numbers from a table that each pixel indexes: a pixel above 9 points past its end."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    writer = importlib.import_module("gearshift.models.formats.tflite_writer")
    kinds, options = schema.BuiltinOperator, schema.BuiltinOptions
    graph = writer._Graph()
    image = graph.tensor("image", np.uint8, (1, 12, 20, 1))
    index = graph.tensor("index", np.int32, (1, 12, 20, 1))
    rows = graph.tensor("rows", np.float32, (1, 12, 20, 1))
    flat = graph.tensor("flat", np.float32, (1, 240))
    output = graph.tensor("output", np.float32, (1, 4))
    table = graph.constant("table", np.arange(10, dtype=np.float32))
    shape, start, size = (
        graph.constant(name, np.array(value, np.int32))
        for name, value in (("shape", [1, 240]), ("start", [0, 0]), ("size", [1, 4]))
    )
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.UINT8, schema.TensorType.INT32
    for kind in (kinds.CAST, kinds.GATHER, kinds.SLICE):
        monkeypatch.setitem(writer._VERSIONS, kind, 1)
    graph.operator(kinds.CAST, [image], index, options.CastOptions, cast)
    gather = schema.GatherOptionsT()
    graph.operator(kinds.GATHER, [table, index], rows, options.GatherOptions, gather)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [1, 240]
    graph.operator(kinds.RESHAPE, [rows, shape], flat, options.ReshapeOptions, reshape)
    cut = schema.SliceOptionsT()
    graph.operator(kinds.SLICE, [flat, start, size], output, options.SliceOptions, cut)
    network = scripted_network("tiny", POSE_COMPONENTS, None, (12, 20))
    content: bytes = graph.finish("tiny", image, output, network.to_json())
    return content


@pytest.mark.skipif(
    find_spec("ai_edge_litert") is None, reason="models are written with ai-edge-litert's schema"
)
def test_failing_at_run_time_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LiteRtEngine(failing_model(monkeypatch), "tiny.tflite")
    image = np.full((12, 20), 3, dtype=np.uint8)
    before = engine.run(image).copy()
    np.testing.assert_array_equal(before, [3, 3, 3, 3])
    image[0, 0] = 10
    with pytest.raises(EngineError, match=r"tiny failed: .*out of bounds") as error:
        engine.run(image)
    one_line(error)
    image[0, 0] = 3
    np.testing.assert_array_equal(engine.run(image), before)
