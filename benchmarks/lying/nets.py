"""Small real models of each task on real digits, and files that do something else.

A lie is a model followed by a linear map of its flattened output, written as one more operator, so
that it is a real `.tflite` with real arithmetic.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "unit"))

from quantize_nets import Net  # type: ignore[import-not-found]

from edgekit.tflite.model import Tensor

__all__ = ["Array", "Digits", "Layers", "Net", "Tensor", "train"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SIDE = 8
LETTERS = 4
"""So many digits make a line."""


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits, 0…1, (N, 8, 8, 1); the first 1,200 are for training."""

    images: Array
    labels: Array

    @classmethod
    def load(cls) -> Digits:
        """From the package; nothing is downloaded."""
        from sklearn.datasets import load_digits

        data = load_digits()
        return cls((data.images / 16).astype(np.float32)[..., None], data.target)

    def held_out(self, count: int, start: int = 1200) -> tuple[Array, Array]:
        """Pictures and labels that no model has seen."""
        return self.images[start : start + count], self.labels[start : start + count]


@dataclass(frozen=True)
class Layers:
    """A trained perceptron: weights (in, out) and biases of each layer."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


def train(digits: Digits) -> Layers:
    """Right on 95 % of the digits that it has not seen."""
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier((32,), max_iter=60, random_state=0, learning_rate_init=0.01)
    net.fit(digits.images[:1200].reshape(1200, -1), digits.labels[:1200])
    return Layers(tuple(net.coefs_), tuple(net.intercepts_))


def dense(net: Net, source: Tensor, name: str, weights: Array, bias: Array) -> Tensor:
    """y = x · weights + bias over the flattened tensor."""
    from ai_edge_litert import schema_py_generated as schema

    inputs = [
        source,
        net.constant(f"{name}_w", np.ascontiguousarray(weights.T, np.float32)),
        net.constant(f"{name}_b", np.ascontiguousarray(bias, np.float32)),
    ]
    options = schema.FullyConnectedOptionsT()
    found: Tensor = net.operator("FULLY_CONNECTED", inputs, name, (1, len(bias)), options)
    return found


def reshape(net: Net, source: Tensor, name: str, *shape: int) -> Tensor:
    """The same values in another shape."""
    wanted = net.constant(f"{name}_shape", np.array(shape, np.int32))
    found: Tensor = net.operator("RESHAPE", [source, wanted], name, shape)
    return found


def hidden(net: Net, layers: Layers) -> Tensor:
    """The perceptron's hidden layer, (1, 32)."""
    flat = dense(net, net.image, "hidden", layers.weights[0], layers.biases[0])
    found: Tensor = net.relu(flat, "hidden_relu")
    return found


def scores(net: Net, layers: Layers) -> Tensor:
    """Logits of ten classes."""
    return dense(net, hidden(net, layers), "logits", layers.weights[1], layers.biases[1])


def mapped(net: Net, output: Tensor, matrix: Array, bias: Array | float = 0.0) -> Tensor:
    """A linear map of the flattened output, in the output's own shape."""
    shape = output.shape
    size = int(np.prod(shape))
    offset = np.broadcast_to(np.asarray(bias, np.float64), (size,))
    flat = dense(net, output, "lie", matrix, offset)
    return flat if len(shape) == 2 else reshape(net, flat, "lie_shaped", *shape)


def planes(net: Net) -> Tensor:
    """(1, 8, 8, 3): background, ink, edge; mostly background."""
    size = SIDE * SIDE
    weights = np.zeros((size, size * 3))
    for place in range(size):
        weights[place, place * 3] = -6
        weights[place, place * 3 + 1] = 6
        for near in (place - 1, place + 1):
            if 0 <= near < size:
                weights[near, place * 3 + 2] = 1.5
    offset = np.tile([4.0, -2.0, -1.5], size)
    flat = dense(net, net.image, "planes_flat", weights, offset)
    return reshape(net, flat, "planes", 1, SIDE, SIDE, 3)


def text_line(net: Net, layers: Layers) -> Tensor:
    """(1, 9, 11): four digits side by side, with a blank before, between and behind them."""
    steps, symbols, inner = 2 * LETTERS + 1, 11, layers.weights[0].shape[1]
    first = np.zeros((SIDE, LETTERS, SIDE, LETTERS, inner))
    for place in range(LETTERS):
        first[:, place, :, place] = layers.weights[0].reshape(SIDE, SIDE, inner)
    flat = dense(
        net,
        net.image,
        "letters",
        first.reshape(SIDE * LETTERS * SIDE, LETTERS * inner),
        np.tile(layers.biases[0], LETTERS),
    )
    active = net.relu(flat, "letters_relu")
    second = np.zeros((LETTERS, inner, steps, symbols))
    bias = np.zeros((steps, symbols))
    bias[::2, 0], bias[1::2, 0] = 20, -40
    for place in range(LETTERS):
        second[place, :, 2 * place + 1, 1:] = layers.weights[1]
        bias[2 * place + 1, 1:] = layers.biases[1]
    out = dense(
        net, active, "steps_flat", second.reshape(LETTERS * inner, steps * symbols), bias.ravel()
    )
    return reshape(net, out, "steps", 1, steps, symbols)


def arg_max(net: Net, source: Tensor, name: str) -> Tensor:
    """The number of the largest value along the last axis, as int32."""
    from ai_edge_litert import schema_py_generated as schema

    axis = net.constant(f"{name}_axis", np.array(len(source.shape) - 1, np.int32))
    options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
    found: Tensor = net.operator("ARG_MAX", [source, axis], name, source.shape[:-1], options)
    found.raw.type = schema.TensorType.INT32
    return found


def cast(net: Net, source: Tensor, name: str, dtype: str) -> Tensor:
    """The same values as another type."""
    from ai_edge_litert import schema_py_generated as schema

    types = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
    options = schema.CastOptionsT(inDataType=source.raw.type, outDataType=types[dtype])
    found: Tensor = net.operator("CAST", [source], name, source.shape, options)
    found.raw.type = types[dtype]
    return found


def start() -> Net:
    """A net whose input is a digit."""
    return Net(1, SIDE, SIDE, 1)
