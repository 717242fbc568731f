"""Network images and bundles: what a board reads its networks from, packed and read back.

The layout is specified in `firmware/include/gearshift/network_image.h`. An image holds all of an
`IntegerNetwork`, metadata included, so that reading one gives back the network it was made of.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gearshift.runtime.engines.integer_network import (
    Geometry,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    connected_layer,
    convolution_layer,
    pool_layer,
)
from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import NetworkError

IMAGE_MAGIC = b"GSN1"
BUNDLE_MAGIC = b"GSB1"
VERSION = 1
ALIGNMENT = 8
NAME_BYTES = 32
MAX_NETWORKS = 8
MAX_LAYERS = 64
MAX_OUTPUTS = 128
ANGULAR_BITS = 32

# Magic, length, CRC, version, layers, sha256, name, height, width, halves, kind, columns, rows,
# outputs, zero, angular, then offsets of layers, scales and metadata, and the metadata's length.
_HEADER = struct.Struct("<4sIIHH32s32sHHBBBBHHIIIII")
# Kind, kernel, stride, padding, shift, channels, height, width, out channels, then the weights'
# offset and size, the offsets of kappa, lambda and bias, and zero.
_LAYER = struct.Struct("<BBBBB3xHHHHIIIII4x")
_BUNDLE = struct.Struct("<4sIIHH")
_ENTRY = struct.Struct("<II")
_COVERED = slice(12, None)
_SHA256 = slice(16, 48)
_WHAT = {IMAGE_MAGIC: "network image", BUNDLE_MAGIC: "bundle of networks"}
_KINDS = tuple(IntegerKind)
"""A kind's code is its index."""
_BYTE, _SHORT = 0xFF, 0xFFFF


def pack_network(network: IntegerNetwork) -> bytes:
    """The image of a network; raises NetworkError when it exceeds what an image can say."""
    description = network.network
    name = _name(description)
    outputs = description.output_size
    angular = [i for i, component in enumerate(description.components) if component.angular]
    if len(network.layers) > MAX_LAYERS or outputs > MAX_OUTPUTS:
        raise NetworkError(
            f"{description.name}: {len(network.layers)} layers and {outputs} outputs, a board "
            f"takes {MAX_LAYERS} and {MAX_OUTPUTS}"
        )
    if any(i >= ANGULAR_BITS for i in angular):
        raise NetworkError(
            f"{description.name}: only the first {ANGULAR_BITS} outputs may be angles"
        )
    body = _Body(_HEADER.size)
    table = body.add(b"\0" * _LAYER.size * len(network.layers))
    scales = body.add(network.output_scale.astype("<f8").tobytes())
    entries = b"".join(_layer_entry(layer, body) for layer in network.layers)
    metadata = json.dumps(
        {
            "network": json.loads(description.to_json()),
            "layers": [layer.name for layer in network.layers],
        },
        sort_keys=True,
    ).encode()
    metadata_at = body.add(metadata)
    content = body.content()
    content[table : table + len(entries)] = entries
    grid = description.grid
    _HEADER.pack_into(
        content,
        0,
        IMAGE_MAGIC,
        len(content),
        0,
        VERSION,
        len(network.layers),
        b"",
        name,
        _fits(description.height, _SHORT, description.name, "height"),
        _fits(description.width, _SHORT, description.name, "width"),
        network.halves,
        grid is not None,
        0 if grid is None else _fits(grid.columns, _BYTE, description.name, "grid"),
        0 if grid is None else _fits(grid.rows, _BYTE, description.name, "grid"),
        outputs,
        0,
        sum(1 << i for i in angular),
        table,
        scales,
        metadata_at,
        len(metadata),
    )
    content[_SHA256] = hashlib.sha256(content).digest()
    _sign(content)
    return bytes(content)


