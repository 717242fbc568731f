from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gearshift.runtime.engines.network import METADATA_KEY, Network
from gearshift.runtime.ensembles.ensemble_records import write_ensembles
from gearshift.runtime.ensembles.profile import NetworkProfile, Profile, ProfileKind, write_profile
from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import POSE_COMPONENTS, Frame, GroundTruth, HeadGrid
from gearshift.sim.calibrate.ensemble_calibration import calibrate_ensembles
from gearshift.sim.figures.rebuild import ENSEMBLES
from gearshift.sim.traces import make_trace
from gearshift.sim.traces.trace import Trace, TracedFlight, TracedNetwork, read_trace, write_trace

from ..conftest import SharedFolder

GRID = HeadGrid()
BIAS = {"F1": 0.8, "F2": 1.0, "M1.0": 0.75}
SCALES = (0.9, 0.4, 0.3, 0.8)

TraceFactory = Callable[..., Trace]


def network(name: str, *, aux: bool = False) -> TracedNetwork:
    components = tuple(replace(c, scale=s) for c, s in zip(POSE_COMPONENTS, SCALES, strict=True))
    return TracedNetwork(
        Network(
            name=name,
            height=96,
            width=160,
            components=() if aux else components,
            grid=GRID if aux else None,
            frame_of_reference="drone_level",
            camera=None,
            architecture="synthetic",
            parameters=1,
            mac=1,
            training_set="none",
            licence="CC0-1.0",
        ),
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )


def correlated(rng: np.random.Generator, frames: int, flights: int, width: int) -> np.ndarray:
    """(flights, frames, width) noise that drifts slowly: an AR(1) of unit variance."""
    noise = rng.standard_normal((flights, frames, width))
    for index in range(1, frames):
        noise[:, index] = 0.9 * noise[:, index - 1] + np.sqrt(1 - 0.81) * noise[:, index]
    return noise


