"""Float → float: an operator that has no int8 kernel becomes an equal one that has.

Each rewrite puts one operator in the place of one other, which keeps its output and its name, so
ranges and exceptions hold for it as they did. Groups of operators are replaced before all else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.constants import DropIdle, FoldConstants, ShareWeights
from edgekit.quantize.integer_ops.curves import to_gelu
from edgekit.quantize.integer_ops.dense import to_fully_connected
from edgekit.quantize.integer_ops.graphs import activation_of, sweep
from edgekit.quantize.integer_ops.kernels import KERNELS, range_of_grid, symmetric
from edgekit.quantize.integer_ops.norms import to_reciprocal_root, to_squares
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model, read, write
from edgekit.tflite.passes import GraphPass, PassFailure, PassResult, PassSequence, attempt
from edgekit.types import Ranges

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """An operator, named by its first output, and how it was made an integer one."""

    op: str
    output: str
    how: str


class Simplify(PassSequence):
    """Whole groups of operators replaced by one equal operator; constants that can be are computed.

    Unlike `IntegerKernels` this is done before anything else, so that ranges are those of the new
    tensors and the weights of dense layers are rounded like all others. Float results stay the same
    but for the rounding of float32.
    """

    def __init__(self) -> None:
        constants = PassSequence(FoldConstants(), DropIdle(), repeat=True)
        super().__init__(constants, OneForOne(_BEFORE), ShareWeights())

    def requires(self, model: Model) -> None:
        """One subgraph."""
        if len(model.subgraphs) > 1:
            raise PassFailure("the graph has inner graphs")

    def call(self, model: Model) -> PassResult:
        """What was replaced is swept out too."""
        done = super().call(model)
        if done.changed:
            sweep(model)
        return done


def before_passes(model: Path, work: Path) -> Path:
    """The file with `Simplify` done: a new one in ``work``, or itself where nothing was to do."""
    loaded = read(model)
    if not attempt(Simplify(), loaded).changed:
        return model
    output = work / f"{model.stem}-rewritten.tflite"
    write(loaded, output)
    return output


@dataclass
class OneForOne(GraphPass):
    """Replace, without changing the float results, operators by others.

    From the last operator to the first: the last step of a group stands for all of it.

    Attributes:
        steps: by an operator's name; what it was replaced by, empty where it was left alone.
        changes: what was replaced, in the order of execution.
    """

    steps: Mapping[str, Callable[[Operator], str]]
    changes: list[Rewrite] = field(default_factory=list)

    def call(self, model: Model) -> int:
        """How many were replaced."""
        graph = model.main
        for operator in reversed(graph.operators):
            step = self.steps.get(operator.name)
            if step is None or any(tensor.dtype != "float32" for tensor in operator.outputs):
                continue
            if not graph.holds(operator):
                continue  # it was part of a group that is replaced already
            name, output = operator.name, operator.outputs[0].name
            if new := step(operator):
                self.changes.append(Rewrite(op=name, output=output, how=f"rewritten to {new}"))
        self.changes.reverse()
        return len(self.changes)


class IntegerKernels(OneForOne):
    """Operators that have no int8 kernel by equal ones that have."""

    def __init__(self) -> None:
        super().__init__(_REWRITES)


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
            if kernel.symmetric:
                result[output.name] = symmetric(*result[output.name])
            elif kernel.scales == "same" and len(sources) == 1 and sources[0].name in result:
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


def _into_producer(operator: Operator) -> str:
    """An activation, as part of the operator that makes what it alone reads.

    The values that it would cut off need no steps of 8 bits then.
    """
    from ai_edge_litert.schema_py_generated import ActivationFunctionType

    graph, source, output = operator.subgraph, operator.inputs[0], operator.outputs[0]
    maker = None if source is None else graph.producer(source)
    if source is None or maker is None or maker.name not in _WITH_ACTIVATION:
        return ""
    is_read = len(graph.consumers(source)) > 1 or source.index in graph.raw.outputs
    if is_read or maker.options is None or activation_of(maker):
        return ""
    maker.options.fusedActivationFunction = getattr(ActivationFunctionType, operator.name)
    graph.remove([operator])
    maker.write([output])
    return f"{maker.name} with {operator.name}"


_WITH_ACTIVATION = frozenset(
    {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "SUB"}
)
"""Operators that can have an activation of their own in every scheme."""
_REWRITES: dict[str, Callable[[Operator], str]] = {
    "ADD_N": _to_sum,
    "CAST": _to_reshape,
    "EXPAND_DIMS": _to_reshape,
    "NEG": _to_negative,
    "POW": _to_root_or_square,
    "SQUARE": _to_square,
    "SQUEEZE": _to_reshape,
}
_BEFORE: dict[str, Callable[[Operator], str]] = {
    "BATCH_MATMUL": to_fully_connected,
    "DIV": to_reciprocal_root,
    "MUL": to_gelu,
    "RELU": _into_producer,
    "RELU6": _into_producer,
    "RELU_N1_TO_1": _into_producer,
    "SQUARED_DIFFERENCE": to_squares,
}


def _constant(operator: Operator, what: str, values: Any) -> Tensor:
    name = f"{operator.outputs[0].name}/{what}"
    return operator.subgraph.add_tensor(name, values.shape, str(values.dtype), values)


def _replace(operator: Operator, name: str, inputs: Sequence[Tensor | None], options: Any) -> str:
    """Put another operator in the place of this one; it computes the same tensors."""
    operator.subgraph.replace(operator, name, inputs, options=options)
    return name
