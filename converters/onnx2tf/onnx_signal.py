"""Fourier transforms as products with constant matrices, which every runtime has."""

from __future__ import annotations

import numpy as np
import onnx
from onnx_graph import Graph, attributes


def dft(graph: Graph, node: onnx.NodeProto) -> bool:
    """A transform along one axis is linear: its matrix is what it makes of unit vectors."""
    shape, result = (graph.shapes.get(name) for name in (node.input[0], node.output[0]))
    if shape is None or result is None:
        return False
    axis = attributes(node).get("axis", 1)
    if len(node.input) > 2 and node.input[2]:
        given = graph.constants.get(node.input[2])
        axis = -2 if given is None else int(given.item())
    axis %= len(shape)
    # The sample axis of the unit vectors comes first, so the transform is moved behind it.
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    for attribute in alone.attribute:
        if attribute.name == "axis":
            attribute.i = 1
    feeds = {}
    if len(node.input) > 2 and node.input[2]:
        feeds[node.input[2]] = np.array(1, np.int64)
    size, parts = shape[axis], shape[-1]
    units = np.eye(size * parts, dtype=np.float32).reshape(-1, size, parts)
    matrix = graph.evaluate(alone, **{node.input[0]: units}, **feeds)
    order = [*(a for a in range(len(shape) - 1) if a != axis), axis, len(shape) - 1]
    last = order == list(range(len(shape)))
    value = node.input[0] if last else graph.add("Transpose", node.input[0], perm=order)
    outer = [shape[a] for a in order[:-2]]
    value = graph.add("Reshape", value, graph.constant([*outer, size * parts]))
    value = graph.add("MatMul", value, graph.constant(matrix.reshape(len(units), -1)))
    value = graph.add("Reshape", value, graph.constant([*outer, *matrix.shape[1:]]))
    if last:
        graph.add("Identity", value, to=node.output[0])
    else:
        back = [order.index(a) for a in range(len(shape))]
        graph.add("Transpose", value, perm=back, to=node.output[0])
    return True


def stft(graph: Graph, node: onnx.NodeProto) -> bool:
    """Frames by one gather, window and transform by one product."""
    shape, result = (graph.shapes.get(name) for name in (node.input[0], node.output[0]))
    step = graph.constants.get(node.input[1])
    if shape is None or result is None or step is None or shape[-1] != 1:
        return False
    given = [graph.constants.get(name) for name in node.input[2:] if name]
    if not given or any(value is None for value in given):
        return False
    window = given[0]
    assert window is not None
    length = int(window.item()) if window.ndim == 0 else len(window)
    units = np.eye(length, dtype=np.float32)[..., None]
    matrix = graph.evaluate(node, **{node.input[0]: units})
    batch, samples, _ = shape
    frames = 1 + (samples - length) // int(step.item())
    places = np.arange(frames)[:, None] * int(step.item()) + np.arange(length)
    value = graph.add("Reshape", node.input[0], graph.constant([batch, samples]))
    value = graph.add("Gather", value, graph.constant(places.astype(np.int64)), axis=1)
    value = graph.add("MatMul", value, graph.constant(matrix.reshape(length, -1)))
    graph.add(
        "Reshape", value, graph.constant([batch, frames, *matrix.shape[2:]]), to=node.output[0]
    )
    return True
