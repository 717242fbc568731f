"""Loading an ensemble: one of a zoo by its name, or one of a TOML file."""

from __future__ import annotations

from pathlib import Path

from gearshift.runtime.engines.network import find_network_source
from gearshift.runtime.ensembles.ensemble import Ensemble, assemble
from gearshift.runtime.ensembles.ensemble_records import read_ensemble


def load_ensemble(
    name_or_file: str, folder: Path | None = None, *, engine: str | None = None
) -> Ensemble:
    """An ensemble of a zoo by name, or of a TOML file (`ensemble_file.py`), with loaded networks.

    folder: the zoo, default the one that ships with the package. engine: what runs every network,
    default what suits its file; see `load_engine`. Raises what reading it and loading them does.
    """
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


def is_ensemble_file(name: str) -> bool:
    """Whether a name stands for a TOML file rather than an ensemble of a zoo."""
    return name.endswith(".toml")
