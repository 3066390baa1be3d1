"""Quantized Keras models and graphs with FakeQuant operations: their float form.

Keras stores weights in int8 and quantizes activations while it runs; quantization-aware training
(as TensorFlow's toolkits write it) leaves FakeQuant operations with learned ranges in the graph. In
the float form weights are exactly what they stand for, and activations are not rounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras_export import freeze

from edgekit_worker import WorkerError

_FAKE = "FakeQuantWithMinMax"
_LIMITS = (0, 255)


def quantized_layers(model: Any) -> dict[str, int]:
    """How often each kind of layer occurs that Keras has quantized: ``int8 Dense``."""
    layers = model._flatten_layers(include_self=False)  # noqa: SLF001  no public way
    return dict(
        Counter(
            f"{layer.quantization_mode} {type(layer).__name__}"
            for layer in layers
            if getattr(layer, "quantization_mode", None)
        )
    )


FloatCalls = Sequence[tuple[Any, Callable[..., Any]]]
"""Quantized layers, each with what it computes with its weights as real numbers."""


def float_calls(model: Any) -> FloatCalls:
    """What the quantized layers of a model compute in its float form.

    Raises:
        WorkerError: a layer is quantized in a way that has none here.
    """
    found = []
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001
        mode = getattr(layer, "quantization_mode", None)
        if not mode:
            continue
        kind = type(layer)
        make = {
            keras.layers.Dense: _dense,
            keras.layers.EinsumDense: _einsum,
            keras.layers.Embedding: _embedding,
        }.get(kind)
        if make is None or mode != "int8" or getattr(layer, "lora_enabled", False):
            raise WorkerError(
                f"The layer {layer.name} ({kind.__name__}) is quantized by Keras to {mode}, of "
                "which edgekit knows no float form.",
                cure="Convert the model as it was before model.quantize(…).",
                kind="model",
            )
        found.append((layer, make(layer)))
    return found


@contextmanager
def as_float(calls: FloatCalls) -> Iterator[None]:
    """Let quantized layers compute in float for a while."""
    for layer, call in calls:
        layer.quantized_call = call
    try:
        yield
    finally:
        for layer, _ in calls:
            del layer.quantized_call


def _dense(layer: Any) -> Callable[..., Any]:
    kernel = _real(layer.kernel) / _real(layer.kernel_scale)
    return _with_bias(layer, lambda inputs: keras.ops.matmul(inputs, kernel))


def _einsum(layer: Any) -> Callable[..., Any]:
    scale = layer._adjust_scale_for_dequant(layer.kernel_scale)  # noqa: SLF001
    kernel = _real(layer.kernel) / _real(scale)
    return _with_bias(layer, lambda inputs: keras.ops.einsum(layer.equation, inputs, kernel))


def _embedding(layer: Any) -> Callable[..., Any]:
    table = _real(layer.embeddings) / _real(layer.embeddings_scale)[:, None]

    def call(inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG001  Keras' signature
        return keras.ops.take(table, keras.ops.cast(inputs, "int32"), axis=0)

    return call


def _with_bias(layer: Any, product: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG001  Keras' signature
        value = product(inputs)
        if layer.bias is not None:
            value = keras.ops.add(value, layer.bias)
        return value if layer.activation is None else layer.activation(value)

    return call


def _real(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


@dataclass(frozen=True)
class FakeQuantRange:
    """``scale · (q - zero)`` with q from ``low`` to 255, nudged so that zero is among them."""

    scale: float
    zero: int
    low: int

    @classmethod
    def of(cls, least: float, most: float, *, narrow: bool) -> FakeQuantRange:
        """As TensorFlow's kernel nudges a range (``fake_quant_ops_functor.h``)."""
        low, high = _LIMITS[0] + narrow, _LIMITS[1]
        scale = (most - least) / (high - low) or 1.0
        zero = min(max(low - least / scale, low), high)
        return cls(scale=scale, zero=int(np.floor(zero + 0.5)), low=low)


