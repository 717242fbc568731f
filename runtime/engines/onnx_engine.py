"""ONNX Runtime, set up for one small network per frame on a busy computer.

The model takes one input `image`, uint8 [1, 1, height, width], and gives one output `output`,
float32 [1, k]; `metadata_props["gearshift"]` holds the document of `Network.to_json`.
"""

from __future__ import annotations

import numpy as np
import onnxruntime

from gearshift.runtime.engines.engine import check_image, takes_no_argument
from gearshift.runtime.engines.network import METADATA_KEY, ONNX, Network, NetworkSource
from gearshift.runtime.engines.onnx_kernels import kernels_saturate
from gearshift.runtime.errors import EngineError, NetworkError, one_line
from gearshift.runtime.types import FloatArray, Image

INPUT_NAME = "image"
OUTPUT_NAME = "output"


def session_options() -> onnxruntime.SessionOptions:
    """One thread that does not spin: at 30 Hz spinning threads cost a CPU and ms of jitter."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_cpu_mem_arena = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if kernels_saturate():
        # Exact kernels instead; where the usual ones are exact they are up to half as fast again.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


class OnnxEngine:
    """Runs an ONNX model whose input and output are bound once to persistent arrays.

    content: the model file. where: names it in errors. Raises NetworkError when it is no ONNX
    model, carries no metadata of ours, or its interface is not what its metadata says.
    """

    def __init__(self, content: bytes, where: str) -> None:
        try:
            self._session = onnxruntime.InferenceSession(
                content, session_options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # ONNX Runtime's exceptions share no base class but Exception.
            raise NetworkError(
                f"{where}: ONNX Runtime cannot load it ({one_line(error)})"
            ) from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise NetworkError(
                f"{where}: no {METADATA_KEY!r} metadata; export it with gearshift models"
            )
        self.network = Network.from_json(metadata[METADATA_KEY], where)
        self._check_interface(where)
        height, width = self.network.height, self.network.width
        self._shape = (height, width)
        self._input = np.zeros((1, 1, height, width), dtype=np.uint8)
        self._image = self._input[0, 0]
        self._batch = np.zeros((1, self.network.output_size), dtype=np.float32)
        self._output: FloatArray = self._batch[0]
        binding = self._session.io_binding()
        binding.bind_input(
            INPUT_NAME, "cpu", 0, np.uint8, self._input.shape, self._input.ctypes.data
        )
        binding.bind_output(
            OUTPUT_NAME, "cpu", 0, np.float32, self._batch.shape, self._batch.ctypes.data
        )
        self._binding = binding
        self._run = self._session.run_with_iobinding

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`."""
        if image.shape != self._shape or image.dtype != np.uint8:
            check_image(image, self.network)
        # Copying 15 kB takes less time than binding another address.
        np.copyto(self._image, image)
        try:
            self._run(self._binding)
        except Exception as error:
            raise EngineError(f"{self.network.name} failed: {one_line(error)}") from error
        return self._output

    def close(self) -> None:
        """See `Engine.close`."""
        self._run = self._closed
        self._binding = None
        self._session = None

    def _closed(self, _binding: object) -> None:
        raise EngineError("its engine is closed")

    def _check_interface(self, where: str) -> None:
        network = self.network
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        expected_in = (INPUT_NAME, "tensor(uint8)", [1, 1, network.height, network.width])
        expected_out = (OUTPUT_NAME, "tensor(float)", [1, network.output_size])
        for values, expected, kind in (
            (inputs, expected_in, "input"),
            (outputs, expected_out, "output"),
        ):
            actual = [(value.name, value.type, value.shape) for value in values]
            if actual != [expected]:
                found = "; ".join(_interface(*item) for item in actual)
                raise NetworkError(
                    f"{where}: {kind} is {found}, its metadata asks for {_interface(*expected)}"
                )


def open_onnx(source: NetworkSource, argument: str | None) -> OnnxEngine:
    """The engine `onnx`; raises NetworkError, and ConfigurationError for an argument."""
    takes_no_argument(ONNX, argument)
    file = source.form(ONNX)
    return OnnxEngine(file.verified_bytes(), str(file.path))


def _interface(name: str, kind: str, shape: list[int]) -> str:
    return f"{name} {kind} {shape}"
