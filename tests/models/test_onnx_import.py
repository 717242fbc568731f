"""A user's own ONNX network becomes one of ours, or is refused with a reason."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from gearshift.models.commands import format_command  # noqa: E402
from gearshift.models.evaluating.inference import run_frames  # noqa: E402
from gearshift.models.formats.onnx_import import (  # noqa: E402
    import_onnx,
    parse_components,
    quantise_onnx,
)
from gearshift.runtime.cameras.camera_file import camera_text  # noqa: E402
from gearshift.runtime.engines.engine_conformance import engine_checks  # noqa: E402
from gearshift.runtime.engines.engine_registry import load_engine  # noqa: E402
from gearshift.runtime.engines.onnx_engine import OnnxEngine  # noqa: E402
from gearshift.runtime.errors import ConfigurationError, NetworkError  # noqa: E402
from gearshift.runtime.types import Camera  # noqa: E402

HEIGHT, WIDTH = 24, 40
COMPONENTS = parse_components("x:m,yaw:rad:0.4")


def build(
    *,
    shape: tuple[int | str, ...] = (1, 1, HEIGHT, WIDTH),
    kind: int = TensorProto.FLOAT,
    heads: tuple[int, ...] = (2,),
    output_kind: int = TensorProto.FLOAT,
    opset: int = 17,
    extra_input: bool = False,
    flat: bool = False,
    domain: str = "",
    bias: float = 0.5,
) -> bytes:
    """A convolution, its mean per channel, and linear heads."""
    rng = np.random.default_rng(0)
    channels = int(shape[1]) if shape[1:2] and isinstance(shape[1], int) else 1
    weights = rng.normal(0, 0.2, (4, max(channels, 1), 3, 3)).astype(np.float32)
    constants = [numpy_helper.from_array(weights, "w")]
    nodes = [
        helper.make_node("Cast", ["frame"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["real", "w"], ["c"], pads=[1] * 4, domain=domain),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
    ]
    outputs = []
    for index, size in enumerate(heads):
        head = rng.normal(0, 1, (4, size)).astype(np.float32)
        offset = np.full(size, bias, np.float32)
        constants += [
            numpy_helper.from_array(head, f"h{index}"),
            numpy_helper.from_array(offset, f"b{index}"),
            numpy_helper.from_array(np.array([-1], np.int64), f"s{index}"),
        ]
        nodes.append(helper.make_node("Gemm", ["f", f"h{index}", f"b{index}"], [f"m{index}"]))
        if flat:
            nodes.append(helper.make_node("Reshape", [f"m{index}", f"s{index}"], [f"o{index}"]))
        else:
            nodes.append(helper.make_node("Cast", [f"m{index}"], [f"o{index}"], to=output_kind))
        out_shape = [size] if flat else [shape[0] if shape else 1, size]
        outputs.append(helper.make_tensor_value_info(f"o{index}", output_kind, out_shape))
    inputs = [helper.make_tensor_value_info("frame", kind, list(shape))]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]))
        nodes.append(helper.make_node("Identity", ["speed"], ["unused"]))
    graph = helper.make_graph(nodes, "mine", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=8
    ).SerializeToString()
    return content


def frames(count: int = 5) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, HEIGHT, WIDTH), dtype=np.uint8)


def direct(content: bytes, images: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rows = []
    for image in images:
        parts = session.run(None, {"frame": image[None, None]})
        rows.append(np.concatenate([part.reshape(-1) for part in parts]))
    return np.stack(rows)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"heads": (1, 1)},
        {"heads": (1, 1), "flat": True},
        {"shape": ("batch", 1, HEIGHT, WIDTH)},
        {"opset": 13},
    ],
)
def test_it_computes_what_it_did(changes: dict[str, Any]) -> None:
    content = build(**changes)
    imported = import_onnx(content, "mine", COMPONENTS, "mine.onnx", gain=1 / 255, offset=-0.5)
    scaled = frames().astype(np.float32) * np.float32(1 / 255) - np.float32(0.5)
    assert run_frames(imported, frames()) == pytest.approx(direct(content, scaled), abs=1e-5)
    network = OnnxEngine(imported, "mine").network
    assert (network.height, network.width) == (HEIGHT, WIDTH)
    assert [c.angular for c in network.components] == [False, True]
    assert network.components[1].scale == 0.4
    assert network.mac == HEIGHT * WIDTH * 36 + 8
    assert network.parameters == 36 + 8 + 2
    for check in engine_checks():
        check(lambda: OnnxEngine(imported, "mine"))


def test_a_network_of_bytes_gets_them_as_they_are() -> None:
    content = build(kind=TensorProto.UINT8)
    imported = import_onnx(content, "mine", COMPONENTS, "mine.onnx")
    assert run_frames(imported, frames()) == pytest.approx(direct(content, frames()), abs=1e-4)


def test_int8_stays_near() -> None:
    imported = import_onnx(build(), "mine", COMPONENTS, "mine.onnx", gain=1 / 255)
    quantised = quantise_onnx(imported, frames(16), "mine.onnx")
    kinds = {node.op_type for node in onnx.load_model_from_string(quantised).graph.node}
    assert "DequantizeLinear" in kinds
    expected = run_frames(imported, frames())
    assert run_frames(quantised, frames()) == pytest.approx(expected, abs=0.02)
    with pytest.raises(NetworkError, match="takes 40x24 frames, those to calibrate on are 160x96"):
        quantise_onnx(imported, np.zeros((2, 96, 160), np.uint8), "mine.onnx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (1, 3, HEIGHT, WIDTH)}, "its input is 1x3x24x40, not 1x1xHEIGHTxWIDTH"),
        ({"shape": (2, 1, HEIGHT, WIDTH)}, "its input is 2x1x24x40"),
        ({"shape": (1, 1, "h", "w")}, "its input is 1x1x?x?"),
        ({"kind": TensorProto.FLOAT16}, "its input is float16, not float or uint8"),
        ({"extra_input": True}, "has 2 inputs (frame, speed)"),
        ({"heads": (3,)}, "gives 3 numbers (o0) for 2 named outputs (x, yaw)"),
        ({"heads": (1,)}, "gives 1 numbers"),
        ({"output_kind": TensorProto.INT64}, "its output o0 is no vector of floats"),
        ({"opset": 11}, "opset 11; export it with opset 13 or newer"),
        ({"domain": "my.ops"}, "mine.onnx: "),
        ({"shape": (1, 1, 1 << 30, 160)}, "its input of 1073741824x160 is larger than 16777216"),
        ({"bias": float("nan")}, "a plain grey image gives [nan, nan]"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError) as error:
        import_onnx(build(**changes), "mine", COMPONENTS, "mine.onnx")
    text = str(error.value)
    assert message in text
    assert text.startswith("mine.onnx: ")
    assert "\n" not in text


def test_other_files_are_refused() -> None:
    for content in (b"", b"text", build()[:100]):
        with pytest.raises(NetworkError, match=r"mine\.onnx: "):
            import_onnx(content, "mine", COMPONENTS, "mine.onnx")
    model = onnx.load_model_from_string(build())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    with pytest.raises(NetworkError, match="keeps its weights in other files"):
        import_onnx(model.SerializeToString(), "mine", COMPONENTS, "mine.onnx")


@pytest.mark.parametrize("text", ["", "x", "x:", ":m", "x:m:0", "x:m:nan", "x:m:y", "x:m,x:m"])
def test_outputs_have_names_and_units(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_components(text)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    format_command.register_import(parser.add_subparsers())
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_module = pytest.importorskip("PIL.Image")
    (tmp_path / "mine.onnx").write_bytes(build())
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(frames()):
        image_module.fromarray(frame).save(tmp_path / "frames" / f"{index}.png")
    zoo = tmp_path / "zoo"
    arguments = ("import", "onnx", str(tmp_path / "mine.onnx"), "--outputs", "x:m,yaw:rad")
    assert run(*arguments, "--out", str(zoo)) == 0
    assert "quantise it to int8" in capsys.readouterr().out
    in_float = load_engine("mine", zoo).run(frames()[0]).copy()
    options = ("--name", "other", "--frames", str(tmp_path / "frames"), "--out", str(zoo))
    assert run(*arguments, *options) == 0
    assert load_engine("other", zoo).run(frames()[0]) == pytest.approx(in_float, abs=2)
    assert (zoo / "float" / "other.onnx").exists()
    with pytest.raises(ConfigurationError, match="names no file"):
        run(*arguments, "--name", "../up")
    camera = Camera("theirs", WIDTH, HEIGHT, 20.0, 20.0, 9.5, 5.5)
    file = tmp_path / "camera.toml"
    file.write_text(camera_text(camera))
    assert run(*arguments, "--camera", str(file), "--out", str(zoo)) == 0
    assert load_engine("mine", zoo).network.camera == camera
    file.write_text(camera_text(replace(camera, width=640)))
    with pytest.raises(ConfigurationError, match=f"640x{HEIGHT}, the images are {WIDTH}x{HEIGHT}"):
        run(*arguments, "--camera", str(file), "--out", str(zoo))
