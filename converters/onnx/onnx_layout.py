"""Reading from the graph, not from the shape, whether an ONNX input is NCHW or NHWC.

ONNX operators that know channels (Conv, pooling, normalisation) want them second. So an input that
reaches one of them as it is, through element-wise operators only, is NCHW; one that is transposed
by (0, 3, 1, 2) first is NHWC; of any other the graph does not say.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

_CHANNELS_SECOND = {
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "MaxPool",
    "QLinearConv",
    "SpaceToDepth",
}
_ELEMENT_WISE = {
    "Add",
    "Cast",
    "Clip",
    "DequantizeLinear",
    "Div",
    "Identity",
    "Mul",
    "Neg",
    "Pad",
    "QuantizeLinear",
    "Relu",
    "Sub",
}


def input_layout(graph: Any, name: str) -> str | None:
    """``NCHW``, ``NHWC`` or ``None`` where the graph does not say.

    Also for inputs of three or five dimensions, where the words stand for channels second or last.
    """
    users: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for used in node.input:
            users[used].append(node)
    waiting, seen = [name], {name}
    while waiting:
        for node in users[waiting.pop()]:
            if node.op_type in _CHANNELS_SECOND and node.input[0] in seen:
                return "NCHW"
            if node.op_type == "Transpose" and (layout := _transposed_from(node)):
                return layout
            if node.op_type in _ELEMENT_WISE:
                waiting.extend(output for output in node.output if output not in seen)
                seen.update(node.output)
    return None


def _transposed_from(node: Any) -> str | None:
    permutation = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
    rank = len(permutation)
    if rank < 4:  # (0, 2, 1) is as often a sequence as an image
        return None
    if permutation == [0, rank - 1, *range(1, rank - 1)]:
        return "NHWC"
    if permutation == [0, *range(2, rank), 1]:
        return "NCHW"
    return None
