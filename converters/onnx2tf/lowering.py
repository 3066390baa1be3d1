"""What onnx2tf has no form of, or a wrong one, written with operators that it converts exactly.

Every rule is an identity of ONNX: the graph computes the same before and after, up to rounding.
Weights that a rule needs (of a resize, of windows that reach over the edge) are not computed from
formulas but asked of ONNX Runtime, which runs the very node on unit vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx_graph import Graph, Rule, attributes
from onnx_pooling import average_over_the_edge
from onnx_recurrent import lstm
from onnx_signal import dft, stft

_PASSES = 4
"""A rule's nodes may need another rule (3-D pooling: 2-D pooling with windows over the edge)."""
_ONCE = {"LSTM"}
"""Operators that are rewritten with themselves."""


def lower(model: onnx.ModelProto) -> set[str]:
    """Rewrite a model of static shapes in place; the operators that were replaced."""
    replaced: set[str] = set()
    for _ in range(_PASSES):
        rules = {kind: rule for kind, rule in _RULES.items() if kind not in replaced & _ONCE}
        changed = Graph(model).rewrite(rules)
        if not changed:
            break
        replaced |= changed
    return replaced


def _resize(graph: Graph, node: onnx.NodeProto) -> bool:
    """A resize is one product with a constant matrix for each axis; nearest, one gather."""
    before, after = (graph.shapes.get(name) for name in (node.input[0], node.output[0]))
    options = attributes(node)
    coordinates = options.get("coordinate_transformation_mode", "half_pixel")
    if not before or not after or len(before) < 3 or before[:2] != after[:2]:
        return False
    if options.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    if coordinates == "tf_crop_and_resize":
        return False
    given = _resize_factors(graph, node, before, options)
    if given is None or _resize_is_native(given, before, after, options, coordinates):
        return False
    matrices = {
        axis: _resize_matrix(graph, node, axis, before[axis], after[axis], given, options)
        for axis in range(2, len(before))
        if before[axis] != after[axis] or given[axis] != 1
    }
    if options.get("mode", "nearest") == "nearest":
        _take_nearest(graph, node, matrices, after)
        return True
    value = node.input[0]
    for axis, matrix in matrices.items():
        value = _product_along(graph, value, matrix, axis, len(before))
    graph.add("Identity", value, to=node.output[0])
    return True


def _take_nearest(
    graph: Graph, node: onnx.NodeProto, matrices: dict[int, np.ndarray], after: list[int]
) -> None:
    """By TFLite's kernel where it takes the same places, else by a gather for each axis."""
    taken = {axis: matrix.argmax(0).astype(np.int64) for axis, matrix in matrices.items()}
    kernels = {
        axis: np.arange(after[axis]) * len(matrix) // after[axis]
        for axis, matrix in matrices.items()
    }
    same = all(np.array_equal(taken[axis], kernels[axis]) for axis in taken)
    if same and len(after) == 4 and len(node.input) > 2:
        sizes = graph.constant(after)
        graph.add("Resize", node.input[0], "", "", sizes, to=node.output[0], **_KERNEL)
        return
    value = node.input[0]
    for axis, places in taken.items():
        value = graph.add("Gather", value, graph.constant(places), axis=axis)
    graph.add("Identity", value, to=node.output[0])


_KERNEL = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def _resize_factors(
    graph: Graph, node: onnx.NodeProto, before: list[int], options: dict[str, Any]
) -> list[float] | None:
    """The stated scale of each axis, or 0 where the node states sizes."""
    axes = options.get("axes", range(len(before)))
    factors = [1.0] * len(before)
    index = 1 if len(node.input) == 2 else 2
    scales = graph.constants.get(node.input[index]) if len(node.input) > index else None
    if scales is not None and scales.size:
        stated = scales.tolist()
    elif len(node.input) > 3 and graph.constants.get(node.input[3]) is not None:
        stated = [0.0] * len(axes)
    else:
        return None
    for axis, scale in zip(axes, stated, strict=True):
        factors[axis] = scale
    return factors


