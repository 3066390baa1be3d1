"""Takes the arithmetic on shapes out of an ONNX graph whose shapes are all known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

# What exporters compute shapes with. Nothing random, and no control flow.
_FOLDABLE = {
    "Add", "And", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather",
    "Identity", "Less", "Max", "Min", "Mul", "Not", "Range", "ReduceProd", "Reshape", "Slice",
    "Squeeze", "Sub", "Unsqueeze", "Where",
}  # fmt: skip
_SMALL = 1024  # elements: shapes are short, and weights are none of our business


def fold_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace nodes that depend on nothing but static shapes and small constants by constants.

    tf2onnx writes Einsum (all of Keras' attention) as Shape → Gather → … → Reshape although every
    shape is known; converters then take the shapes for dynamic.
    """
    while True:
        # One round makes more shapes known, and with them the next round's constants.
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        folded = _constant_results(model)
        if not folded:
            return _without_unused_constants(model)
        kept = [node for node in model.graph.node if not set(node.output) <= folded.keys()]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in folded.items()
        )


def _constant_results(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Values of all nodes' outputs that can be known without an input."""
    graph = model.graph
    kept = {value.name for value in graph.output}
    shapes = _static_shapes(graph)
    known = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if np.prod(tensor.dims) <= _SMALL
    }
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    folded: dict[str, np.ndarray] = {}
    for node in graph.node:
        if len(node.output) != 1 or node.output[0] in kept:
            continue
        value = _evaluate(node, known, shapes, opsets)
        if value is not None and value.size <= _SMALL:
            known[node.output[0]] = folded[node.output[0]] = value
    return folded


def _evaluate(
    node: onnx.NodeProto,
    known: dict[str, np.ndarray],
    shapes: dict[str, tuple[int, ...]],
    opsets: dict[str, int],
) -> np.ndarray | None:
    if node.op_type == "Shape" and not node.attribute and node.input[0] in shapes:
        return np.array(shapes[node.input[0]], dtype=np.int64)
    if node.op_type not in _FOLDABLE or any(name not in known for name in node.input if name):
        return None
    feeds = {name: known[name] for name in node.input if name}
    result: Any = ReferenceEvaluator(node, opsets=opsets).run(None, feeds)[0]
    return np.asarray(result)


def _static_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for value in [*graph.input, *graph.value_info]:
        dimensions = value.type.tensor_type.shape.dim
        known = value.type.tensor_type.HasField("shape")
        if known and all(dimension.HasField("dim_value") for dimension in dimensions):
            shapes[value.name] = tuple(dimension.dim_value for dimension in dimensions)
    return shapes


def _without_unused_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    used = _used_names(model.graph)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _used_names(graph: onnx.GraphProto) -> set[str]:
    """Every name that a node reads, in subgraphs as well, or that the graph gives."""
    names = {value.name for value in graph.output}
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names |= _used_names(attribute.g)
    return names