def read_network(image: bytes, where: str) -> IntegerNetwork:
    """The network of an image; raises NetworkError, in one line that begins with `where`, when it
    is damaged."""
    content = _checked(image, IMAGE_MAGIC, _HEADER.size, where)
    covered = bytearray(content)
    covered[8:12] = bytes(4)
    covered[_SHA256] = bytes(32)
    if hashlib.sha256(covered).digest() != content[_SHA256]:
        raise NetworkError(f"{where}: its content is not what its sha256 says; make it again")
    header = _HEADER.unpack_from(content)
    layer_count, outputs = header[4], header[13]
    table, scales, metadata, metadata_bytes = header[16:20]
    try:
        document = json.loads(_part(content, metadata, metadata_bytes))
        network = Network.from_json(json.dumps(document["network"]), where)
        names = document["layers"]
        entries = _LAYER.iter_unpack(_part(content, table, _LAYER.size * layer_count))
        layers = tuple(
            _read_layer(content, str(name), entry)
            for name, entry in zip(names, entries, strict=True)
        )
        scale = np.frombuffer(_part(content, scales, 8 * outputs), "<f8").astype(np.float64)
        read = IntegerNetwork(network, layers, scale)
    except NetworkError as error:
        raise NetworkError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NetworkError(f"{where}: damaged ({type(error).__name__}: {error})") from error
    # A board believes the header and its host the metadata: they have to say the same.
    if pack_network(read) != content:
        raise NetworkError(f"{where}: its header and its metadata disagree; make it again")
    return read


def network_identity(image: bytes) -> str:
    """The sha256, in hexadecimal, by which a board and its host know that they mean one network."""
    return image[_SHA256].hex()


@dataclass(frozen=True, slots=True)
class Bundle:
    """The networks of a board and their image."""

    networks: tuple[IntegerNetwork, ...]
    image: bytes


def pack_bundle(networks: Sequence[IntegerNetwork]) -> Bundle:
    """Networks behind one another, in this order; raises NetworkError for too many, for one twice
    and for what `pack_network` refuses."""
    names = [network.network.name for network in networks]
    if not 1 <= len(names) <= MAX_NETWORKS:
        raise NetworkError(f"a board holds 1 to {MAX_NETWORKS} networks, not {len(names)}")
    if len(set(names)) != len(names):
        raise NetworkError(f"networks of one board need different names: {', '.join(names)}")
    body = _Body(_BUNDLE.size + _ENTRY.size * len(names))
    images = [pack_network(network) for network in networks]
    entries = b"".join(_ENTRY.pack(body.add(image), len(image)) for image in images)
    content = body.content()
    _BUNDLE.pack_into(content, 0, BUNDLE_MAGIC, len(content), 0, VERSION, len(names))
    content[_BUNDLE.size : _BUNDLE.size + len(entries)] = entries
    _sign(content, slice(12, _BUNDLE.size + len(entries)))
    return Bundle(tuple(networks), bytes(content))


def read_bundle(image: bytes, where: str) -> Bundle:
    """The networks of a bundle, or of a single network's image; raises NetworkError, in one line,
    when it is damaged."""
    if image[:4] == IMAGE_MAGIC:
        return Bundle((read_network(image, where),), image)
    if len(image) < _BUNDLE.size:
        raise NetworkError(f"{where}: {len(image)} bytes are no bundle of networks")
    count = _BUNDLE.unpack_from(image)[4]
    table = slice(12, _BUNDLE.size + _ENTRY.size * count)
    content = _checked(image, BUNDLE_MAGIC, _BUNDLE.size, where, table)
    networks = []
    for index in range(count):
        offset, length = _ENTRY.unpack_from(content, _BUNDLE.size + _ENTRY.size * index)
        if offset % ALIGNMENT or offset + length > len(content):
            raise NetworkError(f"{where}: network {index} lies outside of it; make it again")
        networks.append(read_network(content[offset : offset + length], f"{where} ({index})"))
    return Bundle(tuple(networks), content)


class _Body:
    """Content that grows by aligned parts behind a header."""

    def __init__(self, header_bytes: int) -> None:
        self._content = bytearray(header_bytes)
        self._align()

    def add(self, part: bytes) -> int:
        """Append, and return where it starts."""
        self._align()
        start = len(self._content)
        self._content += part
        return start

    def content(self) -> bytearray:
        self._align()
        return self._content

    def _align(self) -> None:
        self._content += bytes(-len(self._content) % ALIGNMENT)


