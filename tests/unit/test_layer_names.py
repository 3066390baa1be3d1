"""Layers go by the names that people gave them, whatever converters put around these."""

from __future__ import annotations

import pytest

from edgekit.quantize.emit import Exceptions, by_tensor
from edgekit.tflite.layer_names import layer_names, readable
from tests.unit.tflite_builder import random_weights, tiny_net


@pytest.mark.parametrize(
    ("tensor", "wanted"),
    [
        ("sequential_1/conv2d_1/Relu;sequential_1/conv2d_1/BiasAdd;sequential_1/x", "conv2d_1"),
        ("functional_1/block_2_expand/convolution", "block_2_expand"),
        ("sequential_1/flatten_1/Reshape", "flatten_1"),
        ("functional_1/encoder/dense_1/MatMul_1", "encoder.dense_1"),
        ("scores", "scores"),
        ("/features/stem/Conv", "features.stem"),
        ("layer3.0.conv2", "layer3.0.conv2"),
        ("layer3.0.conv2_output_nhwc", "layer3.0.conv2"),
        ("layer3.0.conv2_input_nhwc_padded", "layer3.0.conv2_input"),
        ("", ""),
        ("/", "/"),
    ],
)
def test_what_a_tensor_is_called(tensor, wanted) -> None:
    assert readable(tensor) == wanted


def test_the_name_of_the_weights_wins() -> None:
    net = tiny_net(random_weights())
    kernel = net.main.operators[0].inputs[1]
    assert kernel is not None
    kernel.raw.name = "layer3.0.conv2_conv_filter"
    assert layer_names(net.main.operators) == {"features": "layer3.0.conv2", "scores": "scores"}


def test_operators_are_excepted_by_their_layers_too() -> None:
    net = tiny_net(random_weights())
    kernel = net.main.operators[0].inputs[1]
    assert kernel is not None
    kernel.raw.name = "stem_conv_filter"
    asked = Exceptions(floating=frozenset({"stem"}), sixteen=frozenset({"scores", "unknown"}))
    told = by_tensor(asked, net)
    assert told.floating == {"features"}
    assert told.sixteen == {"scores", "unknown"}  # which is refused where it is looked for
