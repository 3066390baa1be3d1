"""Float → float: GELU written out in many element-wise operators becomes one operator again.

Converters write GELU as x · (1 + erf(x/√2)) / 2, and erf as a polynomial with an exponential, about
twenty operators in all. SIGN has no int8 kernel, and every step is rounded to 8 bits. The operator
GELU looks its result up in a table of 256 values.

How it is written differs from converter to converter. So the pattern is not matched by its
operators: what depends on one tensor and scalar constants alone is a function of one variable, and
its values say whether it is GELU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import erf, pi, sqrt
from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.graphs import activation_of
from edgekit.tflite.graph import Operator, Subgraph, Tensor
from edgekit.tflite.surgery import drop_unread

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_CLOSE = 2e-6
"""erf by Abramowitz and Stegun 7.1.26, which converters write, is off by 1.5e-7."""
_FEWEST, _MOST = 3, 64
"""How many operators a function may be made of."""


def to_gelu(operator: Operator) -> str:
    """A product, the last step of GELU, by the operator GELU of what it depends on.

    Returns:
        What it was replaced by; empty where it was left alone.
    """
    from ai_edge_litert.schema_py_generated import GeluOptionsT

    graph, output = operator.subgraph, operator.outputs[0]
    steps = _steps_before(graph, output)
    if len(steps) < _FEWEST:
        return ""
    for source in _variables(steps, output):
        values = _values(output, source, steps)
        for approximate in (False, True):
            if values is None or not _is_close(values, _gelu(approximate=approximate)):
                continue
            options = GeluOptionsT(approximate=approximate)
            graph.replace(operator, "GELU", [source], options=options)
            drop_unread(graph, [step for step in steps.values() if step.raw is not operator.raw])
            return "GELU"
    return ""


def _steps_before(graph: Subgraph, output: Tensor) -> dict[int, Operator]:
    """The element-wise operators that a tensor is computed by, by what they write."""
    steps: dict[int, Operator] = {}
    waiting = [output.index]
    while waiting and len(steps) < _MOST:
        index = waiting.pop(0)
        operator = graph.producer(graph.tensor(index))
        if index in steps or operator is None or not _is_elementwise(operator):
            continue
        steps[index] = operator
        waiting += [t.index for t in operator.inputs if t is not None and not t.is_constant]
    return steps


def _is_elementwise(operator: Operator) -> bool:
    """Whether each value depends on one value of each tensor, and on scalar constants."""
    if operator.name not in _FUNCTIONS or activation_of(operator):
        return False
    output = operator.outputs[0]
    return output.dtype == "float32" and all(
        tensor is not None
        and tensor.dtype == "float32"
        and (tensor.nbytes == 4 if tensor.is_constant else tensor.shape == output.shape)
        for tensor in operator.inputs
    )


def _variables(steps: Mapping[int, Operator], output: Tensor) -> list[Tensor]:
    """The tensors that a function might be one of: all that its steps read."""
    found = {
        tensor.index: tensor
        for operator in steps.values()
        for tensor in operator.inputs
        if tensor is not None and not tensor.is_constant and tensor.index != output.index
    }
    return list(found.values())


def _values(output: Tensor, source: Tensor, steps: Mapping[int, Operator]) -> Array | None:
    """The function of ``source`` on the grid; ``None`` where the output depends on more."""
    import numpy as np

    known = {source.index: _grid()}
    functions = _functions()

    def value(tensor: Tensor) -> Array | None:
        if tensor.is_constant:
            return np.asarray(tensor.data().astype(np.float64).reshape(()))
        if tensor.index not in known:
            operator = steps.get(tensor.index)
            if operator is None:  # neither the variable nor made by one of the steps
                return None
            given = [value(argument) for argument in operator.inputs if argument is not None]
            arguments = [one for one in given if one is not None]
            if len(arguments) < len(given):
                return None
            known[tensor.index] = functions[operator.name](*arguments)
        return known[tensor.index]

    with np.errstate(all="ignore"):
        return value(output)


@cache
def _grid() -> Array:
    import numpy as np

    return np.concatenate([np.linspace(-9, 9, 289), [-30.0, -15.0, 15.0, 30.0]])


@cache
def _gelu(*, approximate: bool) -> Array:
    """GELU on the grid (Hendrycks and Gimpel, 2016), exact or by tanh."""
    import numpy as np

    x = _grid()
    if approximate:
        gates = 1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))
    else:
        gates = np.array([1 + erf(value / sqrt(2)) for value in x])
    return np.asarray(x * gates / 2)


def _is_close(values: Array, wanted: Array) -> bool:
    import numpy as np

    if values.shape != wanted.shape:
        return False
    return bool((np.abs(values - wanted) <= _CLOSE * np.maximum(1, np.abs(wanted))).all())


_FUNCTIONS = frozenset(
    {"ABS", "ADD", "DIV", "EXP", "LOGISTIC", "MUL", "NEG", "POW", "SIGN", "SQUARE", "SUB", "TANH"}
)
"""The operators that such a function may be made of."""


def _functions() -> dict[str, Callable[..., Array]]:
    import numpy as np

    return {
        "ABS": np.abs,
        "ADD": np.add,
        "DIV": np.divide,
        "EXP": np.exp,
        "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
        "MUL": np.multiply,
        "NEG": np.negative,
        "POW": np.power,
        "SIGN": np.sign,
        "SQUARE": np.square,
        "SUB": np.subtract,
        "TANH": np.tanh,
    }
