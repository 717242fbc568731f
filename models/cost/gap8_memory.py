"""What stands in GAP8's L2 while networks run, and what must stream from L3 because it does not.

All weights stay in L2 while they fit beside the largest activations. Where they do not, layers
stream their weights from L3 on every run: one small layer where that is enough, else the largest
ones first. A streamed layer's weights are fetched while the layer before it runs, as DORY's code
does, so that both stand in L2 then. All of it is arithmetic from the layers' shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gearshift.models.cost.gap8_model import L2_BYTES
from gearshift.models.networks.architecture import Architecture, Layer

Place = tuple[int, int]
"""Which network, which of its layers."""


@dataclass(frozen=True, slots=True)
class Moment:
    """L2 while one layer runs, in bytes.

    resident_bytes: weights of every network that stay. streamed_bytes: this layer's weights, where
    they come from L3. prefetched_bytes: the next layer's, where those do. frame_bytes: the camera's
    frame where a network still needs it. spilled: input and output do not fit in L2 beside the
    weights and go through L3 as well.
    """

    layer: Layer
    resident_bytes: int
    streamed_bytes: int
    prefetched_bytes: int
    frame_bytes: int
    spilled: bool = False

    @property
    def l2_bytes(self) -> int:
        """Everything that should be in L2 at this moment."""
        weights = self.resident_bytes + self.streamed_bytes + self.prefetched_bytes
        return weights + self.frame_bytes + self.layer.input_bytes + self.layer.output_bytes

    @property
    def l3_bytes(self) -> int:
        """What one run moves from and to L3 for this layer, without reading halos twice."""
        spilled = self.layer.input_bytes + self.layer.output_bytes if self.spilled else 0
        return self.streamed_bytes + spilled


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Moments per network, in the order in which they run."""

    networks: tuple[Architecture, ...]
    moments: tuple[tuple[Moment, ...], ...]
    l2_bytes: int
    needed_bytes: int
    """L2 for running with every weight in it."""

    @property
    def all_resident(self) -> bool:
        """Whether nothing streams."""
        return self.needed_bytes <= self.l2_bytes

    @property
    def peak_bytes(self) -> int:
        """The fullest moment."""
        return max(moment.l2_bytes for network in self.moments for moment in network)

    @property
    def runs(self) -> bool:
        """Whether it runs at all: all activations fit, with weights streamed if need be."""
        return self.peak_bytes <= self.l2_bytes


def plan_memory(
    networks: Sequence[Architecture], l2_bytes: int = L2_BYTES, *, stream_all: bool = False
) -> MemoryPlan:
    """Where the weights of networks that are kept loaded together stand.

    The networks run one after the other on the same frame, which is kept until the last one has
    read it. stream_all: every weight from L3, as DORY's deployments of a single network do.
    """
    networks = tuple(networks)
    needed = _peak(_moments(networks, frozenset()))
    places = [
        (n, i)
        for n, network in enumerate(networks)
        for i, layer in enumerate(network.layers)
        if layer.weight_bytes
    ]
    moments = _moments(networks, frozenset(places))
    if not stream_all:
        for chosen in _choices(networks, places):
            moments = _moments(networks, chosen)
            if _peak(moments) <= l2_bytes:
                break
    if _peak(moments) > l2_bytes:
        moments = tuple(tuple(_spilled(m, l2_bytes) for m in network) for network in moments)
    return MemoryPlan(networks, moments, l2_bytes, needed)


def _choices(networks: tuple[Architecture, ...], places: list[Place]) -> Iterator[frozenset[Place]]:
    """Sets of layers to stream, the cheaper ones first."""
    ascending = sorted(places, key=lambda place: networks[place[0]].layers[place[1]].weight_bytes)
    yield frozenset()
    for place in ascending:
        yield frozenset({place})
    # The last one is every layer: the best that can be done where nothing fits.
    for count in range(2, len(places) + 1):
        yield frozenset(ascending[-count:])


def _moments(
    networks: tuple[Architecture, ...], streamed: frozenset[Place]
) -> tuple[tuple[Moment, ...], ...]:
    resident = sum(
        layer.weight_bytes
        for n, network in enumerate(networks)
        for i, layer in enumerate(network.layers)
        if (n, i) not in streamed
    )

    def own(n: int, i: int, layer: Layer) -> int:
        return layer.weight_bytes if (n, i) in streamed else 0

    result = []
    for n, network in enumerate(networks):
        last = n == len(networks) - 1
        own_bytes = [own(n, i, layer) for i, layer in enumerate(network.layers)]
        following = [b for _, b in pairwise([*own_bytes, 0])]
        frame = 0 if last else network.height * network.width
        result.append(
            tuple(
                Moment(layer, resident, own_bytes[i], following[i], frame if i else 0)
                for i, layer in enumerate(network.layers)
            )
        )
    return tuple(result)


def _peak(moments: tuple[tuple[Moment, ...], ...]) -> int:
    return max(moment.l2_bytes for network in moments for moment in network)


def _spilled(moment: Moment, l2_bytes: int) -> Moment:
    if moment.l2_bytes <= l2_bytes:
        return moment
    return Moment(
        moment.layer,
        moment.resident_bytes,
        moment.streamed_bytes,
        moment.prefetched_bytes,
        moment.frame_bytes,
        spilled=True,
    )
