"""Float → float: an operator that has no int8 kernel becomes an equal one that has.

Each rewrite puts one operator in the place of one other, which keeps its output and its name, so
ranges and exceptions hold for it as they did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.kernels import KERNELS, range_of_grid
from edgekit.quantize.observe import Ranges
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Change:
    """An operator, named by its first output, and how it was made an integer one."""

    op: str
    output: str
    how: str


def rewrite(model: Model) -> list[Change]:
    """Replace, within ``model``, what can be replaced without changing the float results.

    Returns:
        What was replaced, in the order of execution.
    """
    changes = []
    for operator in model.main.operators:
        step = _REWRITES.get(operator.name)
        if step is None or any(tensor.dtype != "float32" for tensor in operator.outputs):
            continue
        name, output = operator.name, operator.outputs[0].name
        if new := step(operator):
            changes.append(Change(op=name, output=output, how=f"rewritten to {new}"))
    return changes


def tied(model: Model, ranges: Ranges) -> Ranges:
    """The ranges with outputs of kernels that cannot choose their scale set to what they will have.

    Such a kernel then needs no change of scale behind it. A fixed scale that does not hold the
    values seen (LOG_SOFTMAX below -16) is not used.
    """
    result = dict(ranges)
    for operator in model.main.operators:
        kernel = KERNELS.get(operator.name)
        sources = [t for t in operator.inputs if t is not None and t.dtype == "float32"]
        if kernel is None or (kernel.scales == "own" and kernel.fixed is None):
            continue
        for output in operator.outputs:
            if output.name not in result:
                continue
            if kernel.fixed is not None and holds(range_of_grid(kernel.fixed), result[output.name]):
                result[output.name] = range_of_grid(kernel.fixed)
            if kernel.scales == "same" and len(sources) == 1 and sources[0].name in result:
                result[output.name] = result[sources[0].name]
    return result


def holds(outer: tuple[float, float], inner: tuple[float, float]) -> bool:
    """Whether a range holds another but for 1 % of its width."""
    slack = 0.01 * (outer[1] - outer[0])
    return outer[0] - slack <= inner[0] and inner[1] <= outer[1] + slack


def _to_reshape(operator: Operator) -> str:
    """SQUEEZE, EXPAND_DIMS, and a CAST from float to float: the same values in another shape."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import ReshapeOptionsT

    source, output = operator.inputs[0], operator.outputs[0]
    shape = [-1 if size is None else size for size in output.shape_signature]
    if source is None or source.dtype != "float32" or shape.count(-1) > 1 or 0 in shape:
        return ""
    sizes = _constant(operator, "shape", np.array(shape, np.int32))
    return _replace(operator, "RESHAPE", [source, sizes], ReshapeOptionsT(newShape=shape))


def _to_square(operator: Operator) -> str:
    from ai_edge_litert.schema_py_generated import MulOptionsT

    source = operator.inputs[0]
    return _replace(operator, "MUL", [source, source], MulOptionsT())


def _to_negative(operator: Operator) -> str:
    import numpy as np
    from ai_edge_litert.schema_py_generated import MulOptionsT

    minus_one = _constant(operator, "minus_one", np.array([-1], np.float32))
    return _replace(operator, "MUL", [operator.inputs[0], minus_one], MulOptionsT())


def _to_sum(operator: Operator) -> str:
    from ai_edge_litert.schema_py_generated import AddOptionsT

    if len(operator.inputs) != 2:
        return ""
    return _replace(operator, "ADD", operator.inputs, AddOptionsT())


def _to_root_or_square(operator: Operator) -> str:
    """POW with a constant exponent of 2, 1/2 or -1/2."""
    base, exponent = operator.inputs
    if base is None or exponent is None or not exponent.is_constant or base.is_constant:
        return ""
    values = {float(value) for value in exponent.data().ravel()}
    if base.shape_signature != operator.outputs[0].shape_signature or len(values) != 1:
        return ""
    match values.pop():
        case 2.0:
            return _to_square(operator)
        case 0.5:
            return _replace(operator, "SQRT", [base], None)
        case -0.5:
            return _replace(operator, "RSQRT", [base], None)
        case _:
            return ""


_REWRITES: dict[str, Callable[[Operator], str]] = {
    "ADD_N": _to_sum,
    "CAST": _to_reshape,
    "EXPAND_DIMS": _to_reshape,
    "NEG": _to_negative,
    "POW": _to_root_or_square,
    "SQUARE": _to_square,
    "SQUEEZE": _to_reshape,
}


def _constant(operator: Operator, what: str, values: Any) -> Tensor:
    name = f"{operator.outputs[0].name}/{what}"
    return operator.subgraph.add_tensor(name, values.shape, str(values.dtype), values)


def _replace(operator: Operator, name: str, inputs: Sequence[Tensor | None], options: Any) -> str:
    """Put another operator in the place of this one; it computes the same tensors."""
    graph, place = operator.subgraph, operator.index
    graph.insert_operator(place, name, inputs, operator.outputs, options=options)
    del graph.raw.operators[place + 1]
    return name
