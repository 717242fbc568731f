"""Whether ONNX Runtime's int8 kernels are exact on this processor, found out by running one.

On x86 without VNNI they add pairs of u8 x s8 products in 16 bits, which saturates: metres of error.
Flags in /proc/cpuinfo would not do: they say nothing of which kernel was chosen, and in an emulator
they are another processor's.
"""

from __future__ import annotations

import base64
import functools

import numpy as np
import onnxruntime

# One MatMulInteger of uint8 (1, 16) `a` with sixteen int8 weights of 127: 116 bytes, which a test
# builds anew.
PROBE = base64.b64decode(
    "CAg6agobCgFhCgFiEgRzdW1zIg1NYXRNdWxJbnRlZ2VyEgFnKhsIEAgBEANCAWJKEH9/f39/f39/f39/f39/f39aEwoB"
    "YRIOCgwIAhIICgIIAQoCCBBiFgoEc3VtcxIOCgwIBhIICgIIAQoCCAFCBAoAEA0="
)
TERMS = 16
LARGEST = 255 * 127


@functools.cache
def kernels_saturate() -> bool:
    """Whether the largest possible products come out too small; takes a few milliseconds, once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(PROBE, options, providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"a": np.full((1, TERMS), 255, np.uint8)})
    return bool(sums[0, 0] != TERMS * LARGEST)
