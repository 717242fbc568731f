"""Finding the reader of an input: by what the input is, or by the name of its format."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final, cast

from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.sim.convert.reader import Reader

# In the order in which they are asked: a NanoCockpit folder is also a folder of images.
_MODULES: Final = {
    "frontnet": "gearshift.sim.convert.formats.frontnet",
    "ros": "gearshift.sim.convert.formats.bags",
    "gearshift": "gearshift.sim.convert.gearshift_recordings",
    "nanocockpit": "gearshift.sim.convert.formats.nanocockpit",
    "folder": "gearshift.sim.convert.formats.folder",
    "hdf5": "gearshift.sim.convert.formats.hdf5",
    "video": "gearshift.sim.convert.formats.video",
}
FORMATS: Final = tuple(_MODULES)


def reader(name: str) -> Reader:
    """The reader of a format's name."""
    return cast(Reader, importlib.import_module(_MODULES[name]))


def find_reader(path: Path, name: str | None = None) -> Reader:
    """The reader for an input, by what the input is or by name.

    Raises RecordingError when there is no input, ConfigurationError when none fits.
    """
    if not path.exists():
        raise RecordingError(f"there is no {path}")
    if name is not None:
        return reader(name)
    for known in FORMATS:
        found = reader(known)
        if found.recognises(path):
            return found
    kind = "folder" if path.is_dir() else "file"
    raise ConfigurationError(
        f"{path} is a {kind} of no known format; say which with --format {'|'.join(FORMATS)}"
    )
