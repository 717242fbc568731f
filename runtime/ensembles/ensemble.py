"""Ensembles: a small, a large and an auxiliary network with what was calibrated for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_registry import open_engine
from gearshift.runtime.engines.network import Network, NetworkSource
from gearshift.runtime.ensembles.ensemble_records import (
    EnsembleRecord,
    NetworkReference,
    Thresholds,
)
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.types import NetworkRole, interfaces


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Loaded engines that answer for one another, and their calibration.

    networks: which files they are of, engines: what runs them (`integer`, `board:/dev/ttyUSB0`),
    by role; empty where they come from no file. Raises NetworkError when the networks do not agree
    in components or frame size and ConfigurationError when the calibration is one for other
    outputs.
    """

    name: str
    small: Engine
    large: Engine
    aux: Engine | None
    calibration: Calibration
    thresholds: Thresholds = field(default_factory=dict)
    networks: Mapping[NetworkRole, NetworkReference] = field(default_factory=dict)
    engines: Mapping[NetworkRole, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        small, large = self.small.network, self.large.network
        for network in (small, large):
            if network.grid is not None or not network.components:
                raise NetworkError(f"{self.name}: {network.name} is no regression network")
        if interfaces(small.components) != interfaces(large.components):
            raise NetworkError(
                f"{self.name}: {small.name} gives {_names(small)}, {large.name} {_names(large)}"
            )
        if self.aux is not None and self.aux.network.grid is None:
            raise NetworkError(f"{self.name}: {self.aux.network.name} is no head localiser")
        for network in (large, *((self.aux.network,) if self.aux is not None else ())):
            if (network.height, network.width) != (small.height, small.width):
                raise NetworkError(
                    f"{self.name}: {small.name} takes {small.width}x{small.height} frames, "
                    f"{network.name} {network.width}x{network.height}"
                )
        self._check_calibration()

    @property
    def record(self) -> EnsembleRecord:
        """The ensemble without its engines."""
        return EnsembleRecord(self.name, self.networks, self.calibration, self.thresholds)

    def engine(self, role: NetworkRole) -> Engine | None:
        """The engine of that role; None where there is no auxiliary network."""
        if role is NetworkRole.AUX:
            return self.aux
        return self.small if role is NetworkRole.SMALL else self.large

    def close(self) -> None:
        """Close every engine."""
        for engine in (self.small, self.large, self.aux):
            if engine is not None:
                engine.close()

    def _check_calibration(self) -> None:
        calibration, components = self.calibration, self.small.network.components
        if interfaces(calibration.components) != interfaces(components):
            raise ConfigurationError(
                f"{self.name}: its calibration is not for outputs {_names(self.small.network)}"
            )
        table = calibration.head_cell_gain
        grid = self.aux.network.grid if self.aux is not None else None
        if table.size and grid is not None and table.size != grid.classes:
            raise ConfigurationError(
                f"{self.name}: head_cell_gain has {table.size} entries for {grid.classes} classes"
            )


def assemble(
    record: EnsembleRecord, choices: Mapping[NetworkRole, tuple[NetworkSource, str | None]]
) -> Ensemble:
    """Open the networks of a record, each by the engine that is named with it.

    Raises what `open_engine` and `Ensemble` do; then nothing stays open.
    """
    with closing_on_error() as engines:
        for role, (source, engine) in choices.items():
            engines[role] = open_engine(source, engine)
        names = {role: engine or source.default for role, (source, engine) in choices.items()}
        return with_engines(record, engines, names)


def with_engines(
    record: EnsembleRecord,
    engines: Mapping[NetworkRole, Engine],
    names: Mapping[NetworkRole, str] | None = None,
) -> Ensemble:
    """A record with opened engines, and what runs them by role; raises what `Ensemble` does."""
    return Ensemble(
        name=record.name,
        small=engines[NetworkRole.SMALL],
        large=engines[NetworkRole.LARGE],
        aux=engines.get(NetworkRole.AUX),
        calibration=record.calibration,
        thresholds=record.thresholds,
        networks=record.networks,
        engines=names or {},
    )


@contextmanager
def closing_on_error() -> Iterator[dict[NetworkRole, Engine]]:
    """A place for opened engines, which are closed when the block raises: one may hold a board."""
    engines: dict[NetworkRole, Engine] = {}
    try:
        yield engines
    except BaseException:
        for engine in engines.values():
            engine.close()
        raise


def _names(network: Network) -> str:
    return ", ".join(component.name for component in network.components)
