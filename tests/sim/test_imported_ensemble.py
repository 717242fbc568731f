"""Two imported PULP-Frontnet networks as an ensemble of one's own, from checkpoint to errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.cli import main
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.recordings.recording import RecordingReader

torch = pytest.importorskip("torch")

DATA = Path(__file__).parents[3] / "shared" / "data"
TOML = """\
schema_version = 1
[small]
network = "imported/{small}.onnx"
[large]
network = "imported/{large}.onnx"
"""
CONVOLUTIONS = ["", *(f"layer{stage}." for stage in (1, 2, 3) for _ in (1, 2))]


def write_checkpoint(path: Path, channels: int, features: int, seed: int) -> None:
    """A checkpoint in PULP-Frontnet's layout; its weights are random, its outputs in range."""
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}
    sizes = [(1, 1), (1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4)]
    for index, ((inputs, outputs), stage) in enumerate(zip(sizes, CONVOLUTIONS, strict=True)):
        number = "" if index == 0 else str(2 - index % 2)
        kernel = 5 if index == 0 else 3
        c_in = 1 if index == 0 else inputs * channels
        c_out = outputs * channels
        shape = (c_out, c_in, kernel, kernel)
        # Activations keep about the scale that they came with: 0..255 first, then about 1.
        deviation = 1 / np.sqrt(kernel * kernel * c_in) / (64 if index == 0 else 1)
        state[f"{stage}conv{number}.weight"] = rng.normal(0, deviation, shape)
        bn = f"{stage}bn{number}"
        state[f"{bn}.weight"] = np.ones(c_out)
        state[f"{bn}.bias"] = np.full(c_out, 0.2)
        state[f"{bn}.running_mean"] = np.zeros(c_out)
        state[f"{bn}.running_var"] = np.ones(c_out)
    state["fc.weight"] = rng.normal(0, 0.5 / np.sqrt(features * channels), (4, features * channels))
    state["fc.bias"] = np.array([1.5, 0.0, 0.0, 0.0])
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in state.items()}
    torch.save({"model": tensors, "epoch": 1}, path)


