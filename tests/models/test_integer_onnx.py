"""Integer ONNX networks: read as the board computes them, or refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="needs the extra 'train'")

from onnx import NodeProto, TensorProto, helper, numpy_helper  # noqa: E402

from gearshift.models.formats.gap8_import import import_gap8  # noqa: E402
from gearshift.models.formats.integer_onnx import read_integer_onnx  # noqa: E402
from gearshift.runtime.engines.integer_engine import layer_outputs  # noqa: E402
from gearshift.runtime.errors import (  # noqa: E402
    ConfigurationError,
    GearshiftError,
    NetworkError,
)
from gearshift.runtime.types import Component  # noqa: E402

SHARED = Path(os.environ.get("GEARSHIFT_DATA", Path(__file__).parents[3] / "shared" / "data"))
COMPONENTS = tuple(Component(name, "m", False, 1.0) for name in "ab")


class Graph:
    """Builds an integer ONNX chain node by node and computes it in int64 beside."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.value = "image"
        self.image = rng.integers(0, 256, (height, width)).astype(np.uint8)
        self.activation = self.image[None].astype(np.int64)  # (channels, height, width)
        self.activations: list[np.ndarray] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def add(self, kind: str, *constants: str, **attributes: object) -> None:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.value, *constants], [output], **attributes))
        self.value = output

    def convolution(self, out: int, kernel: int, stride: int, shift: int, times: int) -> None:
        rng, channels = self.rng, len(self.activation)
        padding = kernel // 2
        weight = rng.integers(-60, 60, (out, channels, kernel, kernel))
        kappa, lambda_ = rng.integers(1, 2048, out), rng.integers(-(10**6), 10**6, out)
        shape = {"strides": [stride] * 2, "pads": [padding] * 4, "kernel_shape": [kernel] * 2}
        self.add("Conv", self.constant(weight), **shape)
        self.add("Mul", self.constant(kappa.reshape(1, out, 1, 1)))
        self.add("Add", self.constant(lambda_.reshape(1, out, 1, 1)))
        if times != 1:
            self.add("Cast", to=TensorProto.INT64)
            self.add("Mul", self.constant(np.array(times)))
        # Exporters write one less than the power of two: float32 rounds it.
        self.add("Div", self.constant(np.array(2**shift - 1 if shift <= 24 else 2**shift)))
        self.add("Clip", min=0.0, max=255.0)
        padded = np.pad(self.activation, ((0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))
        sums = np.einsum("chwij,ocij->ohw", windows[:, ::stride, ::stride], weight)
        scaled = (kappa[:, None, None] * sums + lambda_[:, None, None]) * times
        self.keep(np.clip(scaled >> shift, 0, 255))

    def pool(self) -> None:
        self.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        channels, height, width = (
            n // d * d for n, d in zip(self.activation.shape, (1, 2, 2), strict=True)
        )
        cut = self.activation[:, :height, :width]
        self.keep(cut.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4)))

    def connected(self, outputs: int = len(COMPONENTS)) -> None:
        weight = self.rng.integers(-60, 60, (outputs, self.activation.size))
        bias = self.rng.integers(-1000, 1000, outputs)
        self.add("Flatten", axis=1)
        self.add("Gemm", self.constant(weight), self.constant(bias), transB=1)
        self.keep((weight @ self.activation.ravel() + bias)[:, None, None])

    def keep(self, activation: np.ndarray) -> None:
        self.activation = activation
        self.activations.append(activation)

    def content(self) -> bytes:
        shape = [1, 1, *self.image.shape]
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)],
            self.initializers,
        )
        return bytes(helper.make_model(graph).SerializeToString())


def usual(seed: int = 0) -> Graph:
    graph = Graph(np.random.default_rng(seed), 12, 20)
    graph.convolution(3, 5, 2, 24, 55)
    graph.pool()
    graph.convolution(4, 3, 1, 23, 1)
    graph.connected()
    return graph


@given(
    seed=st.integers(0, 2**32 - 1),
    layers=st.lists(
        st.tuples(
            st.integers(1, 5), st.sampled_from((1, 3, 5)), st.integers(1, 2), st.integers(16, 30)
        ),
        min_size=1,
        max_size=3,
    ),
    times=st.sampled_from((1, 38, 64)),
)
def test_every_activation_is_the_boards(
    seed: int, layers: list[tuple[int, int, int, int]], times: int
) -> None:
    graph = Graph(np.random.default_rng(seed), 12, 20)
    for layer in layers:
        graph.convolution(*layer, times)
    graph.connected()
    network = read_integer_onnx(graph.content(), "mine", "mine.onnx", (1.0, 2.0), COMPONENTS)
    found = layer_outputs(network, graph.image)
    for expected, output in zip(graph.activations, found, strict=True):
        # ONNX has channels first, the board channels last.
        wanted = expected.transpose(1, 2, 0).ravel()
        np.testing.assert_array_equal(np.asarray(output, np.int64).ravel(), wanted)


