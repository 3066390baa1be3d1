"""Operators that plain int8 would break: divisors near zero, and variances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgekit.quantize.integer_ops.kernels import grid_of_range
from edgekit.quantize.integer_ops.norms import variances
from edgekit.quantize.integer_ops.rewrites import Rewrite
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass

_CROSSES_ZERO = "its divisor passes zero, at which the int8 kernel stops the whole file"
_NO_RANGE = "its divisor has no known range, and the int8 kernel stops where it is zero"
_TOO_FEW = "8 bits are too few for a variance"


@dataclass(kw_only=True)
class Care:
    """What operators need to be right in an int8 file; operators go by their first output.

    Attributes:
        ranges: of the float tensors; those of tensors that are added come to it.
        sixteen: operators that need 16-bit activations.
        floating: operators that must stay in float.
        reasons: why, for all of them.
        changed: what was changed in the graph.
    """

    ranges: dict[str, tuple[float, float]]
    sixteen: frozenset[str] = frozenset()
    floating: frozenset[str] = frozenset()
    reasons: dict[str, str] = field(default_factory=dict)
    changed: list[Rewrite] = field(default_factory=list)


@dataclass
class TakeCare(GraphPass):
    """Find, in a float model, what 8 bits would break, and keep divisors from zero.

    Attributes:
        excepted: whether the operator with this first output is not to compute in 8 bits.
        care: what was found.
    """

    excepted: Callable[[str], bool]
    care: Care

    def call(self, model: Model) -> int:
        """How many divisors are kept from zero now."""
        care = self.care
        care.sixteen = variances(model)
        care.reasons = dict.fromkeys(care.sixteen, _TOO_FEW)
        for operator in model.main.operators:
            divisor = operator.inputs[1] if operator.name == "DIV" else None
            output = operator.outputs[0].name if operator.outputs else ""
            if divisor is None or divisor.is_constant or divisor.dtype != "float32":
                continue
            if self.excepted(output):
                continue
            if reason := _kept_from_zero(operator, divisor, care.ranges):
                care.floating |= {output}
                care.reasons[output] = reason
            else:
                care.changed.append(Rewrite(op="DIV", output=output, how="divisor kept from zero"))
        return len(care.changed)


def _kept_from_zero(
    operator: Operator, divisor: Tensor, ranges: dict[str, tuple[float, float]]
) -> str:
    """Let a divisor be at least one step away from zero.

    Values that small are lost in int8 anyway, but the runtime stops at a divisor that is stored as
    zero ("data[i] != zero_point was not true").

    Returns:
        Why that cannot be done; empty where it is done.
    """
    import numpy as np
    from ai_edge_litert.schema_py_generated import MaximumMinimumOptionsT

    if divisor.name not in ranges:
        return _NO_RANGE
    low, high = ranges[divisor.name]
    if low < 0 < high:
        return _CROSSES_ZERO
    graph, place = operator.subgraph, operator.place
    step = grid_of_range(low, high)[0] * (1 if high > 0 else -1)
    name = f"{operator.outputs[0].name}/divisor"
    values = np.full((1,) * len(divisor.shape), step, np.float32)
    bound = graph.add_tensor(f"{name}/bound", values.shape, "float32", values)
    bounded = graph.add_tensor(name, divisor.shape, "float32")
    bounded.raw.shapeSignature = divisor.raw.shapeSignature
    graph.insert_operator(
        place,
        "MAXIMUM" if step > 0 else "MINIMUM",
        [divisor, bound],
        [bounded],
        options=MaximumMinimumOptionsT(),
    )
    operator.read_at(1, bounded)
    ranges[name] = (low, high)
    return ""