def images(count: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 232, (count, 12, 20)).repeat(8, axis=1).repeat(8, axis=2)
    return (coarse + rng.integers(0, 24, (count, 96, 160))).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with imported 80x32 and 160x32 networks, and an ensemble of them."""
    folder = tmp_path_factory.mktemp("imported")
    for name, features in (("Frontnet80x32", 24), ("Frontnet160x32", 60)):
        write_checkpoint(folder / f"{name}.pt", 32, features, seed=features)
        source = str(folder / f"{name}.pt")
        assert (
            main(["models", "import", "frontnet", source, "--out", str(folder / "imported")]) == 0
        )
    text = TOML.format(small="Frontnet80x32", large="Frontnet160x32")
    (folder / "mine.toml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def flight(place: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A recording made of a pickle that pandas wrote, its images and its labels."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(6)
    frames = images(20)
    labels = rng.uniform([1.5, -0.5, -0.2, -1.7], [3, 0.5, 0.2, 1.7], (len(frames), 4))
    labels = labels.astype(np.float32)
    pandas.DataFrame(
        {
            "x": [image.ravel() for image in frames],
            "y": list(labels),
            **{key: [value] * len(frames) for key, value in (("h", 96), ("w", 160), ("c", 1))},
        }
    ).to_pickle(place / "set.pickle")
    target = place / "set.mcap"
    arguments = [str(place / "set.pickle"), str(target), "--rate", "10", "--camera", "hfov=65"]
    assert main(["recordings", "convert", *arguments]) == 0
    return target, frames, labels


def replay(place: Path, recording: Path, *arguments: str, ensemble: str = "mine.toml") -> Any:
    report = place / "report.json"
    given = [str(recording), "--ensemble", str(place / ensemble), "--json", str(report)]
    assert main(["replay", *given, *arguments]) == 0
    return json.loads(report.read_text())


def mean_errors(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    error = np.abs(outputs - labels)
    turned = np.mod(outputs[:, 3] - labels[:, 3] + np.pi, 2 * np.pi) - np.pi
    error[:, 3] = np.abs(turned)
    return np.asarray(error.mean(axis=0))


@pytest.mark.parametrize(
    ("policy", "network"),
    [("always-small", "Frontnet80x32"), ("always-large", "Frontnet160x32")],
)
def test_a_pandas_pickle_replays_with_the_right_errors(
    place: Path, flight: Any, policy: str, network: str
) -> None:
    recording, frames, labels = flight
    engine = load_engine(place / "imported" / f"{network}.onnx")
    outputs = np.stack([engine.run(frame).copy() for frame in frames])
    document = replay(place, recording, "--policy", policy)
    expected = mean_errors(outputs, labels)
    assert document["summary"]["scored"] == len(frames)
    errors = document["summary"]["error"]
    found = [errors[name]["value"] for name in ("x", "y", "z", "phi")]
    assert found == pytest.approx(expected, abs=1e-4)
    assert errors["sum"]["value"] == pytest.approx(expected.sum(), abs=1e-4)


def test_every_engine_flies_it(
    place: Path, flight: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other forms are made beside the imported networks; the pair's errors stay about the same."""
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    recording, *_ = flight
    imported = str(place / "imported")
    assert main(["models", "export", "gap8", "--into-zoo", "--zoo", imported]) == 0
    assert main(["models", "export", "tflite", "--zoo", imported]) == 0
    sums = {}
    for engine in ("onnx", "litert", "integer"):
        document = replay(
            place, recording, "--policy", "every", "--threshold", "1", "--engine", engine
        )
        assert document["engines"] == {"small": engine, "large": engine}
        assert document["summary"]["shares"]["large"] == pytest.approx(0.5)
        sums[engine] = document["summary"]["error"]["sum"]["value"]
    assert sums["litert"] == pytest.approx(sums["onnx"], rel=0.02)
    assert sums["integer"] == pytest.approx(sums["onnx"], rel=0.05)
    assert "engine integer" in capsys.readouterr().out


def test_it_can_be_calibrated_and_flown_at_an_operating_point(place: Path, flight: Any) -> None:
    recording, _, labels = flight
    calibrate = ["ensemble", "calibrate", str(place / "mine.toml"), "--data", str(recording)]
    assert main(["models", "profile", "--zoo", str(place / "imported")]) == 0
    profile = str(place / "imported" / "profile-gap8.json")
    assert main([*calibrate, "--profile", profile]) == 0
    side = json.loads((place / "mine.calibration.json").read_text())["ensembles"]["mine"]
    assert side["weights"] == pytest.approx(list(1 / labels.std(axis=0)), rel=1e-4)
    assert {"op", "anchor"} <= side["thresholds"].keys()
    assert "aux-sm" not in side["thresholds"]
    document = replay(place, recording, "--policy", "op", "--threshold", "equal-latency")
    assert document["threshold"] == pytest.approx(float(side["thresholds"]["op"]["equal-latency"]))
    document = replay(
        place, recording, "--policy", "always-large", "--clock", "real", "--profile", profile
    )
    assert document["summary"]["shares"] == {"small": 0, "large": 1, "aux": 0}
    (place / "mine.calibration.json").unlink()


