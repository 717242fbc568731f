"""The probe of int8 kernels is what it says it is; emulated processors are in test_cpu_levels."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gearshift.runtime.engines.onnx_kernels import PROBE, TERMS, kernels_saturate
from gearshift.runtime.machine import this_machine


def test_the_probe_is_one_product_of_largest_weights() -> None:
    weights = numpy_helper.from_array(np.full((TERMS, 1), 127, np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["sums"])],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, TERMS])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 1])],
        initializer=[weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert onnx.load_from_string(PROBE) == model


def test_vnni_does_not_saturate() -> None:
    if {"avx512_vnni", "avx_vnni"} & set(this_machine().features):
        assert not kernels_saturate()
