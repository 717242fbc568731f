"""PULP-Frontnet checkpoints of every variant become ONNX networks; other files are refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from gearshift.models.evaluating.inference import run_frames  # noqa: E402
from gearshift.models.formats.frontnet_import import (  # noqa: E402
    CONVOLUTIONS,
    float_onnx,
    int8_onnx,
    read_frontnet,
)
from gearshift.models.formats.gap8_conversion import integers_of_onnx  # noqa: E402
from gearshift.models.formats.gap8_writer import run_integer_frames, write_gap8_folder  # noqa: E402
from gearshift.models.formats.png_frames import read_frames  # noqa: E402
from gearshift.models.zoo_making.import_writer import write_imported  # noqa: E402
from gearshift.runtime.engines.engine_registry import load_engine  # noqa: E402
from gearshift.runtime.engines.gap8_folder import read_gap8_folder  # noqa: E402
from gearshift.runtime.errors import NetworkError  # noqa: E402
from gearshift.runtime.types import FloatArray  # noqa: E402

DATA = Path(__file__).parents[3] / "shared" / "data"
VARIANTS = {"Frontnet160x32": (32, 60), "Frontnet160x16": (16, 60), "Frontnet80x32": (32, 24)}
State = dict[str, Tensor]


def state_of(channels: int, features: int, seed: int = 0) -> State:
    """Random weights and statistics under PULP-Frontnet's names."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    sizes = [(1, channels)] + [
        (channels * a, channels * b) for a, b in ((1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4))
    ]
    state: State = {}
    for (convolution, bn), (inputs, outputs) in zip(CONVOLUTIONS, sizes, strict=True):
        kernel = 5 if convolution == "conv" else 3
        state[f"{convolution}.weight"] = normal(outputs, inputs, kernel, kernel) * 0.1
        state[f"{bn}.weight"] = 1 + 0.2 * normal(outputs)
        state[f"{bn}.bias"] = 0.3 * normal(outputs)
        state[f"{bn}.running_mean"] = torch.zeros(outputs)
        state[f"{bn}.running_var"] = torch.ones(outputs)
        state[f"{bn}.num_batches_tracked"] = torch.tensor(7)
    state["fc.weight"] = 0.03 * normal(4, features * channels)
    state["fc.bias"] = normal(4)
    run_torch(state, images(), measure=True)
    return state


