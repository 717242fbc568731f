"""Finding engines by name: the built-in ones and plug-ins.

A plug-in names its factory in the entry-point group `gearshift.engines`:
`mine = "my_package.engine:open_mine"`. The factory gets the network that was found and what stood
behind the colon of `mine:ARGUMENT` (None without a colon); it reads the form that it runs through
`NetworkSource.form`, which verifies it, and returns an `Engine`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, cast

from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.network import (
    INTEGER,
    LITERT,
    ONNX,
    NetworkSource,
    find_network_source,
)
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.plugins import PluginTable

EngineFactory: TypeAlias = Callable[[NetworkSource, str | None], Engine]

ENGINES = PluginTable(
    "engine",
    "gearshift.engines",
    {
        ONNX: "gearshift.runtime.engines.onnx_engine:open_onnx",
        LITERT: "gearshift.runtime.engines.litert_engine:open_litert",
        INTEGER: "gearshift.runtime.engines.gap8_folder:open_integer",
    },
    extras={LITERT: "litert"},
)


def load_engine(
    name_or_path: str | Path, zoo: Path | None = None, *, engine: str | None = None
) -> Engine:
    """An engine for a network of the zoo (verified against the manifest) or for a file.

        with closing(load_engine("M1.0")) as engine:
            engine.network.components                # what it gives, with units
            engine.run(image)                        # (height, width) uint8 -> float32 (k,)

    What `run` gives is valid until the next run: copy what is kept.
    name_or_path: see `find_network_source`. zoo: the folder to look names up in, default the one
    that ships with the package. engine: `NAME` or `NAME:ARGUMENT` (`integer`,
    `board:/dev/ttyUSB0`); None follows from what the network is: ONNX Runtime for those of a zoo.
    Raises NetworkError, ConfigurationError for an unknown engine, MissingExtraError when its
    packages are missing.
    """
    return open_engine(find_network_source(name_or_path, zoo), engine)


def open_engine(source: NetworkSource, engine: str | None = None) -> Engine:
    """An engine for a network that was found; raises as `load_engine`."""
    chosen = engine or source.default
    factory = find_engine(chosen)
    name, separator, argument = chosen.partition(":")
    try:
        return factory(source, argument if separator else None)
    except ModuleNotFoundError as error:
        ENGINES.raise_missing(name, error)


def find_engine(engine: str) -> EngineFactory:
    """What opens networks for `NAME` or `NAME:ARGUMENT`; raises ConfigurationError and
    MissingExtraError."""
    name = engine.partition(":")[0]
    factory = ENGINES.load(name)
    if not callable(factory):
        raise ConfigurationError(f"engine {name!r} is no function that opens networks")
    return cast(EngineFactory, factory)
