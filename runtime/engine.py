"""What runs one network: load once, run on every frame into arrays that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from gearshift.runtime.errors import FrameError, NetworkError
from gearshift.runtime.network import Network, find_network
from gearshift.runtime.types import FloatArray, Image


class Engine(Protocol):
    """Runs one network on single frames. Every engine passes `conformance.engine_checks`."""

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


def load_engine(name_or_path: str | Path, zoo: Path | None = None) -> Engine:
    """An engine for a network of the zoo (verified against the manifest) or for a file.

    A `Path`, a string that ends in `.onnx`, or one with a slash is an ONNX file or the folder of a
    GAP8 deployment; zoo: the folder to look names up in, default the one that ships with the
    package. Raises NetworkError.
    """
    named = isinstance(name_or_path, str) and "/" not in name_or_path
    if not named and Path(name_or_path).is_dir():
        from gearshift.runtime.gap8_folder import load_gap8_engine

        return load_gap8_engine(Path(name_or_path))
    # Importing ONNX Runtime takes 100 ms, which a reader of recordings need not wait for.
    from gearshift.runtime.onnx_engine import OnnxEngine

    if not named or str(name_or_path).endswith(".onnx"):
        path = Path(name_or_path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise NetworkError(f"{path}: {error.strerror}") from error
        return OnnxEngine(content, str(path))
    file = find_network(str(name_or_path), zoo)
    return OnnxEngine(file.verified_bytes(), str(file.path))
