"""ExportedPrograms that PT2E or torchao quantized: their operators, and their float form."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import torch

_REGISTER = ("torch.ao.quantization.fx._decomposed", "torchao", "torchao.quantization.pt2e")
"""Importing these makes the operators known that such a program is written with."""
_NAMESPACES = {"quantized_decomposed", "torchao", "pt2e"}


def register_operators() -> None:
    """Make the operators of quantized programs known, where their packages are installed."""
    for name in _REGISTER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def quantized_operators(program: torch.export.ExportedProgram) -> dict[str, int]:
    """How often each operator occurs that turns numbers into integers or back."""
    found: dict[str, int] = {}
    for node in program.graph_module.graph.nodes:
        if kind := _kind(node):
            found[kind] = found.get(kind, 0) + 1
    return found


def float_form(
    program: torch.export.ExportedProgram, example: tuple[torch.Tensor, ...]
) -> torch.export.ExportedProgram:
    """The program with its weights dequantized, exactly, and its activations not rounded."""
    module: Any = program.module()
    _fold_constants(module)
    for node in list(module.graph.nodes):
        if _kind(node).startswith("dequantize"):
            source = node.args[0]
            if isinstance(source, torch.fx.Node) and _kind(source).startswith("quantize"):
                node.replace_all_uses_with(source.args[0])
    # The checks of inputs that `module` adds stay; what only made scales goes.
    for node in reversed(list(module.graph.nodes)):
        if (_kind(node) or "choose_qparams" in str(node.target)) and not node.users:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return torch.export.export(module, example)


def _fold_constants(module: Any) -> None:
    """Compute every (de)quantization of stored tensors, and store its result."""
    known: dict[torch.fx.Node, Any] = {}
    for node in list(module.graph.nodes):
        if node.op == "get_attr":
            known[node] = _attribute(module, str(node.target))
            continue
        used = node.all_input_nodes
        if not _kind(node) or not used or any(one not in known for one in used):
            continue
        arguments, keywords = torch.fx.map_arg((node.args, node.kwargs), known.__getitem__)
        with torch.no_grad():
            known[node] = node.target(*arguments, **keywords)
        if not _kind(node).startswith("dequantize"):
            continue
        name = f"edgekit_float_{len(known)}"
        module.register_buffer(name, known[node])
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(name)
        node.replace_all_uses_with(stored)
        known[stored] = known[node]


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _kind(node: torch.fx.Node) -> str:
    """``quantize_per_tensor``, ``dequantize_affine`` …, or nothing for any other node."""
    namespace, _, name = str(node.target).partition(".")  # namespace.name.overload
    known = node.op == "call_function" and namespace in _NAMESPACES
    return name.split(".")[0] if known and name.startswith(("quantize_", "dequantize_")) else ""
