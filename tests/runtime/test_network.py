"""Network metadata and the zoo's manifest: round trips, hashes, errors that name the fault."""

import hashlib
import json
from pathlib import Path

import pytest

from gearshift.runtime.engines.network import Network, find_network, read_manifest
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.types import POSE_COMPONENTS, Camera, HeadGrid

NETWORK = Network(
    name="F9",
    height=96,
    width=160,
    components=POSE_COMPONENTS,
    grid=None,
    frame_of_reference="drone, yaw-levelled, FLU",
    camera=Camera("himax", 160, 96, 125.0, 125.0, 79.5, 47.5, (-0.06, 0.0, 0.0, 0.0, 0.0)),
    architecture="frontnet",
    parameters=10,
    mac=20,
    training_set="abc",
    licence="Apache-2.0",
    mae={"val": {"x": 0.1, "sum": 0.4}},
)
AUX = Network("aux", 96, 160, (), HeadGrid(), "image", None, "aux", 1, 2, "abc", "Apache-2.0")


@pytest.mark.parametrize("network", [NETWORK, AUX], ids=lambda n: n.name)
def test_metadata_round_trip(network: Network) -> None:
    assert Network.from_json(network.to_json(), "here") == network


def test_output_size_counts_components_or_classes() -> None:
    assert NETWORK.output_size == 4
    assert AUX.output_size == 49


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", NETWORK.to_json().replace('"schema_version": 1', '"schema_version": 7')],
)
def test_damaged_metadata_names_the_file(text: str) -> None:
    with pytest.raises(NetworkError, match=r"F9\.onnx"):
        Network.from_json(text, "F9.onnx")


def write_zoo(folder: Path) -> None:
    content = b"not really a network"
    (folder / "F9.onnx").write_bytes(content)
    entry = {"file": "F9.onnx", "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"schema_version": 1, "networks": {"F9": entry}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_manifest_is_verified(tmp_path: Path) -> None:
    write_zoo(tmp_path)
    file = find_network("F9", tmp_path)
    assert file.verified_bytes() == b"not really a network"
    (tmp_path / "F9.onnx").write_bytes(b"tampered")
    with pytest.raises(NetworkError, match="is not the manifest's"):
        file.verified_bytes()
    (tmp_path / "F9.onnx").unlink()
    with pytest.raises(NetworkError, match="No such file"):
        file.verified_bytes()


def test_unknown_network_and_damaged_manifest(tmp_path: Path) -> None:
    write_zoo(tmp_path)
    with pytest.raises(NetworkError, match="unknown network 'F8'; the zoo has F9"):
        find_network("F8", tmp_path)
    for text, message in (("{", "not valid JSON"), ('{"schema_version": 3}', "not a manifest")):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(NetworkError, match=message):
            read_manifest(tmp_path)
