"""Loading an ensemble: one of a zoo by its name, or one of a TOML file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from gearshift.runtime.engines.network import find_network_source
from gearshift.runtime.ensembles.ensemble import Ensemble, assemble
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord, read_ensemble


def load_ensemble(
    name_or_file: str | Path, folder: Path | None = None, *, engine: str | None = None
) -> Ensemble:
    """An ensemble of a zoo by name, or of a TOML file (`ensemble_file.py`), with loaded networks.

        with closing(load_ensemble("D1")) as ensemble:
            ensemble.small.run(image)         # float32 (4,): x, y, z [m], phi [rad]

    folder: the zoo, default the one that ships with the package. engine: what runs every network
    ("onnx", "litert", "integer", "board:ADDRESS"), default what suits its file; see `load_engine`.
    Raises ConfigurationError for a name or file that does not exist or does not say what it should,
    NetworkError for networks that are damaged or do not fit together, MissingExtraError where the
    packages of an engine are missing.
    """
    name_or_file = str(name_or_file)
    if is_ensemble_file(name_or_file):
        # msgspec is not needed for ensembles of a zoo.
        from gearshift.runtime.ensembles.ensemble_file import load_ensemble_file

        return load_ensemble_file(Path(name_or_file), folder, engine=engine)
    record = read_ensemble(name_or_file, folder)
    return assemble(
        record,
        {
            role: (find_network_source(r.name, folder), engine)
            for role, r in record.networks.items()
        },
    )


def read_record(name_or_file: str | Path, folder: Path | None = None) -> EnsembleRecord:
    """What is known of an ensemble without its networks; raises as `load_ensemble`."""
    if not is_ensemble_file(str(name_or_file)):
        return read_ensemble(str(name_or_file), folder)
    # Its networks' files have to be read to know what they give.
    with closing(load_ensemble(name_or_file, folder)) as ensemble:
        return ensemble.record


def is_ensemble_file(name: str) -> bool:
    """Whether a name stands for a TOML file rather than an ensemble of a zoo."""
    return name.endswith(".toml")