def test_it_is_compared_on_traces_of_its_own(
    place: Path, flight: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, *_ = flight
    imported = place / "imported"
    networks = [str(imported / f"{name}.onnx") for name in ("Frontnet80x32", "Frontnet160x32")]
    for split in ("val", "known"):
        made = ["--networks", *networks, "--split", split, "--out", str(tmp_path / f"{split}.npz")]
        assert main(["trace", "make", str(recording), *made]) == 0
    assert main(["models", "profile", "--zoo", str(imported)]) == 0
    given = ["--ensemble", str(place / "mine.toml"), "--traces", str(tmp_path)]
    given += ["--profile", str(imported / "profile-gap8.json"), "--splits", "known"]
    out = tmp_path / "report"
    assert main(["compare", *given, "--no-timing", "--resamples", "10", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "mine anchor" in printed
    assert "D1" not in printed
    report = json.loads((out / "report.json").read_text())
    assert report["derived_from"].keys() == {
        "mine.toml",
        "profile-gap8.json",
        "val.npz",
        "known.npz",
    }


def test_recordings_without_labels_do_not_calibrate(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gearshift.runtime.recordings.recording_writer import RecordingWriter
    from gearshift.runtime.types import Frame

    with RecordingWriter(tmp_path / "bare.mcap", camera=None) as writer:
        for index, image in enumerate(images(3)):
            writer.write_frame(Frame(image, index * 10**8, index, "bare"))
    bare = str(tmp_path / "bare.mcap")
    assert main(["ensemble", "calibrate", str(place / "mine.toml"), "--data", bare]) == 1
    assert "calibrating needs labels" in capsys.readouterr().err


def test_a_flight_of_ones_own_ensemble_is_decided_again(
    place: Path, flight: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, *_ = flight
    flown = str(tmp_path / "flown.mcap")
    replay(place, recording, "--policy", "op", "--threshold", "0.2", "--record", flown)
    assert main(["replay", flown, "--decisions"]) == 0
    mine = str(place / "mine.toml")
    assert main(["replay", flown, "--infer", "--ensemble", mine]) == 0
    capsys.readouterr()
    assert main(["replay", flown, "--infer"]) == 1
    assert "--ensemble FILE.toml" in capsys.readouterr().err


def test_imported_variants_are_known_to_list_cost_and_profile(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = str(place / "imported")
    assert main(["models", "list", "--zoo", imported, "--json"]) == 0
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert networks["Frontnet80x32"]["mac"] == 4033536
    small, large = (
        networks[name]["modelled_gap8"]["latency_ms"] for name in sorted(networks)[::-1]
    )
    # Published: 135 and 48 frames a second.
    assert small == pytest.approx(1000 / 135, rel=0.1)
    assert large == pytest.approx(1000 / 48, rel=0.1)
    assert main(["models", "cost", "Frontnet80x32", "--zoo", imported]) == 0
    assert "Frontnet80x32 fits" in capsys.readouterr().out


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_real_networks_fly_over_real_frames(tmp_path: Path) -> None:
    """The published checkpoints over a clip of real frames, which has no ground truth."""
    frames = str(DATA / "real-frames")
    for name in ("Frontnet160x16", "Frontnet160x32"):
        source = str(DATA / "pulp-frontnet" / f"{name}.pt")
        out = str(tmp_path / "imported")
        arguments = ["import", "frontnet", source, "--frames", frames, "--out", out]
        assert main(["models", *arguments]) == 0
    text = TOML.format(small="Frontnet160x16", large="Frontnet160x32")
    (tmp_path / "mine.toml").write_text(text)
    recording = tmp_path / "real.mcap"
    assert main(["recordings", "convert", frames, str(recording), "--rate", "30"]) == 0
    rows = tmp_path / "rows.csv"
    document = replay(
        tmp_path, recording, "--policy", "op", "--threshold", "0.3", "--csv", str(rows)
    )
    assert document["summary"]["scored"] == 0
    images = [entry.frame.image for entry in RecordingReader(recording)]
    assert len(images) == document["summary"]["frames"] == 23
    engines = {
        role: load_engine(tmp_path / "imported" / f"{name}.onnx")
        for role, name in (("small", "Frontnet160x16"), ("large", "Frontnet160x32"))
    }
    with rows.open() as stream:
        flown = list(csv.DictReader(stream))
    answered = {row["answered"] for row in flown}
    assert answered == {"small", "large"}
    for row, image in zip(flown, images, strict=True):
        expected = engines[row["answered"]].run(image)
        found = [float(row[name]) for name in ("x", "y", "z", "phi")]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)
