"""ONNX graphs whose values can all be read, and which modules those came from."""

from __future__ import annotations

import ast
from typing import Any

import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch.onnx writes the path of modules that a node comes from, the outermost first."""


def expose(model: onnx.ModelProto) -> dict[str, str]:
    """Make every value an output of the graph; the operator of each, in the order of execution."""
    outputs = {value.name for value in model.graph.output}
    made = {name: node.op_type for node in model.graph.node for name in node.output if name}
    for name in made:
        if name not in outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    return made


def modules(model: onnx.ModelProto) -> dict[str, list[str]]:
    """The modules whose result each value is: those of which its node is the last one."""
    last: dict[str, int] = {}
    scopes = [scopes_of(node) for node in model.graph.node]
    for place, paths in enumerate(scopes):
        last.update(dict.fromkeys(paths, place))
    return {
        node.output[0]: [path for path in paths if last[path] == place]
        for place, (node, paths) in enumerate(zip(model.graph.node, scopes, strict=True))
        if node.output
    }


def scopes_of(node: Any) -> list[str]:
    """The paths of the PyTorch modules that a node comes from, the outermost first."""
    text = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    try:
        paths = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return [path for path in paths[:-1] if path] if isinstance(paths, list) else []
