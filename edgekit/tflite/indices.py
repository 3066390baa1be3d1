"""Which outputs of a file are indices: numbers that name something and have no magnitude."""

from __future__ import annotations

from pathlib import Path

from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import read

_CHOOSING: dict[str, tuple[int, ...]] = {
    "ARG_MAX": (0,),
    "ARG_MIN": (0,),
    "WHERE": (0,),
    "TOPK_V2": (1,),
    "UNIQUE": (1,),
    "NON_MAX_SUPPRESSION_V4": (0,),
    "NON_MAX_SUPPRESSION_V5": (0,),
    "TFLite_Detection_PostProcess": (1,),
}
"""Operators that choose, and which of their outputs say what was chosen."""
_MOVING: dict[str, slice] = {
    **dict.fromkeys(("CONCATENATION", "PACK", "ADD", "SUB"), slice(None)),
    **dict.fromkeys(("SELECT", "SELECT_V2"), slice(1, 3)),
    **dict.fromkeys(("SPLIT", "SCATTER_ND"), slice(1, 2)),
    **dict.fromkeys(
        (
            "CAST",
            "QUANTIZE",
            "DEQUANTIZE",
            "RESHAPE",
            "TRANSPOSE",
            "SQUEEZE",
            "EXPAND_DIMS",
            "SLICE",
            "STRIDED_SLICE",
            "SPLIT_V",
            "UNPACK",
            "GATHER",
            "GATHER_ND",
            "TILE",
            "PAD",
            "PADV2",
            "REVERSE_V2",
            "BROADCAST_TO",
        ),
        slice(0, 1),
    ),
}
"""Operators that give what they take, at most another number of it, and which inputs these are."""


def output_indices(path: Path) -> list[bool]:
    """For each output of a `.tflite`, whether its values name things.

    So do truth values, and what comes of an arg-max, a top-k, a search or a suppression, also after
    it was cast to float, gathered, joined or counted from another number. A whole number that was
    computed, such as a rounded age, has a magnitude and is none.
    """
    graph = read(path).main
    makers = {tensor.index: operator for operator in graph.operators for tensor in operator.outputs}
    return [_names(tensor, makers) for tensor in graph.outputs]


def _names(output: Tensor, makers: dict[int, Operator]) -> bool:
    waiting, seen, chosen = [output], set(), False
    while waiting:
        tensor = waiting.pop()
        if tensor.index in seen or tensor.is_constant:
            continue
        seen.add(tensor.index)
        maker = makers.get(tensor.index)
        if tensor.dtype == "bool" or _is_chosen(tensor, maker):
            chosen = True
        elif maker is None or maker.name not in _MOVING:
            return False
        else:
            sources = [one for one in maker.inputs[_MOVING[maker.name]] if one is not None]
            if maker.name in ("ADD", "SUB") and not any(one.is_constant for one in sources):
                return False
            waiting += sources
    return chosen


def _is_chosen(tensor: Tensor, maker: Operator | None) -> bool:
    places = _CHOOSING.get(maker.name, ()) if maker is not None else ()
    return maker is not None and tensor.index in [maker.outputs[one].index for one in places]
