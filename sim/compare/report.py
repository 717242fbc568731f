"""The report of a comparison as JSON: every figure, the curves, and what they derive from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.files.whole_file import make_folder, write_whole
from gearshift.sim.compare.comparison import SplitReport
from gearshift.sim.compare.headline import PAPER

SCHEMA_VERSION = 1


def report_document(
    splits: Sequence[SplitReport],
    device: Profile,
    host: Profile | None,
    derived_from: Mapping[str, str],
) -> dict[str, Any]:
    """The whole report; derived_from: sha256 by name of each file it was made of."""
    return {
        "schema_version": SCHEMA_VERSION,
        "gearshift": version("gearshift"),
        "derived_from": dict(sorted(derived_from.items())),
        "units": {"latency": "ms", "energy": "mJ", "x, y, z": "m", "phi": "rad", "cuts": "%"},
        "intervals": "95 %, bootstrap over flights grouped by room and person",
        "paper": {str(point): value for point, value in PAPER.items()},
        "profiles": {
            "device": asdict(device),
            "host": None if host is None else asdict(host),
        },
        "splits": {report.split: asdict(report) for report in splits},
    }


def json_text(document: Mapping[str, Any]) -> str:
    """JSON, indented; what is not finite becomes null or a string."""
    return json.dumps(plain(document), indent=1, allow_nan=False) + "\n"


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write `json_text` whole or not at all, making its folder; raises OutputError."""
    make_folder(path.parent)
    write_whole(path, json_text(document))


def plain(value: Any) -> Any:
    """The value in types that JSON has: NaN becomes null, infinities "inf" and "-inf"."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(value) if math.isinf(value) else float(f"{value:.6g}")
    return value
