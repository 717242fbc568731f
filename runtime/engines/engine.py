"""What runs one network: load once, run on every frame into arrays that stay."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from gearshift.runtime.engines.network import (
    Network,
)
from gearshift.runtime.errors import ConfigurationError, FrameError
from gearshift.runtime.types import FloatArray, Image


class Engine(Protocol):
    """Runs one network on single frames. Every engine passes `engine_conformance.engine_checks`."""

    @property
    def network(self) -> Network:
        """The interface of the network."""

    def run(self, image: Image) -> FloatArray:
        """The outputs, float32 (k,), for a (height, width) uint8 image.

        The array is valid until the next run. Raises FrameError when the image does not fit (the
        network was not run) and EngineError when the network failed.
        """

    def close(self) -> None:
        """Give back what the engine holds; running it afterwards raises EngineError."""


def check_image(image: Image, network: Network) -> None:
    """Raise FrameError, in one line, unless the image is (height, width) uint8 as `network`
    wants."""
    if image.shape != (network.height, network.width) or image.dtype != np.uint8:
        shape = "x".join(str(size) for size in image.shape)
        raise FrameError(
            f"frame is {shape} {image.dtype}, {network.name} takes "
            f"{network.height}x{network.width} uint8 (height x width)"
        )


def takes_no_argument(engine: str, argument: str | None) -> None:
    """Raise ConfigurationError where one was given."""
    if argument is not None:
        raise ConfigurationError(f"engine {engine} takes no argument, but {argument!r} was given")