def _layer_entry(layer: IntegerLayer, body: _Body) -> bytes:
    geometry, name = layer.geometry, layer.name
    bytes_ = {"kernel": geometry.kernel, "stride": geometry.stride, "padding": geometry.padding}
    shorts = {
        "input channels": geometry.in_channels,
        "height": geometry.height,
        "width": geometry.width,
        "output channels": geometry.out_channels,
    }
    weights = layer.weight.tobytes()
    arrays = (layer.kappa.astype("<i8"), layer.lambda_.astype("<i8"), layer.bias.astype("<i4"))
    return _LAYER.pack(
        _KINDS.index(geometry.kind),
        *(_fits(value, _BYTE, name, label) for label, value in bytes_.items()),
        geometry.shift,
        *(_fits(value, _SHORT, name, label) for label, value in shorts.items()),
        body.add(weights) if weights else 0,
        len(weights),
        *(body.add(array.tobytes()) if array.size else 0 for array in arrays),
    )


def _read_layer(content: bytes, name: str, entry: tuple[int, ...]) -> IntegerLayer:
    kind, kernel, stride, padding, shift, channels, height, width, out = entry[:9]
    weights_at, weights_bytes, kappa_at, lambda_at, bias_at = entry[9:]
    geometry = Geometry(_KINDS[kind], channels, height, width, out, kernel, stride, padding, shift)
    geometry.check(name)
    if geometry.kind is IntegerKind.POOL:
        return pool_layer(name, geometry)
    count = int(np.prod(geometry.weight_shape, dtype=np.int64))
    if count != weights_bytes:
        raise NetworkError(f"{name}: {weights_bytes} bytes of weights, its geometry has {count}")
    weight = _array(content, weights_at, count, "i1").reshape(geometry.weight_shape)
    if geometry.kind is IntegerKind.FULLY_CONNECTED:
        return connected_layer(name, geometry, weight, _array(content, bias_at, out, "<i4"))
    kappa, lambda_ = (_array(content, at, out, "<i8") for at in (kappa_at, lambda_at))
    return convolution_layer(name, geometry, weight, kappa, lambda_)


def _array(content: bytes, start: int, count: int, dtype: str) -> np.ndarray[Any, np.dtype[Any]]:
    kind = np.dtype(dtype)
    part = _part(content, start, count * kind.itemsize)
    return np.frombuffer(part, kind).astype(kind.newbyteorder("="))


def _part(content: bytes, start: int, length: int) -> bytes:
    if start + length > len(content):
        raise ValueError(f"{length} bytes at {start} of {len(content)}")
    return content[start : start + length]


def _checked(
    image: bytes, magic: bytes, header: int, where: str, covered: slice = _COVERED
) -> bytes:
    """The content without what follows it, after a look at magic, length, version and CRC."""
    what = _WHAT[magic]
    if len(image) < header or image[:4] != magic:
        raise NetworkError(f"{where}: this is no {what}")
    length, crc, version = struct.unpack_from("<IIH", image, 4)
    if version != VERSION:
        raise NetworkError(
            f"{where}: {what} of version {version}, this gearshift reads {VERSION}; make it again"
        )
    if not header <= length <= len(image) or length % ALIGNMENT:
        raise NetworkError(f"{where}: {len(image)} bytes, it says that it has {length}")
    content = image[:length]
    if zlib.crc32(content[covered]) != crc:
        raise NetworkError(f"{where}: its content does not match its checksum; make it again")
    return content


def _sign(content: bytearray, covered: slice = _COVERED) -> None:
    struct.pack_into("<I", content, 8, zlib.crc32(content[covered]))


def _name(network: Network) -> bytes:
    name = network.name.encode()
    if not 1 <= len(name) < NAME_BYTES or b"\0" in name:
        raise NetworkError(
            f"{network.name!r}: a board takes names of 1 to {NAME_BYTES - 1} bytes, not {len(name)}"
        )
    return name


def _fits(value: int, limit: int, name: str, what: str) -> int:
    if value > limit:
        raise NetworkError(f"{name}: its {what} is {value}, a board takes at most {limit}")
    return value
