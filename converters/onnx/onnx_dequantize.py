"""The float form of a quantized ONNX model: QDQ, QOperator or dynamically quantized.

Every quantized value is replaced by the real number that it stands for, ``scale · (q - zero)``:
weights exactly, activations without their rounding. So ``QuantizeLinear`` and ``DequantizeLinear``
between operators disappear, ``QLinearConv`` becomes ``Conv``, and operators that only move values
stay as they are. One thing of an activation's quantization is kept: a range that begins at zero
behind an operator that also gives negative numbers is the RELU that quantizers leave out there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx_graph import Graph, Rule, attributes

_SIGNED = {
    "Add",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "Div",
    "Gemm",
    "InstanceNormalization",
    "LayerNormalization",
    "MatMul",
    "Mul",
    "QGemm",
    "QLinearAdd",
    "QLinearConv",
    "QLinearMatMul",
    "QLinearMul",
    "Sub",
    "Sum",
}
"""Operators whose results may be negative, whatever comes in."""


def quantized_operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs that knows scales and zero points."""
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in _RULES:
            found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


@dataclass
class OnnxScales:
    """The 8-bit quantization that a model came with, for its float form.

    Attributes:
        activations: scale, zero point and integer type of a value, by its name.
        weights: the real numbers of constants, with the scale of each channel.
    """

    activations: dict[str, tuple[float, int, np.dtype[Any]]] = field(default_factory=dict)
    weights: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)


def dequantize(model: onnx.ModelProto, stored: OnnxScales | None = None) -> bool:
    """Make a model float in place; whether it was quantized.

    What it was quantized with is noted in ``stored``.
    """
    if not quantized_operators(model):
        return False
    graph = Graph(model)
    state = _Reals(graph, stored or OnnxScales())
    graph.rewrite({kind: state.rule(rule) for kind, rule in _RULES.items()}, every=state.follow)
    for value in model.graph.output:
        if value.name in state.scales:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    _drop_unused(model)
    return True


class _Reals:
    """Which values hold real numbers by now that were quantized in the file, and by which scale."""

    def __init__(self, graph: Graph, stored: OnnxScales) -> None:
        self.graph = graph
        self.stored = stored
        self.scales: dict[str, np.ndarray | None] = {}

    def rule(self, rule: Any) -> Rule:
        return lambda graph, node: rule(graph, node, self)

    def follow(self, node: onnx.NodeProto) -> None:
        """What an operator moves stays real."""
        for name in node.input:
            if name in self.scales:
                self.scales.update(dict.fromkeys(node.output, self.scales[name]))
                return

    def real(self, name: str, scale: str, zero: str = "", axis: int = 0, block: int = 0) -> str:
        """The name of the real numbers of a quantized value."""
        graph = self.graph
        if name in self.scales:
            return name
        scales, zeros = graph.constants.get(scale), graph.constants.get(zero)
        stored = graph.constants.get(name)
        if stored is not None and scales is not None:
            reals = _reals(stored, scales, zeros, axis, block)
            if stored.dtype == np.int8 and not block and (zeros is None or not zeros.any()):
                self.stored.weights.append((reals, scales.reshape(-1)))
            return graph.constant(reals)
        real = graph.add("Cast", name, to=onnx.TensorProto.FLOAT)
        if zero:
            real = graph.add("Sub", real, graph.add("Cast", zero, to=onnx.TensorProto.FLOAT))
        return graph.add("Mul", real, scale)

    def whole(self, name: str, zero: str, axis: int = 0) -> str:
        """``q - zero`` as a float, for operators whose scales the graph applies itself."""
        scale = self.scales.get(name)
        if name in self.scales:
            if scale is None:
                return name
            return self.graph.add("Div", name, self.graph.constant(scale))
        return self.real(name, self.graph.constant(np.float32(1)), zero, axis)

    def give(self, value: str, node: onnx.NodeProto, scale: str, zero: str, source: str) -> None:
        """Write the node's output from a real value; ``source`` is the operator that made it."""
        graph, output = self.graph, node.output[0]
        scales, zeros = graph.constants.get(scale), graph.constants.get(zero)
        self.scales[output] = scales
        kind = None if zeros is None else zeros.dtype
        if kind is None and scales is not None:
            kind, zeros = np.dtype(np.uint8), np.uint8(0)
        if scales is not None and scales.size == 1 and kind in (np.uint8, np.int8):
            limits, first = np.iinfo(kind), int(np.asarray(zeros).item())
            self.stored.activations[output] = (float(scales.item()), first, np.dtype(kind))
            if source in _SIGNED and first == limits.min:
                high = np.float32((limits.max - limits.min) * scales.item())
                low = graph.constant(np.float32(0))
                graph.add("Clip", value, low, graph.constant(high), to=output)
                return
        graph.add("Identity", value, to=output)


