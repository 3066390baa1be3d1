"""What the graphs themselves say: other operators, options or numbers between two known tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_BORDERS = {"QUANTIZE", "DEQUANTIZE"}


def region(model: Model, tensor: Tensor, known: Collection[str]) -> list[Operator]:
    """The operators between a tensor and the known ones that it is computed from."""
    found: list[Operator] = []
    waiting, seen = [tensor], {tensor.index}
    while waiting:
        maker = model.main.producer(waiting.pop())
        if maker is None or any(maker.index == other.index for other in found):
            continue
        found.append(maker)
        for source in maker.inputs:
            if source is None or source.index in seen or source.name in known:
                continue
            seen.add(source.index)
            waiting.append(source)
    return found


def sources(operators: list[Operator], known: Collection[str]) -> set[str]:
    """The known tensors that a region reads."""
    read = (source for operator in operators for source in operator.inputs)
    return {source.name for source in read if source is not None and source.name in known}


def rewired(mine: set[str], theirs: set[str]) -> str:
    """Which tensors one region reads and the other does not, in words; empty where none."""
    parts = [f"{verb} {', '.join(sorted(some)[:3])}" for verb, some in _apart(mine, theirs) if some]
    return f"The candidate {' and '.join(parts)} here." if parts else ""


def _apart(mine: set[str], theirs: set[str]) -> tuple[tuple[str, set[str]], ...]:
    return ("reads", theirs - mine), ("does not read", mine - theirs)


def differences(mine: list[Operator], theirs: list[Operator]) -> str:
    """How two regions differ, in words; empty where they do not."""
    one = Counter(op.name for op in mine if op.name not in _BORDERS)
    two = Counter(op.name for op in theirs if op.name not in _BORDERS)
    words = [f"an extra {name}" for name in (two - one)]
    words += [f"no {name}" for name in (one - two)]
    if words:
        return f"The candidate has {', '.join(words)} here."
    for first in mine:
        for second in theirs:
            if first.name == second.name not in _BORDERS and len(mine) == len(theirs):
                words += _options(first, second)
    return f"The candidate differs here: {', '.join(words)}." if words else ""


def _options(first: Operator, second: Operator) -> list[str]:
    mine, theirs = (_plain(op.options) for op in (first, second))
    words = [
        f"{name} {theirs[name]} instead of {value}"
        for name, value in mine.items()
        if name in theirs and theirs[name] != value
    ]
    for one, other in zip(first.inputs, second.inputs, strict=False):
        if one is None or other is None or not (one.is_constant and other.is_constant):
            continue
        if one.dtype in {"int32", "int64"} and one.quantization is None:
            before, after = one.data().tolist(), other.data().tolist()
            if before != after and other.quantization is None:
                words.append(f"the numbers {after} instead of {before} in {first.name}")
    return words


def _plain(options: Any) -> Mapping[str, Any]:
    names = {"padding", "strideH", "strideW", "fusedActivationFunction", "axis", "depthMultiplier"}
    names |= {"dilationHFactor", "dilationWFactor", "filterHeight", "filterWidth", "keepDims"}
    return {k: v for k, v in vars(options).items() if k in names} if options is not None else {}


def full_biases(operator: Operator) -> int:
    """How many entries of an operator's 32-bit biases are at the end of the range."""
    import numpy as np

    limits = np.iinfo(np.int32)
    return sum(
        int(np.count_nonzero((values == limits.min) | (values == limits.max)))
        for tensor in operator.inputs
        if tensor is not None and tensor.is_constant and tensor.dtype == "int32"
        for values in [tensor.data()]
    )
