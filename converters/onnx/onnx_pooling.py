"""Average pooling whose last windows reach over the edge (``ceil_mode``)."""

from __future__ import annotations

import functools

import numpy as np
import onnx
from onnx_graph import Graph, attributes


def average_over_the_edge(graph: Graph, node: onnx.NodeProto) -> bool:
    """Write ``ceil_mode`` as the mean over whole windows and a constant factor.

    A window counts what lies inside the input, with ``count_include_pad`` inside its padding too,
    and nothing past that. ONNX Runtime before 1.27 counts all of it instead, and onnx2tf after it.
    """
    shape, result = (graph.shapes.get(name) for name in (node.input[0], node.output[0]))
    options = attributes(node)
    if not options.get("ceil_mode") or shape is None or result is None:
        return False
    if options.get("auto_pad", "NOTSET") != "NOTSET" or max(options.get("dilations", [1])) > 1:
        return False
    kernel, rank = options["kernel_shape"], len(shape) - 2
    strides = options.get("strides", [1] * rank)
    pads = options.get("pads", [0] * 2 * rank)
    factors, ends = [], []
    for axis, (size, count) in enumerate(zip(shape[2:], result[2:], strict=True)):
        before, after = pads[axis], pads[axis + rank]
        start = np.arange(count) * strides[axis] - before
        ends.append(max(0, int(start[-1]) + kernel[axis] - size))
        first, last = (-before, size + after) if options.get("count_include_pad") else (0, size)
        inside = np.minimum(start + kernel[axis], last) - np.maximum(start, first)
        factors.append(kernel[axis] / inside)
    padding = [*pads[:rank], *ends]
    if any(pad >= size for pad, size in zip(padding, [*kernel, *kernel], strict=True)):
        return False  # ONNX allows no such padding
    factor = functools.reduce(np.multiply.outer, factors).astype(np.float32)[None, None]
    # A sequence goes as an image of one row: onnx2tf turns its axes and not the factor's.
    row = [1] * (rank == 1)
    value = graph.add("Reshape", node.input[0], graph.constant([*shape[:2], *row, *shape[2:]]))
    mean = graph.add(
        "AveragePool",
        value,
        kernel_shape=[*row, *kernel],
        strides=[*row, *strides],
        pads=[0] * len(row) + padding[:rank] + [0] * len(row) + padding[rank:],
        count_include_pad=1,
    )
    scaled = graph.add("Mul", mean, graph.constant(factor.reshape(1, 1, *row, *result[2:])))
    graph.add("Reshape", scaled, graph.constant(result), to=node.output[0])
    return True