def test_pooling_and_the_description() -> None:
    graph = usual()
    network = read_integer_onnx(graph.content(), "mine", "mine.onnx", (1.0, 2.0), COMPONENTS)
    assert [layer.geometry.shift for layer in network.layers[::2]] == [24, 23]
    assert (network.network.name, network.network.height, network.network.width) == ("mine", 12, 20)
    np.testing.assert_array_equal(
        np.asarray(layer_outputs(network, graph.image)[1]).ravel(),
        graph.activations[1].transpose(1, 2, 0).ravel(),
    )


def broken(change: str) -> bytes:
    graph = usual()
    if change == "float":
        graph.initializers[0].CopyFrom(
            numpy_helper.from_array(np.full((3, 1, 5, 5), 0.5, np.float32), "c0")
        )
    if change == "wide":
        graph.initializers[0].CopyFrom(
            numpy_helper.from_array(np.full((3, 1, 5, 5), 300, np.float32), "c0")
        )
    if change == "divisor":
        graph.nodes[5].input[1] = graph.constant(np.array(1000))
    if change == "clip":
        graph.nodes[6].attribute[1].f = 127.0
    if change == "scaled":
        graph.add("Mul", graph.constant(np.array(2)))
    if change == "branch":
        graph.nodes[7].input[0] = "v0"
    return graph.content()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("float", "not whole"),
        ("wide", "beyond 8 bits"),
        ("divisor", "divided by 1000, which is no power of two"),
        ("clip", "bytes are 0..255"),
        ("scaled", "changes its outputs"),
        ("branch", "no chain"),
    ],
)
def test_what_is_no_such_chain_is_refused(change: str, said: str) -> None:
    with pytest.raises(NetworkError, match=said) as error:
        read_integer_onnx(broken(change), "mine", "mine.onnx", (1.0, 2.0), COMPONENTS)
    assert str(error.value).startswith("mine.onnx: ")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(NetworkError, match="no ONNX model"):
        read_integer_onnx(b"\x80\x81not a model", "mine", "mine.onnx", (1.0,), COMPONENTS)


def test_scales_are_never_invented(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(usual().content())
    with pytest.raises(ConfigurationError, match="--output-scales"):
        import_gap8(path)
    with pytest.raises(ConfigurationError, match="--shifts"):
        import_gap8(path, scales=(1.0, 1.0, 1.0, 1.0), shifts=(24, 24))


@pytest.mark.skipif(not (SHARED / "nas-frontnet").is_dir(), reason="needs ../shared/data")
def test_every_golden_number_of_a_published_network_is_met(tmp_path: Path) -> None:
    folder = SHARED / "nas-frontnet"
    scales = (1e-5,) * 4
    found = import_gap8(folder / "Frontnet.onnx", scales=scales, golden_folder=folder)
    assert found.run.outputs.tolist() == [4760, -8060, -10520, -3277]
    assert "all 175699 numbers of 9 layers are met" in found.notes[-1]
    wrong = tmp_path / "golden"
    wrong.mkdir()
    for path in folder.glob("*.txt"):
        (wrong / path.name).write_text(path.read_text())
    layer = wrong / "out_layer3.txt"
    layer.write_text(layer.read_text().replace("6.000", "7.000", 1))
    with pytest.raises(NetworkError, match=r"out_layer3.txt: layer 3 differs in 1 of 7680"):
        import_gap8(folder / "Frontnet.onnx", scales=scales, golden_folder=wrong)


@pytest.mark.skipif(not (SHARED / "gap8-frontnet-imrc").is_dir(), reason="needs ../shared/data")
def test_shifts_that_a_folder_does_not_say_have_to_be_given() -> None:
    folder = SHARED / "gap8-frontnet-imrc"
    scales = (1e-5,) * 4
    with pytest.raises(NetworkError, match="give --shifts"):
        import_gap8(folder, scales=scales)
    with pytest.raises(NetworkError, match="6 shifts for 7 convolutions"):
        import_gap8(folder, scales=scales, shifts=(24,) * 6)
    right = import_gap8(folder, scales=scales, shifts=(24, 23, 23, 23, 23, 24, 22))
    wrong = import_gap8(folder, scales=scales, shifts=(24,) * 7)
    assert right.run.outputs.tolist() == [6753, -22100, 2515, -17347]
    assert wrong.run.outputs.tolist() != right.run.outputs.tolist()


@pytest.mark.skipif(not (SHARED / "nas-frontnet").is_dir(), reason="needs ../shared/data")
def test_fitted_scales_say_how_well_they_fit() -> None:
    pytest.importorskip("cv2", reason="reads PNG files")
    from gearshift.models.formats.png_frames import read_frames

    frames = read_frames(SHARED / "real-frames")
    found = import_gap8(SHARED / "nas-frontnet" / "Frontnet.onnx", fit=("F1", frames))
    assert (found.network.output_scale > 0).all()
    assert len(found.notes) == 4
    assert found.notes[0].startswith("x: scale ")
    with pytest.raises(GearshiftError, match="runs against"):
        import_gap8(SHARED / "nas-frontnet" / "Frontnet.onnx", fit=("F1", 255 - frames))
