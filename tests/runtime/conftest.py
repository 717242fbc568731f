"""Tiny ONNX networks, built without a training framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gearshift.runtime.engines.network import METADATA_KEY, Network
from gearshift.runtime.scheduling.scripted import GRID, scripted_network
from gearshift.runtime.types import POSE_COMPONENTS, HeadGrid

HEIGHT, WIDTH = 12, 20
BuildModel = Callable[..., bytes]


def build_model(
    name: str = "tiny",
    *,
    outputs: int = len(POSE_COMPONENTS),
    grid: HeadGrid | None = None,
    seed: int = 0,
    metadata: str | None = "own",
    input_type: int = TensorProto.UINT8,
    output_name: str = "output",
    fails_at_run_time: bool = False,
) -> bytes:
    """A linear network: float(image) @ weights, as the contract of `onnx_engine` wants it.

    With `fails_at_run_time`, a first pixel above 0 indexes past the end of a table.
    """
    weights = np.random.default_rng(seed).normal(0, 1e-3, (HEIGHT * WIDTH, outputs))
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
    ]
    constants = [numpy_helper.from_array(weights.astype(np.float32), "weights")]
    last = "product"
    if fails_at_run_time:
        constants += [
            numpy_helper.from_array(np.zeros((1, outputs), dtype=np.float32), "table"),
            numpy_helper.from_array(np.array([0], dtype=np.int64), "zero"),
        ]
        nodes += [
            helper.make_node("Cast", ["flat"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Gather", ["whole", "zero"], ["pixel"], axis=1),
            helper.make_node("Squeeze", ["pixel"], ["index"]),
            helper.make_node("Gather", ["table", "index"], ["row"], axis=0),
            helper.make_node("Add", ["product", "row"], ["sum"]),
        ]
        last = "sum"
    nodes.append(helper.make_node("Identity", [last], [output_name]))
    image = helper.make_tensor_value_info("image", input_type, [1, 1, HEIGHT, WIDTH])
    output = helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [1, outputs])
    graph = helper.make_graph(nodes, name, [image], [output], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata == "own":
        metadata = interface(name, grid).to_json()
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata})
    content = model.SerializeToString()
    assert isinstance(content, bytes)
    return content


def interface(name: str, grid: HeadGrid | None = None) -> Network:
    """What the tiny network says about itself."""
    components = POSE_COMPONENTS if grid is None else ()
    return scripted_network(name, components, grid, (HEIGHT, WIDTH))


@pytest.fixture
def tiny_model() -> BuildModel:
    """`build_model`."""
    return build_model


@pytest.fixture
def tiny_zoo(tmp_path: Path) -> Path:
    """A zoo with networks `little`, `big` and `heads`, and its manifest."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    entries = {}
    for seed, (name, grid) in enumerate((("little", None), ("big", None), ("heads", GRID))):
        outputs = GRID.classes if grid else len(POSE_COMPONENTS)
        content = build_model(name, outputs=outputs, grid=grid, seed=seed)
        (zoo / f"{name}.onnx").write_bytes(content)
        entries[name] = {
            "file": f"{name}.onnx",
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    manifest = {"schema_version": 1, "networks": entries}
    (zoo / "manifest.json").write_text(json.dumps(manifest))
    return zoo
