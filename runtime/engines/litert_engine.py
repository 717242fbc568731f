"""LiteRT (TensorFlow Lite) on one thread, for networks of `gearshift models export tflite`.

The model takes one input, uint8 [1, height, width, 1], and gives one output, float32 [1, k];
`litert_metadata` says where its description lies. The interpreter is ai-edge-litert's, or that of
tflite-runtime, its predecessor, where only that is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from gearshift.runtime.engines.engine import check_image
from gearshift.runtime.engines.litert_metadata import read_document
from gearshift.runtime.engines.network import LITERT, Network, NetworkSource
from gearshift.runtime.errors import (
    ConfigurationError,
    EngineError,
    MissingExtraError,
    NetworkError,
    one_line,
)
from gearshift.runtime.installation import install_line
from gearshift.runtime.types import FloatArray, Image

RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
"""Packages that have the interpreter, the preferred one first, and its module."""


class LiteRtEngine:
    """Runs a TFLite model through views of the interpreter's own memory.

    content: the model file. where: names it in errors. runtime: one of `RUNTIMES`; None takes the
    first that is installed. Raises NetworkError when it is no TFLite model, was damaged, carries no
    metadata of ours, or its interface is not what its metadata says; MissingExtraError without
    the package.
    """

    def __init__(self, content: bytes, where: str, runtime: str | None = None) -> None:
        self.network = Network.from_json(read_document(content, where), where)
        interpreter_type = _interpreter_type(runtime)
        try:
            interpreter = interpreter_type(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise NetworkError(f"{where}: LiteRT cannot load it ({one_line(error)})") from error
        network = self.network
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        frame = (1, network.height, network.width, 1)
        _check("input", inputs, np.uint8, frame, where)
        _check("output", outputs, np.float32, (1, network.output_size), where)
        self._interpreter = interpreter
        # The interpreter refuses to run while a view of its memory is alive: only what makes the
        # views is kept, and each lives for one statement.
        self._input: Callable[[], Any] = interpreter.tensor(inputs[0]["index"])
        self._result: Callable[[], Any] = interpreter.tensor(outputs[0]["index"])
        self._invoke: Callable[[], None] = interpreter.invoke
        self._shape = (network.height, network.width)
        self._batch = np.zeros((1, network.output_size), dtype=np.float32)
        self._output: FloatArray = self._batch[0]

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`."""
        if image.shape != self._shape or image.dtype != np.uint8:
            check_image(image, self.network)
        np.copyto(self._input(), image[None, :, :, None])
        try:
            self._invoke()
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{self.network.name} failed: {one_line(error)}") from error
        np.copyto(self._batch, self._result())
        return self._output

    def close(self) -> None:
        """See `Engine.close`."""
        self._input = self._result = self._invoke = _closed
        self._interpreter = None


def open_litert(source: NetworkSource, argument: str | None) -> LiteRtEngine:
    """The engine `litert`, or `litert:RUNTIME` for one of `RUNTIMES`.

    Raises NetworkError, ConfigurationError for another runtime, MissingExtraError where it is not
    installed.
    """
    if argument is not None and argument not in RUNTIMES:
        raise ConfigurationError(
            f"engine {LITERT}:{argument}: there is no such runtime, only {' and '.join(RUNTIMES)}"
        )
    file = source.form(LITERT)
    return LiteRtEngine(file.verified_bytes(), str(file.path), argument)


def _interpreter_type(runtime: str | None) -> Any:
    """The interpreter's class; raises MissingExtraError without its package."""
    for name, module in RUNTIMES.items():
        if runtime in (None, name) and find_spec(module.split(".", maxsplit=1)[0]) is not None:
            return importlib.import_module(module).Interpreter
    raise MissingExtraError(
        f"engine {LITERT} needs the package {runtime or next(iter(RUNTIMES))}: "
        + (f"pip install {runtime}" if runtime else install_line(LITERT))
    )


def _check(
    kind: str,
    details: list[dict[str, Any]],
    dtype: type[np.generic],
    shape: tuple[int, ...],
    where: str,
) -> None:
    """Raise NetworkError unless there is one input or output of this type and shape."""
    actual = [(np.dtype(item["dtype"]), tuple(item["shape"].tolist())) for item in details]
    if actual != [(np.dtype(dtype), shape)]:
        found = "; ".join(f"{item} {list(size)}" for item, size in actual)
        raise NetworkError(
            f"{where}: {kind} is {found}, its metadata asks for {np.dtype(dtype)} {list(shape)}"
        )


def _closed() -> None:
    raise EngineError("its engine is closed")
