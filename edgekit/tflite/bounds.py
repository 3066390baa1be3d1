"""How far an output's values can reach, where the graph says so: after a sigmoid, a softmax …"""

from __future__ import annotations

from pathlib import Path

from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import read

_WIDTHS = {"LOGISTIC": 1.0, "SOFTMAX": 1.0, "TANH": 2.0}
_MOVING = frozenset(
    {
        "QUANTIZE",
        "DEQUANTIZE",
        "RESHAPE",
        "TRANSPOSE",
        "SQUEEZE",
        "EXPAND_DIMS",
        "SLICE",
        "STRIDED_SLICE",
        "SPLIT",
        "SPLIT_V",
        "UNPACK",
        "PACK",
        "GATHER",
        "CONCATENATION",
    }
)
"""Operators that give the values they take."""


def output_widths(path: Path) -> list[float | None]:
    """For each output of a `.tflite`, how wide its possible range is; ``None`` where any value is.

    An output that is joined from several has a width only if all of its parts have one.
    """
    graph = read(path).main
    makers = {index: operator for operator in graph.operators for index in _results(operator)}
    return [_width(tensor, makers) for tensor in graph.outputs]


def _width(tensor: Tensor, makers: dict[int, Operator]) -> float | None:
    widest = 0.0
    waiting, seen = [tensor], set()
    while waiting:
        one = waiting.pop()
        if one.index in seen or one.is_constant:
            continue
        seen.add(one.index)
        maker = makers.get(one.index)
        if maker is None:
            return None
        if maker.name in _WIDTHS:
            widest = max(widest, _WIDTHS[maker.name])
        elif maker.name in _MOVING:
            waiting += [taken for taken in maker.inputs if taken is not None]
        else:
            return None
    return widest or None


def _results(operator: Operator) -> list[int]:
    return [tensor.index for tensor in operator.outputs]
