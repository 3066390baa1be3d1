"""A float `.tflite` as TensorFlow sees it, so that TFLiteConverter can quantize the same network.

    python benchmarks/tensorflow_twin.py MODEL.tflite FOLDER

TFLiteConverter takes no `.tflite`. Each operator becomes the TensorFlow function of the same name
with the same weights, and the SavedModel goes to FOLDER: for plain convolutional networks only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgekit.tflite.graph import Operator
from edgekit.tflite.model import read

_PADDING = ("SAME", "VALID")
_ACTIVATIONS: dict[int, Callable[[Any], Any]] = {
    0: lambda value: value,
    1: tf.nn.relu,
    3: tf.nn.relu6,
}


def save_twin(path: Path, folder: Path) -> None:
    """Write the SavedModel.

    Raises:
        SystemExit: an operator has no function here.
    """
    graph = read(path).subgraphs[0]

    def run(*values: Any) -> list[Any]:
        known = dict(zip((tensor.index for tensor in graph.inputs), values, strict=True))
        for operator in graph.operators:
            make = _FUNCTIONS.get(operator.name)
            if make is None:
                raise SystemExit(f"no TensorFlow function is known here for {operator.name}")
            inputs = [
                tensor.data() if tensor.is_constant else known[tensor.index]
                for tensor in operator.inputs
                if tensor is not None
            ]
            known[operator.outputs[0].index] = make(operator, *inputs)
        return [known[tensor.index] for tensor in graph.outputs]

    specs = [tf.TensorSpec(tensor.shape, tf.float32) for tensor in graph.inputs]
    module = tf.Module()
    module.run = tf.function(run, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=_named(module.run))


def _named(function: Any) -> Any:
    """The outputs by names, as signatures want them."""

    def serve(*values: Any) -> dict[str, Any]:
        return {f"output_{number}": value for number, value in enumerate(function(*values))}

    return tf.function(serve, input_signature=function.input_signature)


def _convolution(operator: Operator, value: Any, weights: Any, bias: Any) -> Any:
    kernel = weights.transpose(1, 2, 3, 0)  # TFLite: (out, height, width, in)
    result = tf.nn.conv2d(value, kernel, **_window(operator)) + bias
    return _activated(operator, result)


def _depthwise(operator: Operator, value: Any, weights: Any, bias: Any) -> Any:
    kernel = weights.transpose(1, 2, 3, 0)  # TFLite: (1, height, width, channels)
    window = _window(operator)
    window["strides"] = [1, *window["strides"], 1]
    return _activated(operator, tf.nn.depthwise_conv2d(value, kernel, **window) + bias)


def _window(operator: Operator) -> dict[str, Any]:
    told = operator.raw.builtinOptions
    return {
        "strides": [told.strideH, told.strideW],
        "padding": _PADDING[told.padding],
        "dilations": [told.dilationHFactor, told.dilationWFactor],
    }


def _dense(operator: Operator, value: Any, weights: Any, bias: Any) -> Any:
    return _activated(operator, tf.matmul(value, weights, transpose_b=True) + bias)


def _mean(operator: Operator, value: Any, axes: Any) -> Any:
    kept = operator.raw.builtinOptions.keepDims
    return tf.reduce_mean(value, axis=axes.tolist(), keepdims=kept)


def _activated(operator: Operator, value: Any) -> Any:
    return _ACTIVATIONS[operator.raw.builtinOptions.fusedActivationFunction](value)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ADD": lambda operator, left, right: _activated(operator, left + right),
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "MEAN": _mean,
    "PAD": lambda _operator, value, amounts: tf.pad(value, amounts),
    "RESHAPE": lambda _operator, value, shape: tf.reshape(value, shape),
}


if __name__ == "__main__":
    save_twin(Path(sys.argv[1]), Path(sys.argv[2]))
