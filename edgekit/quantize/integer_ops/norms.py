"""Normalisation over channels: LayerNorm, RMSNorm and the like, as converters write them.

``centred = x - mean(x)``, ``squares = centred²``, ``variance = mean(squares)``, then ``centred``
times ``1 / √(variance + ε)``. The variances of a dark and of a bright patch differ by factors of a
hundred and more: with 8 bits the squares of the quiet ones all round to zero. So what leads from
the squares to the root has 16 bits: these are integers too, and all but the squares are small.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.quantize.integer_ops.graphs import activation_of
from edgekit.tflite.graph import Operator, Subgraph, Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.surgery import drop_unread

_ROOTS = ("RSQRT", "SQRT")
_MEANS = ("MEAN", "SUM")


def to_reciprocal_root(operator: Operator) -> str:
    """A DIV by a SQRT by RSQRT, and MUL unless 1 is divided.

    The runtime stops where an integer divisor is zero, which RSQRT bears.

    Returns:
        What it was replaced by; empty where it was left alone.
    """
    from ai_edge_litert.schema_py_generated import MulOptionsT

    graph, (above, below), output = operator.subgraph, operator.inputs, operator.outputs[0]
    root = None if below is None else graph.producer(below)
    if above is None or below is None or root is None or root.name != "SQRT":
        return ""
    if activation_of(operator):
        return ""
    (radicand,), place = root.inputs, operator.place
    if _is_one(above) and output.shape == below.shape:
        graph.replace(operator, "RSQRT", [radicand])
        drop_unread(graph, [root])
        return "RSQRT"
    inverse = graph.add_tensor(f"{output.name}/inverse_root", below.shape, "float32")
    inverse.raw.shapeSignature = below.raw.shapeSignature
    graph.insert_operator(place, "RSQRT", [radicand], [inverse])
    graph.replace(operator, "MUL", [above, inverse], options=MulOptionsT())
    drop_unread(graph, [root])
    return "RSQRT and MUL"


def to_squares(operator: Operator) -> str:
    """A SQUARED_DIFFERENCE of which the mean is taken by SUB and MUL, which have 16-bit kernels.

    Returns:
        What it was replaced by; empty where it was left alone.
    """
    from ai_edge_litert.schema_py_generated import MulOptionsT, SubOptionsT

    graph, (output,), place = operator.subgraph, operator.outputs, operator.place
    if any(reader.name not in _MEANS for reader in graph.consumers(output)):
        return ""
    first = operator.inputs[0]
    known = (
        other.outputs[0]
        for other in ([] if first is None else graph.consumers(first))
        if other.name == "SUB"
        and other.place < place
        and list(other.raw.inputs) == list(operator.raw.inputs)
        and not activation_of(other)
    )
    difference = next(known, None)
    if difference is None:
        difference = graph.add_tensor(f"{output.name}/difference", output.shape, "float32")
        difference.raw.shapeSignature = output.raw.shapeSignature
        inputs = operator.inputs
        graph.insert_operator(place, "SUB", inputs, [difference], options=SubOptionsT())
    graph.replace(operator, "MUL", [difference, difference], options=MulOptionsT())
    return "SUB and MUL"


def _is_one(tensor: Tensor) -> bool:
    return tensor.is_constant and bool((tensor.data() == 1).all())


def variances(model: Model) -> frozenset[str]:
    """The operators, by their outputs, from squares over their mean to a root."""
    return frozenset(name for chain in variance_chains(model) for name in chain)


def variance_chains(model: Model) -> list[tuple[str, ...]]:
    """The same, one chain for each root, from the root to the squares.

    Without operators at the graph's ends, whose type is not free.
    """
    graph = model.main
    ends = {*graph.raw.inputs, *graph.raw.outputs}
    chains = (
        tuple(
            step.outputs[0].name
            for step in _towards_squares(graph, operator)
            if ends.isdisjoint([*step.raw.inputs, *step.raw.outputs])
        )
        for operator in graph.operators
        if operator.name in _ROOTS
    )
    return [chain for chain in chains if chain]


def _towards_squares(graph: Subgraph, root: Operator) -> Iterator[Operator]:
    chain, operator = [root], _maker(graph, root)
    if operator is not None and operator.name == "ADD":
        chain.append(operator)
        operator = _maker(graph, operator)
    if operator is None or operator.name not in _MEANS:
        return
    chain.append(operator)
    operator = _maker(graph, operator)
    if operator is not None and _squares(operator):
        yield from [*chain, operator]


def _maker(graph: Subgraph, operator: Operator) -> Operator | None:
    """What makes the one tensor that an operator reads besides constants."""
    sources = [t for t in operator.inputs if t is not None and not t.is_constant]
    return graph.producer(sources[0]) if len(sources) == 1 else None


def _squares(operator: Operator) -> bool:
    if operator.name == "MUL":
        return len(set(operator.raw.inputs)) == 1
    return operator.name in ("SQUARE", "SQUARED_DIFFERENCE")
