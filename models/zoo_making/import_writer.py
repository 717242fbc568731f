"""Where imported networks go: a folder with a manifest, which is a zoo like ours."""

from __future__ import annotations

from pathlib import Path

from gearshift.models.zoo_making.zoo_writer import ZooEntry, write_network
from gearshift.runtime.engines.network import Network
from gearshift.runtime.files.whole_file import make_folder, write_whole

FLOAT_FOLDER = "float"


def write_imported(
    folder: Path, network: Network, in_float: bytes, in_int8: bytes | None, calibration: str
) -> tuple[Path, ...]:
    """Write `folder/NAME.onnx` and its manifest, and the float model below; returns the paths.

    Without an int8 model the float one is the network.
    """
    entry = ZooEntry(
        name=network.name,
        architecture=network.architecture,
        parameters=network.parameters,
        mac=network.mac,
        training_set=network.training_set,
        licence=network.licence,
        mae={},
        calibration=calibration,
    )
    path = write_network(folder, in_float if in_int8 is None else in_int8, entry)
    if in_int8 is None:
        return (path,)
    float_path = folder / FLOAT_FOLDER / path.name
    make_folder(float_path.parent)
    write_whole(float_path, in_float)
    return path, float_path