def build_trace(
    seed: int = 0, flights: int = 12, frames: int = 24, split: str = "val", empty: bool = True
) -> Trace:
    """Flights whose networks err slowly, small more so where the person moves fast."""
    rng = np.random.default_rng(seed)
    scale = np.array(SCALES)
    truth = np.array([1.8, 0.0, 0.1, 0.0]) + 0.5 * scale * correlated(rng, frames, flights, 4)
    hard = np.abs(correlated(rng, frames, flights, 1))
    outputs = {}
    for name, bias in BIAS.items():
        error = 0.2 * bias * scale * correlated(rng, frames, flights, 4)
        if name != "M1.0":
            error *= 0.4 + 0.75 * hard
        outputs[name] = (truth + error).reshape(-1, 4).astype(np.float32)
    cell = rng.integers(0, GRID.no_head, (flights, frames))
    visible = np.ones((flights, frames), dtype=np.bool_)
    if empty:
        truth[::4, frames // 2 : frames // 2 + 4] = np.nan
        visible[::4, frames // 2 : frames // 2 + 4] = False
        cell[::4, frames // 2 : frames // 2 + 4] = GRID.no_head
    scores = rng.standard_normal((flights, frames, GRID.classes))
    np.put_along_axis(scores, cell[..., None], 3.0, axis=-1)
    outputs["aux"] = scores.reshape(-1, GRID.classes).astype(np.float32)
    time_ns = np.arange(frames, dtype=np.int64) * 66_666_667
    networks = {name: network(name, aux=name == "aux") for name in outputs}
    return Trace(
        split=split,
        components=networks["F1"].network.components,
        networks=networks,
        outputs=outputs,
        time_ns=np.tile(time_ns, flights),
        flight=np.repeat(np.arange(flights, dtype=np.int32), frames),
        flights=tuple(
            TracedFlight(f"{split}-{i:03d}.mcap", f"room{i % 3}", f"person{i % 4}")
            for i in range(flights)
        ),
        truth=truth.reshape(-1, 4).astype(np.float32),
        visible=visible.reshape(-1),
        head_cell=cell.reshape(-1).astype(np.int16),
    )


@dataclass(frozen=True)
class World:
    """Tiny real networks, recordings whose pixels tell the truth, and what derives from them."""

    zoo: Path
    flights: Path
    traces: Path

    def run(self, *arguments: str) -> int:
        """One command, in-process, as the command line would run it."""
        command, *rest = arguments
        module = importlib.import_module(f"gearshift.sim.commands.{command}_command")
        parser = argparse.ArgumentParser(prog=command)
        module.register(parser)
        options = parser.parse_args(rest)
        try:
            return int(options.run(options))
        except GearshiftError as error:
            sys.stderr.write(f"gearshift: {error}\n")
            return 1


HEIGHT, WIDTH = 12, 20
BLOCK = HEIGHT * WIDTH // 4
READS = {"F1": 8, "F2": 4, "M1.0": 12}
CENTRE = np.array([1.8, 0.0, 0.1, 0.0])


def pixels(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image of which every component fills a quarter, with noise; grey without a person."""
    level = np.nan_to_num((truth - CENTRE) / np.array(SCALES))
    values = 128 + 30 * np.repeat(level, BLOCK) + 12 * rng.standard_normal(4 * BLOCK)
    return values.clip(0, 255).astype(np.uint8).reshape(HEIGHT, WIDTH)


def reader(name: str, seed: int) -> bytes:
    """A linear network that averages some of the pixels that tell each component."""
    rng = np.random.default_rng(seed)
    aux = name == "aux"
    size = GRID.classes if aux else 4
    weights, bias = np.zeros((4 * BLOCK, size)), np.zeros(size)
    if aux:
        weights, bias = rng.normal(0, 0.02, weights.shape), rng.normal(0, 0.1, size)
        bias -= 128 * weights.sum(axis=0)
    else:
        for i, scale in enumerate(SCALES):
            chosen = i * BLOCK + rng.choice(BLOCK, READS[name], replace=False)
            weights[chosen, i] = scale / 30 / READS[name]
            bias[i] = CENTRE[i] - 128 * scale / 30
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(weights.astype(np.float32), "weights"),
        numpy_helper.from_array(bias.astype(np.float32), "bias"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, HEIGHT, WIDTH])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, size])
    graph = helper.make_graph(nodes, name, [image], [output], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    described = replace(network(name, aux=aux).network, height=HEIGHT, width=WIDTH)
    helper.set_model_props(model, {METADATA_KEY: described.to_json()})
    content = model.SerializeToString()
    assert isinstance(content, bytes)
    return content


def record_flight(path: Path, seed: int, split: str, frames: int = 20, truth: bool = True) -> None:
    rng = np.random.default_rng(seed)
    poses = CENTRE + 0.7 * np.array(SCALES) * correlated(rng, frames, 1, 4)[0]
    attributes = {"split": split, "room": f"room{seed % 3}", "person": f"person{seed % 2}"}
    with RecordingWriter(path, camera=None, attributes=attributes) as writer:
        for i, pose in enumerate(poses):
            gone = seed % 2 == 0 and i in (11, 12)
            values = np.full(4, np.nan) if gone else pose
            known = GroundTruth(
                values=tuple(values.tolist()),
                visible=not gone,
                head_pixel=None if gone else (10.0, 6.0),
                head_cell=GRID.no_head if gone else int(rng.integers(0, GRID.no_head)),
            )
            frame = Frame(pixels(values, rng), 1_000_000_000 + i * 66_666_667, i, path.name)
            writer.write_frame(frame, known if truth else None)


@pytest.fixture(scope="session")
def record() -> Callable[..., None]:
    return record_flight


@pytest.fixture(scope="session")
def world(shared_folder: SharedFolder) -> World:
    root = shared_folder("world", make_world)
    return World(*(root / name for name in ("zoo", "flights", "traces")))


def make_world(root: Path) -> None:
    zoo, flights, traces = (root / name for name in ("zoo", "flights", "traces"))
    for folder in (zoo, traces):
        folder.mkdir()
    entries, profiles = {}, {}
    for seed, (name, ms) in enumerate((("F1", 9.0), ("F2", 4.0), ("M1.0", 20.0), ("aux", 0.8))):
        content = reader(name, seed)
        (zoo / f"{name}.onnx").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        entries[name] = {
            "file": f"{name}.onnx",
            "sha256": sha256,
            "mac": round(1e6 * ms),
            "parameters": 1000,
            "architecture": "linear",
        }
        profiles[name] = NetworkProfile(sha256, ms, ms, ms, ms, ms, 0, 0.1 * ms, 0.9 * ms, 1.1 * ms)
    manifest = {"schema_version": 1, "networks": entries}
    (zoo / "manifest.json").write_text(json.dumps(manifest))
    profile = Profile("GAP8", ProfileKind.MODELLED, "made up for tests", {}, profiles)
    write_profile(zoo / "profile-gap8.json", profile)
    for number, split in enumerate(("val", "known", "unseen")):
        (flights / split).mkdir(parents=True)
        for i in range(6):
            record_flight(flights / split / f"{i}.mcap", 10 * number + i, split)
        trace = make_trace.make_trace(
            make_trace.find_recordings([flights / split]),
            make_trace.load_networks(sorted(entries), zoo),
        )
        write_trace(trace, traces / f"{split}.npz")
    val = read_trace(traces / "val.npz")
    write_ensembles(calibrate_ensembles(val, profile, ENSEMBLES), zoo)


@pytest.fixture(scope="session")
def trace_factory() -> TraceFactory:
    return build_trace