def _resize_is_native(
    factors: list[float],
    before: list[int],
    after: list[int],
    options: dict[str, Any],
    coordinates: str,
) -> bool:
    """Whether TFLite's kernels, which know sizes and no scales, do just this."""
    if options.get("antialias") or len(before) > 4:
        return False
    sizes = zip(factors, before, after, strict=True)
    if any(factor and not math.isclose(factor * n, m, rel_tol=1e-6) for factor, n, m in sizes):
        return False
    mode = options.get("mode", "nearest")
    if mode == "nearest":
        return coordinates == "asymmetric" and options.get("nearest_mode") == "floor"
    return mode == "linear" and coordinates in {"half_pixel", "pytorch_half_pixel", "align_corners"}


def _resize_matrix(
    graph: Graph,
    node: onnx.NodeProto,
    axis: int,
    size: int,
    target: int,
    factors: list[float],
    options: dict[str, Any],
) -> np.ndarray:
    """What each place (rows) gives to each of the result's (columns): the node on unit vectors."""
    rank = len(factors)
    shape, result = [1] * rank, [1] * rank
    shape[0], shape[axis] = size, size
    result[0], result[axis] = size, target
    axes = options.get("axes", range(rank))
    feeds = {node.input[0]: np.eye(size, dtype=np.float32).reshape(shape)}
    if factors[axis]:
        scales = [factors[axis] if a == axis else 1.0 for a in axes]
        feeds[node.input[1 if len(node.input) == 2 else 2]] = np.array(scales, np.float32)
    else:
        feeds[node.input[3]] = np.array([result[a] for a in axes], np.int64)
    return graph.evaluate(node, **feeds).reshape(size, target)


def _product_along(graph: Graph, value: str, matrix: np.ndarray, axis: int, rank: int) -> str:
    """The product of every vector along an axis with a matrix."""
    weights = graph.constant(np.ascontiguousarray(matrix))
    if axis == rank - 1:
        return graph.add("MatMul", value, weights)
    order = [*range(rank)]
    order[axis], order[-1] = order[-1], order[axis]
    turned = graph.add("Transpose", value, perm=order)
    return graph.add("Transpose", graph.add("MatMul", turned, weights), perm=order)


def _conv_transpose(graph: Graph, node: onnx.NodeProto) -> bool:
    """Padding of the output past the full result is a kernel with zeros at its end."""
    kernel = graph.constants.get(node.input[1])
    options = attributes(node)
    if kernel is None or options.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in options:
        return False
    rank = kernel.ndim - 2
    dilations = options.get("dilations", [1] * rank)
    pads = options.get("pads", [0] * 2 * rank)
    extra = options.get("output_padding", [0] * rank)
    ends = [end - more for end, more in zip(pads[rank:], extra, strict=True)]
    if min(ends) >= 0 and (rank > 1 or dilations == [1]):
        return False
    for axis in range(rank):
        kernel = _spread(kernel, axis + 2, dilations[axis], zeros=max(0, -ends[axis]))
    options.update(
        dilations=[1] * rank,
        output_padding=[0] * rank,
        pads=[*pads[:rank], *(max(0, end) for end in ends)],
        kernel_shape=list(kernel.shape[2:]),
    )
    weights = graph.constant(kernel)
    inputs = [node.input[0], weights, *node.input[2:]]
    graph.add("ConvTranspose", *inputs, to=node.output[0], **options)
    return True


def _spread(kernel: np.ndarray, axis: int, dilation: int, *, zeros: int) -> np.ndarray:
    """A kernel with its dilation written out, and zeros behind it."""
    shape = list(kernel.shape)
    reach = (shape[axis] - 1) * dilation + 1
    shape[axis] = reach + zeros
    wide = np.zeros(shape, kernel.dtype)
    places: list[Any] = [slice(None)] * kernel.ndim
    places[axis] = slice(0, reach, dilation)
    wide[tuple(places)] = kernel
    return wide


def _pool(graph: Graph, node: onnx.NodeProto) -> bool:
    """Pooling of volumes is pooling of planes and then of depths; the rest see below."""
    shape = graph.shapes.get(node.input[0])
    options = attributes(node)
    if shape is None or len(node.output) > 1 or options.get("auto_pad", "NOTSET") != "NOTSET":
        return False
    rank = len(shape) - 2
    options.setdefault("strides", [1] * rank)
    options.setdefault("dilations", [1] * rank)
    options.setdefault("pads", [0] * 2 * rank)
    result = graph.shapes.get(node.output[0])
    if result is None:
        return False
    if max(options["dilations"]) > 1:
        return node.op_type == "MaxPool" and _dilated_max(graph, node, shape, result, options)
    if rank == 3:
        return _pool_volume(graph, node, shape, result, options)
    if node.op_type == "AveragePool" and options.get("ceil_mode"):
        return average_over_the_edge(graph, node)
    return False