def _fitted(values: Any, shape: tuple[int, ...], axis: int, block: int) -> np.ndarray:
    """Scales or zero points as an array that goes with stored values of this shape."""
    values = np.asarray(values).astype(np.float32)
    if values.size == 1:
        return values.reshape(())
    if block:
        return np.repeat(values, block, axis)[tuple(map(slice, shape))]
    whole = [1] * len(shape)
    whole[axis] = values.size
    return values.reshape(whole)


def _reals(
    stored: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, axis: int, block: int
) -> np.ndarray:
    """``scale · (q - zero)`` in float32."""
    shift = 0 if zeros is None else _fitted(zeros, stored.shape, axis, block)
    real: np.ndarray = stored.astype(np.float32) - shift
    return real * _fitted(scales, stored.shape, axis, block)


def _quantize(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    value, scale, zero = _three(node)
    stored, scales = graph.constants.get(value), graph.constants.get(scale)
    if stored is not None and scales is not None:
        made = graph.evaluate(node, **{value: stored})
        options = attributes(node)
        axis, block = options.get("axis", 1), options.get("block_size", 0)
        rounded = _reals(made, scales, graph.constants.get(zero), axis, block)
        graph.add("Identity", graph.constant(rounded), to=node.output[0])
        state.scales[node.output[0]] = scales
        return True
    maker = graph.makers.get(value)
    state.give(value, node, scale, zero, maker.op_type if maker is not None else "")
    return True


def _dequantize(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    value, scale, zero = _three(node)
    options = attributes(node)
    real = state.real(value, scale, zero, options.get("axis", 1), options.get("block_size", 0))
    graph.add("Identity", real, to=node.output[0])
    return True


def _dynamic_quantize(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    """The real numbers with the scale 1 and the zero point 0: what follows stays as it is."""
    graph.add("Identity", node.input[0], to=node.output[0])
    one, none = graph.constant(np.float32(1)), graph.constant(np.uint8(0))
    graph.add("Identity", one, to=node.output[1])
    graph.add("Identity", none, to=node.output[2])
    state.scales[node.output[0]] = None
    return True


def _three(node: onnx.NodeProto) -> tuple[str, str, str]:
    value, scale, *zero = node.input
    return value, scale, zero[0] if zero else ""


def _conv(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    x, xs, xz, w, ws, wz, ys, yz, *bias = node.input
    inputs = [state.real(x, xs, xz), state.real(w, ws, wz, 0)]
    if bias and bias[0]:
        inputs.append(_bias(graph, bias[0], xs, ws))
    value = graph.add("Conv", *inputs, **attributes(node))
    state.give(value, node, ys, yz, node.op_type)
    return True


def _bias(graph: Graph, name: str, *scales: str) -> str:
    """An int32 bias: its scale is the product of the others."""
    stored = graph.constants.get(name)
    factors = [graph.constants.get(scale) for scale in scales]
    if stored is None or any(factor is None for factor in factors):
        raise ValueError(f"the bias {name} or its scales are not constant")
    product = np.prod(np.broadcast_arrays(*factors), axis=0)
    return graph.constant((stored.astype(np.float64) * product).astype(np.float32))


def _matmul(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.input
    left, right = state.real(a, a_scale, a_zero, -2), state.real(b, b_scale, b_zero, -1)
    state.give(graph.add("MatMul", left, right), node, y_scale, y_zero, node.op_type)
    return True


def _gemm(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    a, a_scale, a_zero, b, b_scale, b_zero, *rest = node.input
    options = attributes(node)
    axis = 0 if options.get("transB") else 1
    inputs = [state.real(a, a_scale, a_zero), state.real(b, b_scale, b_zero, axis)]
    if rest and rest[0]:
        inputs.append(_bias(graph, rest[0], a_scale, b_scale))
    if len(rest) < 2 or not rest[1]:
        graph.add("Gemm", *inputs, to=node.output[0], **options)
        return True
    value = graph.add("Gemm", *inputs, **options)
    state.give(value, node, rest[1], rest[2] if len(rest) > 2 else "", node.op_type)
    return True


def _binary(kind: str) -> Any:
    def rule(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, *y_zero = node.input
        value = graph.add(kind, state.real(a, a_scale, a_zero), state.real(b, b_scale, b_zero))
        state.give(value, node, y_scale, y_zero[0] if y_zero else "", node.op_type)
        return True

    return rule


def _unary(kind: str) -> Any:
    def rule(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
        x, x_scale, x_zero, y_scale, *y_zero = node.input
        options = attributes(node)
        options.pop("opset", None)
        if options.pop("channels_last", 0):
            raise ValueError(f"{node.op_type} in NHWC")
        value = graph.add(kind, state.real(x, x_scale, x_zero), **options)
        state.give(value, node, y_scale, y_zero[0] if y_zero else "", "")
        return True

    return rule


def _concat(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    y_scale, y_zero, *parts = node.input
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    reals = [state.real(*triple) for triple in triples]
    value = graph.add("Concat", *reals, axis=attributes(node)["axis"])
    state.give(value, node, y_scale, y_zero, "")
    return True


def _integer(kind: str, axis: int) -> Any:
    """``ConvInteger`` and ``MatMulInteger``: the scales are applied behind them."""

    def rule(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
        a, b, *zeros = node.input
        zeros += [""] * (2 - len(zeros))
        left, right = state.whole(a, zeros[0]), state.whole(b, zeros[1], axis)
        graph.add(kind, left, right, to=node.output[0], **attributes(node))
        return True

    return rule


def _lstm(graph: Graph, node: onnx.NodeProto, _: _Reals) -> bool:
    """Its matrices are stored transposed: (directions, inputs, 4 · hidden)."""
    x, w, r, *rest, w_scale, w_zero, r_scale, r_zero = node.input
    matrices = []
    for name, scale, zero in ((w, w_scale, w_zero), (r, r_scale, r_zero)):
        stored, scales = graph.constants.get(name), graph.constants.get(scale)
        zeros = graph.constants.get(zero)
        if stored is None or scales is None or zeros is None:
            return False
        wide = (len(stored), 1, -1)
        real = (stored.astype(np.float32) - zeros.reshape(wide)) * scales.reshape(wide)
        matrices.append(graph.constant(np.ascontiguousarray(real.swapaxes(1, 2), np.float32)))
    graph.add("LSTM", x, *matrices, *rest, to=[*node.output], **attributes(node))
    return True


def _dynamic_matmul(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    a, b, b_scale, *rest = node.input
    rest += [""] * (2 - len(rest))
    _product(graph, node, a, state.real(b, b_scale, rest[0], -1), rest[1])
    return True


def _matmul_to_float(graph: Graph, node: onnx.NodeProto, state: _Reals) -> bool:
    a, b, a_scale, b_scale, *rest = node.input
    rest += [""] * (3 - len(rest))
    left = state.real(a, a_scale, rest[0])
    _product(graph, node, left, state.real(b, b_scale, rest[1], -1), rest[2])
    return True


def _product(graph: Graph, node: onnx.NodeProto, left: str, right: str, bias: str) -> None:
    if not bias:
        graph.add("MatMul", left, right, to=node.output[0])
        return
    graph.add("Add", graph.add("MatMul", left, right), bias, to=node.output[0])


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


_RULES: dict[str, Any] = {
    "ConvInteger": _integer("Conv", 0),
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "MatMulInteger": _integer("MatMul", -1),
    "MatMulIntegerToFloat": _matmul_to_float,
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearAveragePool": _unary("AveragePool"),
    "QLinearConcat": _concat,
    "QLinearConv": _conv,
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearMatMul": _matmul,
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _unary("Softmax"),
    "QuantizeLinear": _quantize,
}