def run_torch(state: State, frames: NDArray[np.uint8], *, measure: bool = False) -> FloatArray:
    """The network as published, written down again; or it measures its statistics."""
    value = torch.tensor(frames)[:, None].float()
    if state["fc.weight"].shape[1] == 24 * len(state["conv.weight"]):
        value = functional.interpolate(value, size=(48, 80), mode="bilinear", align_corners=False)
    for index, (convolution, bn) in enumerate(CONVOLUTIONS):
        weight = state[f"{convolution}.weight"]
        stride = 2 if index == 0 or index % 2 else 1
        value = functional.conv2d(value, weight, None, stride, weight.shape[-1] // 2)
        if measure:
            state[f"{bn}.running_mean"] = value.mean(dim=(0, 2, 3))
            state[f"{bn}.running_var"] = value.var(dim=(0, 2, 3)) + 1e-3
        parts = (state[f"{bn}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        value = functional.relu(functional.batch_norm(value, *parts))
        if index == 0:
            value = functional.max_pool2d(value, 2)
    value = functional.linear(value.flatten(1), state["fc.weight"], state["fc.bias"])
    return np.asarray(value.numpy(), np.float32)


def images(count: int = 6) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(1).integers(0, 232, (count, 12, 20))
    noise = np.random.default_rng(2).integers(0, 24, (count, 96, 160))
    return (coarse.repeat(8, axis=1).repeat(8, axis=2) + noise).astype(np.uint8)


def checkpoint(folder: Path, state: State, **extra: object) -> Path:
    path = folder / "checkpoint.pt"
    torch.save({"model": state, "epoch": 1, **extra}, path)
    return path


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_equals_torch(name: str, tmp_path: Path) -> None:
    state = state_of(*VARIANTS[name])
    network = read_frontnet(checkpoint(tmp_path, state))
    assert network.name == name
    frames = images()
    expected = run_torch(state, frames)
    assert run_frames(float_onnx(network), frames) == pytest.approx(expected, abs=1e-4)
    spread = expected.std(axis=0)
    for calibration in (frames, None):
        content, _ = int8_onnx(network, calibration)
        deviation = np.abs(run_frames(content, frames) - expected).mean(axis=0)
        assert (deviation < 0.25 * spread).all()


@pytest.mark.parametrize(
    ("name", "parameters", "mac"),
    [
        ("Frontnet160x32", 303396, 14138880),
        ("Frontnet160x16", 77972, 4304640),
        ("Frontnet80x32", 298788, 4033536),
    ],
)
def test_it_says_what_it_is(name: str, parameters: int, mac: int, tmp_path: Path) -> None:
    network = read_frontnet(checkpoint(tmp_path, state_of(*VARIANTS[name])))
    content, method = int8_onnx(network)
    path, float_path = write_imported(
        tmp_path / "zoo", network.description(), float_onnx(network), content, method
    )
    for source in (path, float_path):
        engine = load_engine(source)
        described = engine.network
        assert (described.parameters, described.mac) == (parameters, mac)
        assert (described.height, described.width) == (96, 160)
        assert [component.name for component in described.components] == ["x", "y", "z", "phi"]
        assert np.isfinite(engine.run(images()[0])).all()
    assert load_engine(name, tmp_path / "zoo").network.name == name


def test_a_bare_state_dict_is_a_checkpoint_too(tmp_path: Path) -> None:
    torch.save(state_of(4, 60), tmp_path / "state.pt")
    assert read_frontnet(tmp_path / "state.pt", "mine").name == "mine"


@pytest.mark.parametrize("features", [60, 24])
def test_the_integer_network_follows(features: int, tmp_path: Path) -> None:
    network = read_frontnet(checkpoint(tmp_path, state_of(8, features)))
    content, _ = int8_onnx(network, images())
    integers = integers_of_onnx(content, "mine")
    assert integers.halves == (features == 24)
    write_gap8_folder(tmp_path / "gap8", integers, images()[0])
    read, _ = read_gap8_folder(tmp_path / "gap8")
    expected = run_frames(content, images())
    deviation = np.abs(run_integer_frames(read, images()) - expected).max(axis=0)
    assert (deviation < 0.1 * expected.std(axis=0)).all()


class Hostile:
    """What a pickle may hold."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.marker,))


def refusal(path: Path) -> str:
    with pytest.raises(NetworkError) as error:
        read_frontnet(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    assert "no checkpoint of weights alone" in refusal(
        checkpoint(tmp_path, state_of(4, 60), hostile=Hostile(marker))
    )
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile(marker)))
    assert "no checkpoint of weights alone" in refusal(tmp_path / "plain.pt")
    assert not marker.exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.pt")
    for content in (b"", b"text", b"PK\x03\x04" + bytes(50)):
        (tmp_path / "a.pt").write_bytes(content)
        refusal(tmp_path / "a.pt")
    good = checkpoint(tmp_path, state_of(4, 60)).read_bytes()
    (tmp_path / "a.pt").write_bytes(good[: len(good) // 2])
    refusal(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "a.pt")
    assert "holds no state dict" in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fc.weight", None, "lacks fc.weight"),
        ("head.weight", torch.zeros(1), "has head.weight"),
        ("fc.weight", torch.zeros(4, 77), "fit no PULP-Frontnet of 160x96 or 80x48 images"),
        ("conv.weight", torch.zeros(4, 3, 5, 5), "conv.weight is (4, 3, 5, 5)"),
        ("conv.weight", torch.zeros(0, 1, 5, 5), "conv.weight (0, 1, 5, 5)"),
        ("conv.weight", torch.tensor(1.0), "conv.weight ()"),
        ("layer2.conv1.weight", torch.zeros(8, 4, 5, 5), "layer2.conv1.weight is (8, 4, 5, 5)"),
        ("fc.bias", torch.full((4,), float("nan")), "weights of its head are not finite"),
    ],
)
def test_other_shapes_are_refused(
    key: str, value: Tensor | None, message: str, tmp_path: Path
) -> None:
    state = state_of(4, 60)
    if value is None:
        del state[key]
    else:
        state[key] = value
    assert message in refusal(checkpoint(tmp_path, state))


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
@pytest.mark.parametrize("name", ["Frontnet160x32", "Frontnet160x16"])
def test_the_real_checkpoints(name: str) -> None:
    path = DATA / "pulp-frontnet" / f"{name}.pt"
    network = read_frontnet(path)
    assert network.name == name
    frames = read_frames(DATA / "real-frames")
    state = torch.load(path, weights_only=True, map_location="cpu")["model"]
    expected = run_torch(state, frames)
    assert run_frames(float_onnx(network), frames) == pytest.approx(expected, abs=1e-4)
    content, _ = int8_onnx(network)
    for outputs in (
        run_frames(content, frames),
        run_integer_frames(integers_of_onnx(content, name), frames),
    ):
        deviation = np.abs(outputs - expected).mean(axis=0)
        assert (deviation < [0.03, 0.03, 0.01, 0.04]).all()


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_the_real_checkpoint_agrees_with_the_real_deployment() -> None:
    network = read_frontnet(DATA / "pulp-frontnet" / "Frontnet160x32.pt")
    content = (DATA / "gap8-frontnet-160x32" / "inputs.hex").read_bytes()
    frame = np.frombuffer(content, np.uint8).reshape(1, 96, 160)
    # The deployment was trained anew and is quantised; its golden output is x 2.47, y 0.56, z 0.38.
    outputs = run_frames(float_onnx(network), frame)
    assert outputs[0, :3] == pytest.approx([2.47, 0.56, 0.38], abs=0.15)


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"missing\.pt"):
        read_frontnet(tmp_path / "missing.pt")
