"""The firmware's core as a library of this machine, built by its compiler and driven by ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from gearshift.firmware_bridge.board.network_image import MAX_NETWORKS, MAX_OUTPUTS
from gearshift.runtime.engines.integer_network import (
    Geometry,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    connected_layer,
    convolution_layer,
    pool_layer,
)
from gearshift.runtime.scheduling.scripted import scripted_network
from gearshift.runtime.types import Component, FloatArray, HeadGrid, Image

from ...conftest import SharedFolder

FIRMWARE = Path(__file__).parents[3] / "firmware_bridge" / "firmware"
DRIVER = Path(__file__).with_name("driver.c")
SOURCES = (
    "configuration",
    "crc32",
    "difficulty",
    "filter",
    "history",
    "kernels",
    "network",
    "network_image",
    "policy",
    "portable",
    "scheduler",
    "status",
)
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fPIC", "-shared")
MAX_COMPONENTS = 16
LIBRARY_VARIABLE = "GEARSHIFT_CORE_LIBRARY"
"""Names a library built otherwise, such as one with sanitizers, for the tests to run on."""

RESULT = np.dtype(
    [
        ("values", "<f4", MAX_COMPONENTS),
        ("deviation", "<f4", MAX_COMPONENTS),
        ("presence", "<f4"),
        ("signal", "<f4"),
        ("threshold", "<f4"),
        ("answered", "u1"),
        ("networks", "u1"),
        ("reason", "u1"),
        ("flags", "u1"),
        ("time_ns", "<i8", 4),
    ],
    align=True,
)
"""`result` of driver.c."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the core says of one frame: layer_bytes are all layers' outputs behind one another."""

    status: int
    outputs: NDArray[np.int32]
    values: FloatArray
    sums: tuple[int, ...]
    layer_bytes: bytes
    arena_bytes: int


class Core:
    """The driver's functions with arrays as arguments."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.driver_policy_name.restype = ctypes.c_char_p
        self._library.gs_status_text.restype = ctypes.c_char_p

    def run(
        self,
        image: bytes,
        frame: Image,
        cores: int = 1,
        missing_bytes: int = 0,
        *,
        observed: bool = True,
    ) -> Run:
        """Run an image on a frame; missing_bytes: how much the arena is too small. Unobserved, it
        runs as on a board and the layers' outputs are not to be had."""
        outputs = np.zeros(MAX_OUTPUTS, np.int32)
        values = np.zeros(MAX_OUTPUTS, np.float32)
        sums = np.zeros(64, np.uint64)
        layer_bytes = np.zeros(1 << 20 if observed else 0, np.uint8)
        arena = ctypes.c_uint32()
        status = self._library.driver_run(
            image,
            ctypes.c_size_t(len(image)),
            np.ascontiguousarray(frame).ctypes,
            ctypes.c_uint32(cores),
            ctypes.c_uint32(missing_bytes),
            outputs.ctypes,
            values.ctypes,
            sums.ctypes if observed else None,
            layer_bytes.ctypes,
            ctypes.c_size_t(layer_bytes.size),
            ctypes.byref(arena),
        )
        return Run(
            status,
            outputs,
            values,
            tuple(int(value) for value in sums),
            layer_bytes.tobytes(),
            arena.value,
        )

    def try_image(self, image: bytes) -> int:
        """The status of opening, and where that goes well of running, these bytes."""
        return int(self._library.driver_try_image(image, ctypes.c_size_t(len(image))))

    def try_bundle(self, image: bytes) -> tuple[int, list[str]]:
        """The status of opening a bundle and the identities of the networks in it."""
        count = ctypes.c_uint32()
        digests = np.zeros((MAX_NETWORKS, 32), np.uint8)
        status = self._library.driver_try_bundle(
            image, ctypes.c_size_t(len(image)), ctypes.byref(count), digests.ctypes
        )
        return status, [digest.tobytes().hex() for digest in digests[: count.value]]

    def fly(
        self,
        configuration: bytes,
        times: NDArray[np.int64],
        outputs: Sequence[FloatArray],
        failing: Sequence[NDArray[np.uint8]],
        durations: Sequence[NDArray[np.int64]],
        *,
        angular: int,
        tick: int = 0,
        thresholds: FloatArray | None = None,
        reset_at: int | None = None,
    ) -> tuple[int, NDArray[Any]]:
        """The status and the RESULT of every frame; the sequences are by role."""
        frames = len(times)
        if thresholds is None:
            thresholds = np.full(frames, np.nan, np.float32)
        results = np.zeros(frames, RESULT)
        n, classes = outputs[0].shape[1], outputs[2].shape[1]
        kept: list[Any] = []

        def pointers(arrays: Sequence[NDArray[Any]], dtype: Any) -> Any:
            whole = [np.ascontiguousarray(array, dtype) for array in arrays]
            kept.extend(whole)
            return (ctypes.c_void_p * len(whole))(*(array.ctypes.data for array in whole))

        status = self._library.driver_fly(
            configuration,
            ctypes.c_size_t(len(configuration)),
            ctypes.c_uint32(n),
            ctypes.c_uint32(classes),
            ctypes.c_uint32(angular),
            ctypes.c_uint32(frames),
            np.ascontiguousarray(times, np.int64).ctypes,
            pointers(outputs, np.float32),
            pointers(failing, np.uint8),
            pointers(durations, np.int64),
            ctypes.c_int64(tick),
            np.ascontiguousarray(thresholds, np.float32).ctypes,
            ctypes.c_uint32(frames if reset_at is None else reset_at),
            results.ctypes,
        )
        return status, results

    def misuse(self, good: bytes, bad: bytes) -> tuple[list[str], bool]:
        """What an unconfigured loop answers to a frame and a threshold, then to a good
        configuration, a NaN threshold and a bad configuration; whether the good one held."""
        status, held = (ctypes.c_int * 5)(), ctypes.c_int()
        aligned = [ctypes.create_string_buffer(content, len(content)) for content in (good, bad)]
        self._library.driver_misuse(
            aligned[0],
            ctypes.c_size_t(len(good)),
            aligned[1],
            ctypes.c_size_t(len(bad)),
            status,
            ctypes.byref(held),
        )
        return [self.status_text(code) for code in status], bool(held.value)

    def configure(self, configuration: bytes, engines: Sequence[Sequence[int]]) -> str:
        """What configuring a loop with engines of these (height, width, outputs, angular, kind)
        answers."""
        described = np.array(engines, np.uint32)
        status = self._library.driver_configure(
            configuration,
            ctypes.c_size_t(len(configuration)),
            ctypes.c_uint32(len(engines)),
            described.ctypes,
        )
        return self.status_text(status)

    def policy_name(self, code: int) -> str:
        """The name in the core's table."""
        return str(self._library.driver_policy_name(code).decode())

    def status_text(self, status: int) -> str:
        """The core's words for a status."""
        return str(self._library.gs_status_text(status).decode())

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        """A function of the core itself."""
        function = getattr(self._library, name)
        function.restype = result
        function.argtypes = arguments
        return function


