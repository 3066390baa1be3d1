"""Tiny float nets of every kind of layer, as real `.tflite` files, and feeds for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tflite_builder import empty_model

from edgekit.quantize.observe import SampleFeed
from edgekit.tflite.model import Operator, Tensor, write

_ACTIVATION = schema.ActivationFunctionType


class Net:
    """Builds a graph operator by operator; weights are drawn from a seeded generator."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.model = empty_model()
        self.graph = self.model.main
        self.rng = np.random.default_rng(seed)
        self.image = self.graph.add_tensor("image", shape, "float32")

    def constant(self, name: str, values: np.ndarray) -> Tensor:
        return self.graph.add_tensor(name, values.shape, str(values.dtype), values)

    def normal(self, name: str, *shape: int, spread: float = 0.3) -> Tensor:
        return self.constant(name, self.rng.normal(0, spread, shape).astype(np.float32))

    def operator(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        name: str,
        shape: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> Tensor:
        result = self.graph.add_tensor(name, shape, "float32")
        place = len(self.graph.operators)
        self.graph.insert_operator(place, kind, inputs, [result], options=options, version=version)
        return result

    def conv(
        self,
        source: Tensor,
        name: str,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        same: bool = True,
        activation: str = "NONE",
        weights: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        if weights is None:
            weights = self.normal(f"{name}_w", outputs, kernel, kernel, source.shape[-1])
        if bias is None:
            bias = self.normal(f"{name}_b", outputs)
        size = _sizes(source, kernel, stride, dilation, same=same)
        options = schema.Conv2DOptionsT(
            padding=_padding(same=same),
            strideH=stride,
            strideW=stride,
            dilationHFactor=dilation,
            dilationWFactor=dilation,
            fusedActivationFunction=getattr(_ACTIVATION, activation),
        )
        return self.operator("CONV_2D", [source, weights, bias], name, (1, *size, outputs), options)

    def depthwise(
        self,
        source: Tensor,
        name: str,
        *,
        kernel: int = 3,
        stride: int = 1,
        same: bool = True,
        activation: str = "NONE",
    ) -> Tensor:
        channels = source.shape[-1]
        weights = self.normal(f"{name}_w", 1, kernel, kernel, channels)
        bias = self.normal(f"{name}_b", channels)
        size = _sizes(source, kernel, stride, 1, same=same)
        options = schema.DepthwiseConv2DOptionsT(
            padding=_padding(same=same),
            strideH=stride,
            strideW=stride,
            depthMultiplier=1,
            dilationHFactor=1,
            dilationWFactor=1,
            fusedActivationFunction=getattr(_ACTIVATION, activation),
        )
        inputs = [source, weights, bias]
        return self.operator("DEPTHWISE_CONV_2D", inputs, name, (1, *size, channels), options)

    def transposed(self, source: Tensor, name: str, outputs: int, *, kernel: int = 3) -> Tensor:
        """Stride 2, SAME: twice the height and width."""
        _, height, width, channels = source.shape
        shape = (1, 2 * height, 2 * width, outputs)
        weights = self.normal(f"{name}_w", outputs, kernel, kernel, channels)
        sizes = self.constant(f"{name}_shape", np.array(shape, np.int32))
        bias = self.normal(f"{name}_b", outputs)
        options = schema.TransposeConvOptionsT(
            padding=schema.Padding.SAME, strideH=2, strideW=2, fusedActivationFunction=0
        )
        inputs = [sizes, weights, source, bias]
        return self.operator("TRANSPOSE_CONV", inputs, name, shape, options, version=3)

    def dense(self, source: Tensor, name: str, outputs: int) -> Tensor:
        width = int(np.prod(source.shape[1:]))
        weights = self.normal(f"{name}_w", outputs, width)
        bias = self.normal(f"{name}_b", outputs)
        options = schema.FullyConnectedOptionsT()
        return self.operator(
            "FULLY_CONNECTED", [source, weights, bias], name, (1, outputs), options
        )

    def add(self, one: Tensor, other: Tensor, name: str, *, activation: str = "NONE") -> Tensor:
        options = schema.AddOptionsT(fusedActivationFunction=getattr(_ACTIVATION, activation))
        return self.operator("ADD", [one, other], name, one.shape, options)

    def relu(self, source: Tensor, name: str, kind: str = "RELU") -> Tensor:
        return self.operator(kind, [source], name, source.shape)

    def save(self, path: Path, *outputs: Tensor) -> Path:
        graph = self.graph.raw
        graph.inputs, graph.outputs = [self.image.index], [tensor.index for tensor in outputs]
        self.model.raw.signatureDefs = [
            schema.SignatureDefT(
                signatureKey="serving_default",
                inputs=[schema.TensorMapT(name="image", tensorIndex=self.image.index)],
                outputs=[schema.TensorMapT(name=t.name, tensorIndex=t.index) for t in outputs],
            )
        ]
        write(self.model, path)
        return path


def operator_named(net: Net, name: str) -> Operator:
    """The operator that computes the tensor of that name."""
    return next(op for op in net.graph.operators if op.outputs[0].name == name)


def mixed_net(path: Path, *, seed: int = 0, dead: bool = False) -> Path:
    """Convolution, depthwise, residual ADD, transposed convolution and dense; uneven channels."""
    net = Net(1, 8, 8, 3, seed=seed)
    first = net.conv(net.image, "first", 6, activation="RELU")
    deep = net.depthwise(first, "deep", activation="RELU")
    point = net.conv(deep, "point", 6, kernel=1)
    joined = net.add(first, point, "joined", activation="RELU")
    small = net.conv(joined, "small", 4, stride=2, activation="RELU")
    large = net.transposed(small, "large", 2)
    net.dense(large, "scores", 5)
    scale = np.logspace(-1.5, 0, 6).astype(np.float32)
    if dead:
        scale[2] = 0
    weights, bias = (operator_named(net, "first").inputs[i] for i in (1, 2))
    assert weights is not None
    assert bias is not None
    weights.set_data(weights.data() * scale[:, None, None, None])
    bias.set_data(bias.data() * scale)
    return net.save(path, operator_named(net, "scores").outputs[0])


def photos(count: int, *shape: int, seed: int = 1) -> np.ndarray:
    """Smooth random pictures: neighbouring values are correlated, as in photographs."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.3, 1, (count, *shape)).cumsum(axis=1).cumsum(axis=2)
    return (values / np.abs(values).max()).astype(np.float32)


def feed(path: Path, stack: np.ndarray) -> list[SampleFeed]:
    """One feed with a batch axis of 1."""
    np.save(path, stack)
    shape = (1, *stack.shape[1:])
    return [SampleFeed(stack=path, shape=shape, permutation=tuple(range(len(shape))))]


def quiet(fraction: float, message: str) -> None:
    """Progress that nobody wants to see."""


def _sizes(
    source: Tensor, kernel: int, stride: int, dilation: int, *, same: bool
) -> tuple[int, ...]:
    reach = (kernel - 1) * dilation + 1
    if same:
        return tuple(-(-size // stride) for size in source.shape[1:3])
    return tuple((size - reach) // stride + 1 for size in source.shape[1:3])


def _padding(*, same: bool) -> int:
    return int(schema.Padding.SAME if same else schema.Padding.VALID)
