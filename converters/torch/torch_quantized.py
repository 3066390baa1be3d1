"""ExportedPrograms that PT2E or torchao quantized: their operators, and their float form."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
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


@dataclass(frozen=True)
class Rounding:
    """How a value was stored in 8 bits: ``scale · (q - zero)``, with q from low to high."""

    scale: float
    zero: int
    low: int
    high: int


@dataclass
class ProgramScales:
    """The 8-bit quantization that a program came with, for its float form.

    Attributes:
        module: the float form as a graph.
        activations: how the value of a node of it was rounded.
        weights: the real numbers of constants, with the scale of each channel.
    """

    module: Any = None
    activations: dict[str, Rounding] = field(default_factory=dict)
    weights: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def values(self, sample: tuple[torch.Tensor, ...]) -> Iterator[tuple[str, np.ndarray]]:
        """The values of the nodes in ``activations`` on a sample."""
        found: dict[str, np.ndarray] = {}
        wanted = self.activations

        class Reading(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> Any:
                value = super().run_node(n)
                if n.name in wanted:
                    found[n.name] = value.detach().cpu().numpy().copy()
                return value

        with torch.inference_mode():
            Reading(self.module).run(*sample)
        yield from found.items()


def float_form(
    program: torch.export.ExportedProgram, example: tuple[torch.Tensor, ...]
) -> tuple[torch.export.ExportedProgram, ProgramScales]:
    """The program with its weights dequantized, exactly, and its activations not rounded."""
    module: Any = program.module()
    stored = ProgramScales(module=module)
    known = _fold_constants(module, stored)
    for node in list(module.graph.nodes):
        if _kind(node).startswith("dequantize"):
            source = node.args[0]
            if isinstance(source, torch.fx.Node) and _kind(source).startswith("quantize"):
                rounding, value = _rounding(source, known), source.args[0]
                if rounding is not None and isinstance(value, torch.fx.Node):
                    stored.activations[value.name] = rounding
                node.replace_all_uses_with(value)
    # The checks of inputs that `module` adds stay; what only made scales goes.
    for node in reversed(list(module.graph.nodes)):
        if (_kind(node) or "choose_qparams" in str(node.target)) and not node.users:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return torch.export.export(module, example), stored


def _rounding(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any]) -> Rounding | None:
    """What a node rounds to; nothing for more than one scale, or other than 8 bits."""
    given = _arguments(node, known)
    scale, zero, low, high = (
        given.get(n) for n in ("scale", "zero_point", "quant_min", "quant_max")
    )
    if scale is None or low is None or high is None or int(high) - int(low) != 255:
        return None
    if np.size(scale) != 1:
        return None
    first = 0 if zero is None else int(np.ravel(np.asarray(zero))[0])
    return Rounding(float(np.ravel(np.asarray(scale))[0]), first, int(low), int(high))


def _arguments(node: torch.fx.Node, known: Mapping[torch.fx.Node, Any]) -> dict[str, Any]:
    """The arguments of a (de)quantization by name, ``scales`` and ``zero_points`` in the singular.

    What the graph computes is left out.
    """
    schema: Any = node.target
    names = [argument.name for argument in schema._schema.arguments]  # noqa: SLF001
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    found = {}
    for name, value in given.items():
        key = {"scales": "scale", "zero_points": "zero_point"}.get(name, name)
        if not isinstance(value, torch.fx.Node):
            found[key] = value
        elif value in known:
            found[key] = known[value].detach().cpu().numpy()
    return found


def _fold_constants(module: Any, stored: ProgramScales) -> dict[torch.fx.Node, Any]:
    """Compute each (de)quantization of stored tensors and store its result; what is known then."""
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
            constant = module.graph.get_attr(name)
        node.replace_all_uses_with(constant)
        known[constant] = known[node]
        _note_weights(node, known, stored)
    return known


def _note_weights(
    node: torch.fx.Node, known: Mapping[torch.fx.Node, Any], stored: ProgramScales
) -> None:
    """Note a constant and its scales, where it is stored in int8 around zero."""
    given = _arguments(node, known)
    scale, zero, low = (given.get(name) for name in ("scale", "zero_point", "quant_min"))
    around_zero = zero is None or not np.any(np.asarray(zero))
    if scale is not None and around_zero and low is not None and -128 <= int(low) < 0:
        reals = known[node].detach().cpu().numpy()
        stored.weights.append((reals, np.ravel(np.asarray(scale, np.float32))))


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _kind(node: torch.fx.Node) -> str:
    """``quantize_per_tensor``, ``dequantize_affine`` …, or nothing for any other node."""
    namespace, _, name = str(node.target).partition(".")  # namespace.name.overload
    known = node.op == "call_function" and namespace in _NAMESPACES
    return name.split(".")[0] if known and name.startswith(("quantize_", "dequantize_")) else ""
