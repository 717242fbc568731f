"""Networks as they would stand and run on GAP8: tiles in L1, weights in L2 or L3, modelled cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gearshift.models.cost.gap8_memory import MemoryPlan, Moment, plan_memory
from gearshift.models.cost.gap8_model import (
    L2_BYTES,
    CostModel,
    LayerCost,
    Measurement,
    NetworkCost,
    gap8_model,
    published_measurements,
)
from gearshift.models.cost.gap8_tiling import Tiling, tile_layer
from gearshift.models.networks.architecture import Architecture, Layer, LayerKind
from gearshift.models.networks.catalogue import architectures
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.integer_network import Geometry, IntegerKind, IntegerNetwork
from gearshift.runtime.engines.network import (
    INTEGER,
    ONNX,
    SUFFIXES,
    NetworkSource,
    find_network_source,
    read_manifest,
)
from gearshift.runtime.ensembles.ensemble_records import read_ensemble
from gearshift.runtime.ensembles.loading import is_ensemble_file
from gearshift.runtime.errors import NetworkError


@dataclass(frozen=True, slots=True)
class DeployedLayer:
    """One layer: where it stands and what it is modelled to cost. tiling: None if none fits."""

    tiling: Tiling | None
    moment: Moment
    cost: LayerCost

    @property
    def layer(self) -> Layer:
        """Its shape."""
        return self.cost.layer


@dataclass(frozen=True, slots=True)
class DeployedNetwork:
    """One network of a deployment, layer by layer."""

    architecture: Architecture
    layers: tuple[DeployedLayer, ...]

    @property
    def cost(self) -> NetworkCost:
        """What one run is modelled to cost."""
        return NetworkCost(self.architecture, tuple(layer.cost for layer in self.layers))

    @property
    def l3_bytes(self) -> int:
        """What one run moves from and to L3."""
        return sum(layer.moment.l3_bytes for layer in self.layers)

    @property
    def published(self) -> Measurement | None:
        """The published end-to-end measurement of just these layers, where there is one."""
        shapes = _shapes(self.architecture.layers)
        for measurement in published_measurements():
            if len(measurement.layers) > 1 and _shapes(measurement.layers) == shapes:
                return measurement
        return None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Networks that are kept loaded together."""

    networks: tuple[DeployedNetwork, ...]
    plan: MemoryPlan

    @property
    def untiled(self) -> tuple[Layer, ...]:
        """Layers of which no tile fits in L1."""
        return tuple(e.layer for n in self.networks for e in n.layers if e.tiling is None)


def deploy(
    networks: Sequence[Architecture],
    *,
    l2_bytes: int = L2_BYTES,
    stream_all: bool = False,
    model: CostModel | None = None,
) -> Deployment:
    """Place networks on GAP8 and model what they cost there.

    l2_bytes: what they may take of L2. stream_all: every weight from L3 on every run. Activations
    that do not fit in L2 have no term in the cost model: the plan says so, the latency leaves them
    out.
    """
    model = model or gap8_model()
    plan = plan_memory(networks, l2_bytes, stream_all=stream_all)
    deployed = tuple(
        DeployedNetwork(
            network,
            tuple(
                DeployedLayer(
                    tile_layer(m.layer),
                    m,
                    model.layer_cost(m.layer, from_l3=m.streamed_bytes > 0),
                )
                for m in moments
            ),
        )
        for network, moments in zip(plan.networks, plan.moments, strict=True)
    )
    return Deployment(deployed, plan)


def find_shape(name: str, zoo: Path | None = None) -> Architecture:
    """The layers of a named architecture, of an int8 .onnx file of ours or of a GAP8 folder.

    With a zoo, its networks come before architectures of the same name. Raises NetworkError: an
    unknown name, a file or a folder whose layers GAP8's kernels lack.
    """
    known = architectures()
    is_file = Path(name).suffix in SUFFIXES or Path(name).is_dir()
    if is_file:
        return source_shape(find_network_source(Path(name)))
    others = read_manifest(zoo)["networks"]
    if name in others and (zoo is not None or name not in known):
        return source_shape(find_network_source(name, zoo))
    if name not in known:
        every = ", ".join(dict.fromkeys([*known, *others]))
        raise NetworkError(
            f"unknown network {name!r}; known are {every}, "
            "or give an int8 .onnx file or a folder of a GAP8 deployment"
        )
    return known[name]


def ensemble_shapes(name_or_file: str, zoo: Path | None = None) -> list[Architecture]:
    """The layers of every network of an ensemble; raises ConfigurationError and NetworkError."""
    if is_ensemble_file(name_or_file):
        from gearshift.runtime.ensembles.ensemble_file import find_ensemble_sources

        sources = find_ensemble_sources(Path(name_or_file), zoo)
        return [source_shape(source) for source in sources.values()]
    record = read_ensemble(name_or_file, zoo)
    return [find_shape(reference.name, zoo) for reference in record.networks.values()]


def source_shape(source: NetworkSource) -> Architecture:
    """The layers of a network that was found; raises NetworkError where GAP8's kernels lack one."""
    if INTEGER in source.forms:
        return architecture_of(read_gap8_folder(source.form(INTEGER).verified_folder())[0])
    from gearshift.models.formats.gap8_conversion import integers_of_onnx

    file = source.form(ONNX)
    return architecture_of(integers_of_onnx(file.verified_bytes(), str(file.path)))


def architecture_of(network: IntegerNetwork) -> Architecture:
    """The shapes of an integer network's layers."""
    described, first = network.network, network.layers[0].geometry
    layers = tuple(_layer(layer.name, layer.geometry) for layer in network.layers)
    # Frames that the application halves never stand on the board in full size.
    return Architecture(described.name, described.architecture, first.height, first.width, layers)


def _layer(name: str, geometry: Geometry) -> Layer:
    kind = LayerKind(geometry.kind.value)
    if geometry.kind is IntegerKind.CONV and geometry.kernel == 1:
        kind = LayerKind.POINTWISE
    return Layer(
        name,
        kind,
        geometry.in_channels,
        geometry.height,
        geometry.width,
        geometry.out_channels,
        geometry.kernel,
        geometry.stride,
        geometry.padding,
    )


def _shapes(layers: Sequence[Layer]) -> list[Layer]:
    return [replace(layer, name="") for layer in layers]
