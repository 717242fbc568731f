"""From a zoo's int8 ONNX networks to TFLite ones beside them, compared on flights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gearshift.models.evaluating.agreement import Agreement, agreement
from gearshift.models.evaluating.dataset import SPLITS, Dataset, load_dataset
from gearshift.models.evaluating.evaluation import scores
from gearshift.models.evaluating.inference import run_engine, run_frames
from gearshift.models.formats.qdq_chain import QuantisedChain, read_chain
from gearshift.models.formats.tflite_writer import tflite_model
from gearshift.models.zoo_making.zoo_writer import write_form
from gearshift.runtime.engines.litert_engine import LiteRtEngine
from gearshift.runtime.engines.network import LITERT, Network, find_network
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.files.whole_file import write_whole

SUFFIX = ".tflite"


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A split: distance from the int8 ONNX network, and the errors of either."""

    agreement: Agreement
    onnx: Mapping[str, float]
    tflite: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class ExportedTflite:
    """What was written, and per split how it compares."""

    path: Path
    network: Network
    splits: Mapping[str, Compared]


def export_tflite(name: str, zoo: Path, flights: Mapping[str, Dataset]) -> ExportedTflite:
    """Write a zoo's network as `NAME.tflite` and note it in the manifest.

    flights: splits by name; the errors on them go into the file's metadata. Raises NetworkError
    for an unknown network, one that is no int8 model of ours, or one that LiteRT refuses.
    """
    file = find_network(name, zoo)
    content = file.verified_bytes()
    path = file.path.with_suffix(SUFFIX)
    chain = read_chain(content, str(file.path))
    splits = compare(content, chain, flights)
    mae = {split: compared.tflite for split, compared in splits.items()}
    network = replace(chain.network, mae=mae)
    written = _converted(chain, network, str(file.path))
    write_whole(path, written)
    write_form(zoo, name, LITERT, path)
    return ExportedTflite(path, network, splits)


def compare(
    content: bytes, chain: QuantisedChain, flights: Mapping[str, Dataset]
) -> dict[str, Compared]:
    """Run an int8 ONNX network and its TFLite form over flights."""
    where = chain.network.name
    engine = LiteRtEngine(_converted(chain, replace(chain.network, mae={}), where), where)
    splits = {}
    for split, data in flights.items():
        reference, outputs = run_frames(content, data.images), run_engine(engine, data.images)
        splits[split] = Compared(
            agreement(reference, outputs), scores(reference, data), scores(outputs, data)
        )
    engine.close()
    return splits


def load_splits(folder: Path) -> dict[str, Dataset]:
    """The splits below a folder by name, or the recordings in it under the folder's name."""
    splits = [split for split in SPLITS if (folder / split).is_dir()]
    if splits:
        return {split: load_dataset(folder / split) for split in splits}
    return {folder.name: load_dataset(folder)}


def _converted(chain: QuantisedChain, network: Network, where: str) -> bytes:
    try:
        return tflite_model(chain, network.to_json())
    except NetworkError as error:
        raise NetworkError(f"{where}: {error}") from error