def _build_core(target: Path, *flags: str) -> Path:
    """Compile core and driver into a library; skips the test where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the firmware's core with")
    sources = [str(FIRMWARE / "core" / f"{name}.c") for name in SOURCES]
    command = [compiler, *FLAGS, *flags, "-I", str(FIRMWARE / "include"), *sources, str(DRIVER)]
    done = subprocess.run(
        [*command, "-o", str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


@st.composite
def _integer_networks(draw: st.DrawFn) -> IntegerNetwork:
    """Networks of every kind of layer, some with numbers at the edge of int64."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width, channels = draw(st.integers(3, 16)), draw(st.integers(3, 16)), 1
    size = (height, width)
    layers: list[IntegerLayer] = []
    for index in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from((IntegerKind.CONV, IntegerKind.DEPTHWISE, IntegerKind.POOL)))
        kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        padding = 0 if kind is IntegerKind.POOL else draw(st.integers(0, kernel - 1))
        if min(height, width) + 2 * padding < kernel:
            continue
        out = draw(st.integers(1, 9)) if kind is IntegerKind.CONV else channels
        shift = draw(st.sampled_from((24, 24, 10, 0, 62)))
        geometry = Geometry(kind, channels, height, width, out, kernel, stride, padding, shift)
        layers.append(_random_layer(rng, f"layer{index}", geometry, draw(st.booleans())))
        height, width, channels = geometry.out_height, geometry.out_width, out
    localises = draw(st.booleans())
    grid = HeadGrid(draw(st.integers(1, 4)), draw(st.integers(1, 3))) if localises else None
    components = () if grid is not None else _components(draw)
    description = scripted_network(draw(st.sampled_from(("a", "Ünïcode", "n" * 31))), components)
    description = replace(description, height=size[0], width=size[1], grid=grid)
    outputs = description.output_size
    head = Geometry(IntegerKind.FULLY_CONNECTED, channels, height, width, outputs)
    layers.append(_random_layer(rng, "head", head, large=False))
    return IntegerNetwork(description, tuple(layers), rng.uniform(1e-9, 1e3, outputs))


def _components(draw: st.DrawFn) -> tuple[Component, ...]:
    angles = draw(st.lists(st.booleans(), min_size=1, max_size=6))
    return tuple(Component(f"c{i}", "m", angular) for i, angular in enumerate(angles))


def _random_layer(
    rng: np.random.Generator, name: str, geometry: Geometry, large: bool
) -> IntegerLayer:
    """Numbers that keep the bytes of the next layer busy; large: as large as int64 allows."""
    if geometry.kind is IntegerKind.POOL:
        return pool_layer(name, geometry)
    shape, out = geometry.weight_shape, geometry.out_channels
    weight = rng.integers(-128, 128, shape, dtype=np.int8)
    if geometry.kind is IntegerKind.FULLY_CONNECTED:
        return connected_layer(name, geometry, weight, rng.integers(-(10**6), 10**6, out, np.int32))
    reach = 255 * 128 * weight[0].size
    if large:
        kappa = rng.integers(-(2**62) // reach, 2**62 // reach, out)
        lambda_ = rng.integers(-(2**62), 2**62, out)
    else:
        # Around one step of the output, so that the last bit before the shift matters at times.
        shift = min(geometry.shift, 40)
        kappa = np.rint(2.0**shift * 255 / (reach**0.5 * 100) * rng.uniform(-1, 1, out))
        kappa = kappa.astype(np.int64) + rng.integers(-1, 2, out)
        lambda_ = rng.integers(-(2**shift) * 64, 2**shift * 320, out)
    return convolution_layer(name, geometry, weight, kappa, lambda_)


@pytest.fixture(scope="session")
def integer_networks() -> st.SearchStrategy[IntegerNetwork]:
    """Random small networks, regressions and head localisers."""
    return _integer_networks()


@pytest.fixture(scope="session")
def build_core() -> Callable[..., Path]:
    """Builds the core with further flags: (target, *flags) -> target."""
    return _build_core


@pytest.fixture(scope="session")
def core(shared_folder: SharedFolder) -> Core:
    """The core of this checkout."""
    given = os.environ.get(LIBRARY_VARIABLE)
    if given:
        return Core(Path(given))

    def make(folder: Path) -> None:
        _build_core(folder / "libgearshift.so")

    return Core(shared_folder("core", make) / "libgearshift.so")