def _pool_volume(
    graph: Graph,
    node: onnx.NodeProto,
    shape: list[int],
    result: list[int],
    options: dict[str, Any],
) -> bool:
    batch, channels, depth, height, width = shape
    planes = graph.add(
        "Reshape", node.input[0], graph.constant([batch, channels * depth, height, width])
    )
    part = {k: options[k] for k in ("ceil_mode", "count_include_pad") if k in options}
    pads = options["pads"]
    pooled = graph.add(
        node.op_type,
        planes,
        kernel_shape=options["kernel_shape"][1:],
        strides=options["strides"][1:],
        pads=[*pads[1:3], *pads[4:6]],
        **part,
    )
    area = math.prod(result[3:])
    depths = graph.add("Reshape", pooled, graph.constant([batch, channels, depth, area]))
    pooled = graph.add(
        node.op_type,
        depths,
        kernel_shape=[options["kernel_shape"][0], 1],
        strides=[options["strides"][0], 1],
        pads=[pads[0], 0, pads[3], 0],
        **part,
    )
    graph.add("Reshape", pooled, graph.constant(result), to=node.output[0])
    return True


def _dilated_max(
    graph: Graph,
    node: onnx.NodeProto,
    shape: list[int],
    result: list[int],
    options: dict[str, Any],
) -> bool:
    """Along each axis the maximum of as many gathers as the window has places.

    A place outside the input is replaced by another one of its window: the maximum is the same, and
    no lowest number of the type comes in.
    """
    value = node.input[0]
    for axis, (size, kernel) in enumerate(zip(shape[2:], options["kernel_shape"], strict=True)):
        starts = np.arange(result[axis + 2]) * options["strides"][axis] - options["pads"][axis]
        taps = starts[:, None] + np.arange(kernel) * options["dilations"][axis]
        inside = (taps >= 0) & (taps < size)
        first = np.take_along_axis(taps, inside.argmax(1)[:, None], 1)
        taps = np.where(inside, taps, first).astype(np.int64)
        gathered = [
            graph.add("Gather", value, graph.constant(taps[:, tap].copy()), axis=axis + 2)
            for tap in range(kernel)
        ]
        value = gathered[0] if kernel == 1 else graph.add("Max", *gathered)
    graph.add("Identity", value, to=node.output[0])
    return True


def _scatter_nd(graph: Graph, node: onnx.NodeProto) -> bool:
    data, indices, updates = node.input
    options = attributes(node)
    if options.get("reduction", "none") == "none":
        return _assign_where(graph, node)
    shape, places = graph.shapes.get(data), graph.shapes.get(indices)
    if shape is None or places is None:
        return False
    deep = places[-1]
    rows, rest = math.prod(shape[:deep]), math.prod(shape[deep:])
    count = math.prod(places[:-1])
    strides = np.array([math.prod(shape[axis + 1 : deep]) for axis in range(deep)], np.int64)
    limits = np.array(shape[:deep], np.int64)
    # Indices may count from the end: put right before they become one number.
    negative = graph.add("Less", indices, graph.constant(np.zeros(1, np.int64)))
    turned = graph.add("Add", indices, graph.constant(limits))
    positive = graph.add("Where", negative, turned, indices)
    weighted = graph.add("Mul", positive, graph.constant(strides))
    row = graph.add("ReduceSum", weighted, graph.constant([-1]), keepdims=0)
    row = graph.add("Reshape", row, graph.constant([count, 1]))
    row = graph.add("Expand", row, graph.constant([count, rest]))
    flat = graph.add("Reshape", data, graph.constant([rows, rest]))
    added = graph.add("Reshape", updates, graph.constant([count, rest]))
    result = graph.add("ScatterElements", flat, row, added, axis=0, reduction=options["reduction"])
    graph.add("Reshape", result, graph.constant(shape), to=node.output[0])
    return True


