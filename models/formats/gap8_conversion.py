"""From int8 ONNX to GAP8's integer arithmetic.

The layers of an int8 network (`qdq_chain`) have weights w * s_w per output channel, bytes a * s_a
per activation and real biases. A convolution in real numbers is therefore

    out * s_out = s_w s_a acc + bias    =>    out = floor((kappa * acc + lambda) / 2**shift)

with kappa = s_w s_a / s_out and lambda = bias / s_out + 1/2, both in units of 2**-shift: the half
turns the board's rounding down into rounding to nearest. kappa is per channel, so weights keep a
scale per channel, depthwise ones among them, where DORY's own exports have one per layer. The
head's int32 outputs count in s_w s_a per output (DORY's eps). The arithmetic's source is in
`runtime/engines/integer_network.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gearshift.models.formats.qdq_chain import QuantisedLayer, read_chain
from gearshift.runtime.engines.integer_network import (
    SHIFT,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    connected_layer,
    convolution_layer,
    pool_layer,
)
from gearshift.runtime.errors import NetworkError


def integers_of_onnx(content: bytes, where: str, *, shift: int = SHIFT) -> IntegerNetwork:
    """The integer network of an int8 model of ours; raises NetworkError for any other model.

    It differs from the model only where rounding does: kappa is rounded to 2**-shift. Raises
    NetworkError also for a shift with which a requantisation could leave int64.
    """
    chain = read_chain(content, where)
    try:
        layers = tuple(_integers(layer, where, shift) for layer in chain.layers)
    except ValueError as error:
        raise NetworkError(f"{where}: {error}") from error
    # What was measured on the int8 graph is no measurement of this format.
    described = replace(chain.network, mae={})
    return IntegerNetwork(described, layers, chain.layers[-1].sum_scale)


def _integers(layer: QuantisedLayer, where: str, shift: int) -> IntegerLayer:
    if layer.geometry.kind is IntegerKind.POOL:
        return pool_layer(layer.name, layer.geometry)
    if layer.output_scale is None:
        bias = np.rint(layer.bias / layer.sum_scale)
        if np.abs(bias).max() >= 2.0**31:
            raise NetworkError(f"{where}: a bias of {layer.name} does not fit int32")
        return connected_layer(layer.name, layer.geometry, layer.weight, bias.astype(np.int32))
    kappa = np.rint(layer.sum_scale / layer.output_scale * 2.0**shift)
    lambda_ = np.floor((layer.bias / layer.output_scale + 0.5) * 2.0**shift)
    if max(np.abs(kappa).max(), np.abs(lambda_).max()) >= 2.0**62:
        raise NetworkError(f"{where}: {layer.name} has a scale beyond int64")
    return convolution_layer(
        layer.name,
        replace(layer.geometry, shift=shift),
        layer.weight,
        kappa.astype(np.int64),
        lambda_.astype(np.int64),
    )
