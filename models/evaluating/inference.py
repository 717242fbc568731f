"""Running networks over many frames, for calibration and evaluation."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.network import find_network
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.types import FloatArray


class Serialisable(Protocol):
    """An ONNX model in memory."""

    def SerializeToString(self) -> bytes:  # noqa: N802
        """The content of its file."""
        ...


def open_session(model: Serialisable | bytes | Path) -> Any:
    """A session on one thread that does not spin; raises NetworkError for what is no model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if isinstance(model, Path):
        try:
            content = model.read_bytes()
        except OSError as error:
            raise NetworkError(f"{model}: {error.strerror}") from error
    else:
        content = model if isinstance(model, bytes) else model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common public base
        where = model if isinstance(model, Path) else "the model"
        raise NetworkError(f"{where}: not a readable ONNX network ({error})") from error


def run_frames(model: Serialisable | bytes | Path, frames: NDArray[np.uint8]) -> FloatArray:
    """(n, k) outputs of a network over frames (n, h, w), one at a time as in flight."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    outputs = [session.run(None, {name: frame[None, None]})[0][0] for frame in frames]
    return np.stack(outputs).astype(np.float32)


def run_engine(engine: Engine, frames: NDArray[np.uint8]) -> FloatArray:
    """(n, k) outputs of an engine over frames (n, h, w); raises as `Engine.run`."""
    return np.stack([engine.run(frame).copy() for frame in frames])


def run_network(
    name_or_path: str, frames: NDArray[np.uint8], zoo: Path | None = None
) -> FloatArray:
    """(n, k) outputs of a network in any form over frames (n, h, w); raises as `load_engine` and
    `Engine.run`."""
    with closing(load_engine(name_or_path, zoo)) as engine:
        return run_engine(engine, frames)


def find_model(name: str, zoo: Path | None = None) -> bytes | Path:
    """A network of the zoo by name (its bytes verified), or an `.onnx` file."""
    return Path(name) if name.endswith(".onnx") else find_network(name, zoo).verified_bytes()