@dataclass
class FloatGraph:
    """The float form of a graph with FakeQuant operations.

    Attributes:
        function: it, with the inputs and outputs of the original.
        operators: how often each FakeQuant operation occurred.
        activations: how a value was rounded, by the name of the node that passes it on now.
        weights: the real numbers of constants, with the step of each channel.
        values: from inputs to the values of ``activations``, in their order.
    """

    function: Any
    operators: dict[str, int]
    activations: dict[str, FakeQuantRange] = field(default_factory=dict)
    weights: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    values: Any = None


def float_graph(function: Any) -> FloatGraph | None:
    """The float form of a concrete function; nothing where it has no FakeQuant operation."""
    frozen = freeze(function)
    graph = frozen.graph.as_graph_def()
    fakes = [node for node in graph.node if node.op.startswith(_FAKE) and "Grad" not in node.op]
    if not fakes:
        return None
    for node in graph.node:  # what is only waited for has no effect any more
        node.input[:] = [name for name in node.input if not name.startswith("^")]
    made = FloatGraph(function=None, operators=dict(Counter(node.op for node in fakes)))
    constants = _constants(graph, fakes)
    for node in fakes:
        ends = _ends(node, constants)
        narrow, bits = node.attr["narrow_range"].b, node.attr["num_bits"].i or 8
        if f"{node.name}:0" in constants:
            _store(node, constants[f"{node.name}:0"])
            if ends is not None and bits == 8:
                _note_weights(made, constants[f"{node.name}:0"], *ends, narrow=narrow)
            continue
        if ends is not None and bits == 8 and not narrow and np.size(ends[0]) == 1:
            made.activations[node.name] = FakeQuantRange.of(
                float(np.ravel(ends[0])[0]), float(np.ravel(ends[1])[0]), narrow=narrow
            )
        source = node.input[0]
        node.op = "Identity"
        node.input[:] = [source]
        node.attr.clear()
        node.attr["T"].type = tf.float32.as_datatype_enum
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    inputs = [wrapped.graph.get_tensor_by_name(tensor.name) for tensor in frozen.inputs]

    def part(names: Sequence[str]) -> Any:
        return wrapped.prune(inputs, [wrapped.graph.get_tensor_by_name(name) for name in names])

    made.function = part([tensor.name for tensor in frozen.outputs])
    made.values = part([f"{name}:0" for name in made.activations])
    return made


def _constants(graph: Any, fakes: Sequence[Any]) -> dict[str, np.ndarray]:
    """The values that do not depend on an input, among those that FakeQuant takes and gives."""
    nodes = {node.name: node for node in graph.node}
    fixed: dict[str, bool] = {}

    def is_fixed(name: str) -> bool:
        name = name.partition(":")[0]
        if name not in fixed:
            node = nodes[name]
            fixed[name] = node.op != "Placeholder" and all(map(is_fixed, node.input))
        return fixed[name]

    names = {f"{node.name}:0" for node in fakes if is_fixed(node.name)}
    for node in fakes:
        names |= {_tensor(name) for name in node.input if is_fixed(name)}
    wanted = sorted(names)
    with tf.Graph().as_default() as inner:
        tf.graph_util.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=inner) as session:
            return dict(zip(wanted, session.run(wanted), strict=True))


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _ends(node: Any, constants: dict[str, np.ndarray]) -> tuple[Any, Any] | None:
    """The range that a FakeQuant operation was given, where the graph does not compute it."""
    if node.op.endswith("Args"):
        return node.attr["min"].f, node.attr["max"].f
    ends = [constants.get(_tensor(name)) for name in node.input[1:3]]
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])


def _note_weights(
    made: FloatGraph, values: np.ndarray, least: Any, most: Any, *, narrow: bool
) -> None:
    """Note a constant and its steps, where its integers lie around zero."""
    ranges = [
        FakeQuantRange.of(float(low), float(high), narrow=narrow)
        for low, high in zip(np.ravel(least), np.ravel(most), strict=True)
    ]
    if all(one.zero == (_LIMITS[1] + one.low) // 2 and one.low for one in ranges):
        made.weights.append((values, np.array([one.scale for one in ranges], np.float32)))


def _store(node: Any, value: np.ndarray) -> None:
    """Make a node a constant."""
    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