def _assign_where(graph: Graph, node: onnx.NodeProto) -> bool:
    """One value written wherever a mask is true, as PyTorch exports ``y[mask] = 0``."""
    data, indices, updates = node.input
    places = graph.makers.get(indices)
    if places is None or places.op_type != "Transpose":
        return False
    found = graph.makers.get(places.input[0])
    value = _repeated(graph, updates)
    if found is None or found.op_type != "NonZero" or value is None:
        return False
    mask, shape = found.input[0], graph.shapes.get(data)
    masked = graph.shapes.get(mask)
    if shape is None or masked is None:
        return False
    if graph.types.get(mask) != onnx.TensorProto.BOOL:
        mask = graph.add("Cast", mask, to=onnx.TensorProto.BOOL)
    if len(masked) < len(shape):
        whole = [*masked, *[1] * (len(shape) - len(masked))]
        mask = graph.add("Reshape", mask, graph.constant(whole))
    graph.add("Where", mask, value, data, to=node.output[0])
    return True


def _repeated(graph: Graph, name: str) -> str | None:
    """A value of one element that expanding and reshaping made ``name`` of."""
    while (maker := graph.makers.get(name)) is not None and maker.op_type in _REPEATING:
        name = maker.input[0]
    shape = graph.shapes.get(name)
    return name if shape is not None and math.prod(shape) == 1 and len(shape) <= 1 else None


_REPEATING = {"Expand", "Reshape", "Unsqueeze", "Identity"}


def _grid_sample(graph: Graph, node: onnx.NodeProto) -> bool:
    """Reflection is a triangular wave of the grid; what is left lies inside, or on the border."""
    options = attributes(node)
    if options.get("padding_mode", "zeros") != "reflection" or options.get("mode") in _CUBIC:
        return False
    one, two, four = (graph.constant(np.float32(value)) for value in (1, 2, 4))
    moved = graph.add("Add", node.input[1], one)
    turns = graph.add("Floor", graph.add("Div", moved, four))
    inside = graph.add("Sub", moved, graph.add("Mul", turns, four))
    wave = graph.add("Sub", one, graph.add("Abs", graph.add("Sub", inside, two)))
    options["padding_mode"] = "border"
    graph.add("GridSample", node.input[0], wave, to=node.output[0], **options)
    return True


_CUBIC = {"cubic", "bicubic"}


def _pad(graph: Graph, node: onnx.NodeProto) -> bool:
    """Padding with what comes round from the other side is one gather for each axis."""
    shape = graph.shapes.get(node.input[0])
    pads = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    if attributes(node).get("mode") != "wrap" or shape is None or pads is None:
        return False
    axes = graph.constants.get(node.input[3]) if len(node.input) > 3 else np.arange(len(shape))
    if axes is None:
        return False
    value = node.input[0]
    for axis, before, after in zip(axes % len(shape), *np.split(pads, 2), strict=True):
        if before or after:
            places = np.arange(-before, shape[axis] + after) % shape[axis]
            value = graph.add("Gather", value, graph.constant(places), axis=int(axis))
    graph.add("Identity", value, to=node.output[0])
    return True


def _mod(graph: Graph, node: onnx.NodeProto) -> bool:
    """The remainder with the sign of the dividend, as C has it."""
    kind = graph.types.get(node.input[0])
    if not attributes(node).get("fmod") or kind != onnx.TensorProto.FLOAT:
        return False
    value, divisor = node.input
    size, step = graph.add("Abs", value), graph.add("Abs", divisor)
    whole = graph.add("Mul", graph.add("Floor", graph.add("Div", size, step)), step)
    rest = graph.add("Sub", size, whole)
    graph.add("Mul", graph.add("Sign", value), rest, to=node.output[0])
    return True


def _is_nan(graph: Graph, node: onnx.NodeProto) -> bool:
    """Nothing but NaN differs from itself."""
    same = graph.add("Equal", node.input[0], node.input[0])
    graph.add("Not", same, to=node.output[0])
    return True


_RULES: dict[str, Rule] = {
    "AveragePool": _pool,
    "ConvTranspose": _conv_transpose,
    "DFT": dft,
    "GridSample": _grid_sample,
    "IsNaN": _is_nan,
    "LSTM": lstm,
    "MaxPool": _pool,
    "Mod": _mod,
    "Pad": _pad,
    "Resize": _resize,
    "STFT": stft,
    "ScatterND": _scatter_nd,
    "Upsample": _resize,
}
