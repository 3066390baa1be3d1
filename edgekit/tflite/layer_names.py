"""What people call an operator of a file: ``layer3.0.conv2``, ``conv2d_1``.

Converters leave the paths of modules and the names of Keras layers in names of tensors, each in a
way of its own, with the kind of operator behind it and other tensors beside it.
"""

from __future__ import annotations

import re

from edgekit.tflite.graph import Operator

_WEIGHTS = re.compile(
    r"(.+)_(?:transpose_conv_filter|conv3d_filter|conv_filter|depthwise_filter|fc_weights)"
)
"""What is appended to an ONNX node's name to name the constant of its weights."""
_KIND = re.compile(
    r"(?:[A-Z][A-Za-z0-9]*|convolution|depthwise|separable_conv2d|batchnorm|add|mul|sub|moments)"
    r"(?:_?\d+)?"
)
"""A part of a path that names an operator, and no layer."""
_TURNED = re.compile(r"(?:_output)?_nhwc(?:_padded)?$")


def layer_name(operator: Operator) -> str:
    """The layer that an operator is, or comes from; its first output's name where nothing tells."""
    for tensor in operator.inputs:
        if tensor is not None and tensor.is_constant and (found := _WEIGHTS.fullmatch(tensor.name)):
            return readable(found[1])
    name = operator.outputs[0].name if operator.outputs else ""
    return readable(name)


def readable(name: str) -> str:
    """A tensor's name without what converters put around the layer's."""
    whole = name.split(";", maxsplit=1)[0]
    path = [part for part in whole.split("/") if part]
    if len(path) > 1:
        while len(path) > 1 and _KIND.fullmatch(path[-1]):
            path.pop()
        if not whole.startswith("/") and len(path) > 1:
            path = path[1:]  # the name of the model itself
    elif not path:
        return name
    else:
        path = [_TURNED.sub("", path[0]) or path[0]]
    return ".".join(path)


def layer_names(operators: list[Operator]) -> dict[str, str]:
    """The layers by the names of all outputs."""
    return {tensor.name: layer_name(op) for op in operators for tensor in op.outputs}
