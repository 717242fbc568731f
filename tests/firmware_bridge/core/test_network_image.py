"""Network images: what was packed is what is read; what was damaged is refused on both sides."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.firmware_bridge.board.network_image import (
    MAX_NETWORKS,
    network_identity,
    pack_bundle,
    pack_network,
    read_bundle,
    read_network,
)
from gearshift.runtime.engines.integer_engine import IntegerEngine
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.errors import NetworkError

LAYERS_AT, SCALES_AT = 96, 100
OUTPUTS_AT = 88
LAYER_BYTES = 40


def renamed(network: IntegerNetwork, name: str) -> IntegerNetwork:
    description = replace(network.network, name=name)
    return IntegerNetwork(description, network.layers, network.output_scale)


def signed(image: bytearray) -> bytes:
    """The image with the hash and the CRC of its content, as a hostile writer would make it."""
    image[8:12] = bytes(4)
    image[16:48] = bytes(32)
    image[16:48] = hashlib.sha256(image).digest()
    struct.pack_into("<I", image, 8, zlib.crc32(image[12:]))
    return bytes(image)


def check_same(a: IntegerNetwork, b: IntegerNetwork) -> None:
    assert a.network == b.network
    assert a.output_scale.tobytes() == b.output_scale.tobytes()
    for one, other in zip(a.layers, b.layers, strict=True):
        assert (one.name, one.geometry) == (other.name, other.geometry)
        for field in ("weight", "kappa", "lambda_", "bias"):
            left, right = getattr(one, field), getattr(other, field)
            assert (left.dtype, left.shape) == (right.dtype, right.shape)
            assert np.array_equal(left, right)


@settings(max_examples=60)
@given(data=st.data())
def test_round_trip(core: Any, integer_networks: Any, data: Any) -> None:
    network = data.draw(integer_networks)
    image = pack_network(network)
    again = read_network(image, "image")
    check_same(network, again)
    assert pack_network(again) == image
    assert len(image) % 8 == 0
    assert core.try_image(image) == 0
    IntegerEngine(again).close()


@settings(max_examples=20)
@given(data=st.data(), count=st.integers(1, 3), rest=st.binary(max_size=9))
def test_bundles(core: Any, integer_networks: Any, data: Any, count: int, rest: bytes) -> None:
    """Networks keep their order; what lies behind a bundle in memory does not matter."""
    networks = [renamed(data.draw(integer_networks), f"n{i}") for i in range(count)]
    bundle = pack_bundle(networks)
    again = read_bundle(bundle.image + rest, "bundle")
    assert again.image == bundle.image
    for one, other in zip(networks, again.networks, strict=True):
        check_same(one, other)
    status, identities = core.try_bundle(bundle.image + rest)
    assert status == 0
    assert identities == [network_identity(pack_network(network)) for network in networks]


@settings(max_examples=20)
@given(data=st.data())
def test_a_network_is_a_bundle_of_one(integer_networks: Any, data: Any) -> None:
    image = pack_network(data.draw(integer_networks))
    assert read_bundle(image, "image").image == image


@settings(max_examples=40)
@given(data=st.data())
def test_an_identity_is_one_networks(integer_networks: Any, data: Any) -> None:
    network = data.draw(integer_networks)
    changed = replace(network.layers[-1], bias=network.layers[-1].bias + np.int32(1))
    other = IntegerNetwork(network.network, (*network.layers[:-1], changed), network.output_scale)
    assert network_identity(pack_network(network)) != network_identity(pack_network(other))


@settings(max_examples=200)
@given(data=st.data())
def test_flipped_bits_are_refused(core: Any, integer_networks: Any, data: Any) -> None:
    image = bytearray(pack_network(data.draw(integer_networks)))
    for position in data.draw(
        st.lists(st.integers(0, 8 * len(image) - 1), min_size=1, unique=True)
    ):
        image[position // 8] ^= 1 << position % 8
    status = core.try_image(bytes(image))
    assert status != 0
    assert core.status_text(status) != "unknown status"
    with pytest.raises(NetworkError) as error:
        read_network(bytes(image), "image")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("image: ")


@settings(max_examples=60)
@given(data=st.data())
def test_truncated_images_are_refused(core: Any, integer_networks: Any, data: Any) -> None:
    image = pack_network(data.draw(integer_networks))
    short = image[: data.draw(st.integers(0, len(image) - 1))]
    assert core.try_image(short) != 0
    assert core.try_bundle(short)[0] != 0
    for read in (read_network, read_bundle):
        with pytest.raises(NetworkError):
            read(short, "image")


@pytest.mark.slow
@settings(max_examples=400)
@given(data=st.data())
def test_hostile_images_do_no_harm(core: Any, integer_networks: Any, data: Any) -> None:
    """Header and layer table changed at will, checksum made good: refused, or run within bounds.

    The sanitizer run of this test is what would see a byte read beyond the image.
    """
    image = bytearray(pack_network(data.draw(integer_networks)))
    (table,) = struct.unpack_from("<I", image, LAYERS_AT)
    layers = struct.unpack_from("<H", image, 14)[0]
    places = st.one_of(st.integers(12, 111), st.integers(table, table + LAYER_BYTES * layers - 1))
    odd = st.sampled_from((0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFE, 0xFF))
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(places)] = data.draw(odd)
    content = signed(image)
    status = core.try_image(content)
    try:
        read_network(content, "image")
    except NetworkError:
        return
    assert status == 0


@pytest.mark.parametrize(
    ("offset", "layout", "change"),
    [
        (0, "<4s", (b"GSN2", "not the expected kind")),
        (4, "<I", (0xFFFFFFF8, "wrong length")),
        (12, "<H", (2, "unknown format version")),
        (14, "<H", (0, "not enough memory")),
        (OUTPUTS_AT, "<H", (999, "not enough memory")),
        (LAYERS_AT, "<I", (0xFFFFFFF0, "lies outside")),
        (SCALES_AT, "<I", (0xFFFFFFF0, "lies outside")),
    ],
)
def test_every_refusal_has_its_status(
    core: Any, integer_networks: Any, offset: int, layout: str, change: tuple[Any, str]
) -> None:
    image = bytearray(pack_network(example(integer_networks)))
    value, text = change
    struct.pack_into(layout, image, offset, value)
    assert text in core.status_text(core.try_image(signed(image)))


def example(strategy: Any) -> IntegerNetwork:
    """One network with a convolution, always the same."""
    found: list[IntegerNetwork] = []

    @settings(max_examples=50, derandomize=True, database=None)
    @given(strategy)
    def look(network: IntegerNetwork) -> None:
        if (
            len(network.layers) > 2
            and network.layers[0].kappa.size
            and network.network.grid is None
        ):
            found.append(network)

    look()
    return found[0]


def test_sums_that_could_overflow_are_refused(core: Any, integer_networks: Any) -> None:
    """kappa and lambda at the edge of int64 pass the checksum but not the arithmetic."""
    network = example(integer_networks)
    image = bytearray(pack_network(network))
    (table,) = struct.unpack_from("<I", image, LAYERS_AT)
    kappa, lambda_ = struct.unpack_from("<II", image, table + 24)
    for at, value in ((kappa, 2**63 - 1), (kappa, -(2**63)), (lambda_, -(2**63))):
        damaged = bytearray(image)
        struct.pack_into("<q", damaged, at, value)
        assert core.status_text(core.try_image(signed(damaged))) == "sums can overflow"
    head = table + LAYER_BYTES * (len(network.layers) - 1)
    (bias,) = struct.unpack_from("<I", image, head + 32)
    struct.pack_into("<i", image, bias, 2**31 - 1)
    assert core.status_text(core.try_image(signed(image))) == "sums can overflow"


def test_what_an_image_cannot_say_is_refused(integer_networks: Any) -> None:
    network = example(integer_networks)
    with pytest.raises(NetworkError, match="31 bytes"):
        pack_network(renamed(network, "n" * 32))
    with pytest.raises(NetworkError, match="31 bytes"):
        pack_network(renamed(network, ""))
    with pytest.raises(NetworkError, match="different names: a, a"):
        pack_bundle([renamed(network, "a"), renamed(network, "a")])
    with pytest.raises(NetworkError, match="1 to 8 networks"):
        pack_bundle([])
    many = [renamed(network, f"n{i}") for i in range(MAX_NETWORKS + 1)]
    with pytest.raises(NetworkError, match="1 to 8 networks"):
        pack_bundle(many)


def test_metadata_that_is_no_network_is_one_clear_line(integer_networks: Any) -> None:
    network = example(integer_networks)
    image = pack_network(network)
    start = image.index(b'{"layers"')
    for damage in (b"[1]", b"{}", b'{"layers": [], "network": 3}'):
        changed = bytearray(image)
        (length,) = struct.unpack_from("<I", image, 108)
        changed[start : start + length] = damage.ljust(length)
        with pytest.raises(NetworkError, match="image: ") as error:
            read_network(signed(changed), "image")
        assert "\n" not in str(error.value)
    assert json.loads(image[start:].rstrip(b"\0"))["layers"][0] == network.layers[0].name
