"""How a layer is cut into tiles that fit in GAP8's L1, by the rules of DORY's generated code.

DORY's rules (its `Tiler_Conv2D_PULP.get_tiling_conv2d_L2`, commit 00c2b8c): a layer whose input,
weights, output and im2col buffer fit in L1 together is one tile; else tiles are double-buffered,
so that the DMA fills one set of buffers while the cores work on the other. A tile has all input
channels, except of a depthwise convolution or a pooling, whose channels are cut instead. The
stacks of the eight cores stand in L1 too. Among the tiles that fit, DORY's solver weighs its own
preferences; here the one that moves the fewest bytes between L2 and L1 is taken. The result is
arithmetic, not a measurement, and the cycles of `gap8.py` do not depend on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from gearshift.models.networks.architecture import REQUANTISATION_BYTES, Layer, LayerKind

L1_BYTES = 64 * 1024
STACK_BYTES = 3500 + 7 * 3400
"""Stacks of the cores, as DORY's description of GAP8 reserves them."""
L1_BUDGET = L1_BYTES - STACK_BYTES
CORES = 8
SIMD_CHANNELS = 4
"""PULP-NN's kernels compute four output channels at a time."""
_BY_CHANNEL = (LayerKind.DEPTHWISE, LayerKind.POOL)


@dataclass(frozen=True, slots=True)
class Span:
    """One cut of an axis: outputs start..stop need inputs in_start..in_stop (halo included)."""

    start: int
    stop: int
    in_start: int
    in_stop: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """How one layer runs from L1: the largest tile, how many there are, and what moves.

    rows, columns, channels: of the output tile. Bytes are of one buffer: input_bytes with its
    halo, weight_bytes with requantisation or biases. buffers: 1 when the layer is one tile or when
    two sets do not fit, else 2. traffic_bytes: what one run moves between L2 and L1.
    """

    layer: Layer
    rows: int
    columns: int
    channels: int
    tiles: int
    buffers: int
    input_bytes: int
    weight_bytes: int
    output_bytes: int
    scratch_bytes: int
    traffic_bytes: int

    @property
    def l1_bytes(self) -> int:
        """What stands in L1 at once, without the stacks."""
        tile = self.input_bytes + self.weight_bytes + self.output_bytes
        return self.buffers * tile + self.scratch_bytes


def tile_layer(layer: Layer, budget: int = L1_BUDGET) -> Tiling | None:
    """The tiling of a layer; None when not even a tile of one output pixel fits `budget` bytes."""
    height, width, channels = layer.out_height, layer.out_width, layer.out_channels
    whole = _tiling(layer, height, width, channels, buffers=1)
    if whole.l1_bytes <= budget:
        return whole
    for buffers in (2, 1):
        sizes = itertools.product(_cuts(height), _cuts(width), _channel_cuts(channels))
        fitting = (
            tiling
            for rows, columns, deep in sizes
            if (tiling := _tiling(layer, rows, columns, deep, buffers)).l1_bytes <= budget
        )
        best = min(fitting, key=_preference, default=None)
        if best is not None:
            return best
    return None


def smallest_l1_bytes(layer: Layer) -> int:
    """L1 that a tile of one output pixel needs: how far `budget` is missed when nothing fits."""
    return _tiling(layer, 1, 1, 1, buffers=1).l1_bytes


def tile_spans(tiling: Tiling) -> Iterator[tuple[Span, Span, Span]]:
    """Every tile in the order in which it runs: its channels, rows and columns."""
    layer = tiling.layer
    rows = _spans(layer, layer.out_height, layer.height, tiling.rows)
    columns = _spans(layer, layer.out_width, layer.width, tiling.columns)
    channels = []
    for start in range(0, layer.out_channels, tiling.channels):
        stop = min(start + tiling.channels, layer.out_channels)
        own = (start, stop) if layer.kind in _BY_CHANNEL else (0, layer.in_channels)
        channels.append(Span(start, stop, *own))
    return itertools.product(channels, rows, columns)


def _preference(tiling: Tiling) -> tuple[int, int, int]:
    return tiling.traffic_bytes, tiling.tiles, tiling.l1_bytes


def _tiling(layer: Layer, rows: int, columns: int, channels: int, buffers: int) -> Tiling:
    down = _spans(layer, layer.out_height, layer.height, rows)
    across = _spans(layer, layer.out_width, layer.width, columns)
    deep = -(-layer.out_channels // channels)
    split = layer.kind in _BY_CHANNEL
    in_channels = channels if split else layer.in_channels
    in_rows, in_columns = _longest(down), _longest(across)
    spatial = len(down) * len(across)
    # Channels run in the outer loop, as in DORY: every round reads the whole input again, unless
    # each has its own or the one spatial tile is still there.
    rounds = deep if spatial > 1 and not split else 1
    read = rounds * _total(down) * _total(across) * layer.in_channels
    number = 4 if layer.kind is LayerKind.FULLY_CONNECTED else 1
    return Tiling(
        layer=layer,
        rows=rows,
        columns=columns,
        channels=channels,
        tiles=spatial * deep,
        buffers=buffers,
        input_bytes=in_rows * in_columns * in_channels,
        weight_bytes=_weight_bytes(layer, channels),
        output_bytes=rows * columns * channels * number,
        scratch_bytes=_scratch_bytes(layer, in_rows),
        traffic_bytes=read + layer.weight_bytes + layer.output_bytes,
    )


def _weight_bytes(layer: Layer, channels: int) -> int:
    if layer.kind is LayerKind.POOL:
        return 0
    extra = 4 if layer.kind is LayerKind.FULLY_CONNECTED else REQUANTISATION_BYTES
    return (layer.patch + extra) * channels


def _scratch_bytes(layer: Layer, in_rows: int) -> int:
    """The im2col buffers of the cores: two patches each, or a column of a depthwise input."""
    match layer.kind:
        case LayerKind.CONV | LayerKind.POINTWISE:
            return 2 * CORES * layer.patch
        case LayerKind.DEPTHWISE:
            return CORES * layer.kernel * (in_rows + 2 * layer.padding + 1)
    return 0


def _spans(layer: Layer, out_size: int, in_size: int, tile: int) -> list[Span]:
    if layer.kind is LayerKind.FULLY_CONNECTED:
        return [Span(0, 1, 0, in_size)]
    spans = []
    for start in range(0, out_size, tile):
        stop = min(start + tile, out_size)
        first = start * layer.stride - layer.padding
        last = (stop - 1) * layer.stride - layer.padding + layer.kernel
        spans.append(Span(start, stop, max(first, 0), min(last, in_size)))
    return spans


def _longest(spans: list[Span]) -> int:
    return max(span.in_stop - span.in_start for span in spans)


def _total(spans: list[Span]) -> int:
    return sum(span.in_stop - span.in_start for span in spans)


def _cuts(size: int) -> list[int]:
    """Tile sizes that cut an axis into pieces as equal as possible."""
    return sorted({-(-size // pieces) for pieces in range(1, size + 1)}, reverse=True)


def _channel_cuts(size: int) -> list[int]:
    """The same, in whole steps of the kernels where there are that many channels."""
    steps = {-(-cut // SIMD_CHANNELS) * SIMD_CHANNELS for cut in _cuts(size)}
    return sorted({min(step, size) for step in steps} | {1}, reverse=True)
