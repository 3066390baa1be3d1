"""Masks of attention: values far below all scores, of which SOFTMAX makes zero.

Converters write minus infinity, the lowest float, or -1e9. As ordinary values they would take all
steps for themselves, and the scores would become one and the same. In integers it is enough that a
masked value is the lowest of the range, and far enough below the lowest score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.graphs import activation_of
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model

if TYPE_CHECKING:
    import numpy as np

    from edgekit.quantize.observe import Ranges

    Array = np.ndarray[Any, np.dtype[Any]]

_MASKED = -50.0
"""From here on down a value is masked: beside a score of zero its share is 2e-22."""
_FACTOR = -1000.0
"""From here on down a factor makes a mask of zeros and ones."""
_DISTANCE = 10.0
"""Between the lowest score and what is masked: a share of 5e-5 at most, and int8 has 1/256."""
_OPERANDS = {"ADD": (0, 1), "SELECT_V2": (1, 2)}
"""The places of scores and mask, in either order."""
_MOVES_ONLY = frozenset({"RESHAPE", "TRANSPOSE"})


@dataclass(frozen=True, kw_only=True)
class Mask:
    """One operator that masks scores.

    Attributes:
        operator: an ADD, or a SELECT_V2 that takes either scores or the mask.
        place: which of its inputs holds the mask.
        scores: its other input.
        results: what it makes, and what is made of that up to the SOFTMAX.
        maker: the MUL that makes the mask of zeros and ones; ``None`` where it is a constant.
    """

    operator: Operator
    place: int
    scores: Tensor
    results: tuple[Tensor, ...]
    maker: Operator | None

    @property
    def tensor(self) -> Tensor:
        """The mask."""
        tensor = self.operator.inputs[self.place]
        assert tensor is not None
        return tensor


def find_masks(model: Model) -> list[Mask]:
    """The masks whose results nothing but a SOFTMAX reads."""
    found = []
    for operator in model.main.operators:
        places = _OPERANDS.get(operator.name)
        if places is None or activation_of(operator):
            continue
        masks = [place for place in places if _is_mask(operator.inputs[place])]
        results = _up_to_softmax(operator.outputs[0])
        if len(masks) != 1 or not results:
            continue
        scores, mask = operator.inputs[sum(places) - masks[0]], operator.inputs[masks[0]]
        if scores is None or mask is None or scores.is_constant:
            continue
        found.append(
            Mask(
                operator=operator,
                place=masks[0],
                scores=scores,
                results=tuple(results),
                maker=None if mask.is_constant else model.main.producer(mask),
            )
        )
    # A made mask that something else reads too has to stay as it is.
    places_of = {mask.operator.index for mask in found}
    return [
        mask
        for mask in found
        if mask.maker is None
        or {reader.index for reader in model.main.consumers(mask.tensor)} <= places_of
    ]


def unbounded(model: Model) -> set[str]:
    """The tensors that masks make so low that their values say nothing about a range."""
    masks = find_masks(model)
    made = {mask.tensor.name for mask in masks if mask.maker is not None}
    return made.union(*({result.name for result in mask.results} for mask in masks))


def mask_within_ranges(
    model: Model, ranges: Ranges | None, held: Callable[[str], bool]
) -> tuple[Ranges | None, list[Operator]]:
    """Let masks reach no further down than they must, and what is masked have that as its range.

    Args:
        model: float; is changed.
        ranges: of its float tensors, where they are known.
        held: whether the operator with this first output is not to compute in 8 bits.

    Returns:
        The ranges of the changed model, and the operators that read another tensor now.
    """
    found, changed = dict(ranges or {}), []
    lowest: dict[int, tuple[Operator, float]] = {}
    for mask in find_masks(model):
        if mask.scores.name not in found:
            continue
        masked, limits = _reachable(mask, found[mask.scores.name])
        if mask.maker is None:
            _replace_constant(mask.operator, mask.place, masked)
            changed.append(mask.operator)
        else:  # which several layers may read
            before = lowest.get(mask.maker.index, (mask.maker, 0.0))[1]
            lowest[mask.maker.index] = mask.maker, min(before, masked)
        _limit(mask.results, limits, found, held)
    for maker, masked in lowest.values():
        place, marks = _factor_of(maker)
        most = max(found[marks.name][1], 1e-6)
        _replace_constant(maker, place, masked / most)
        _limit(maker.outputs, (masked, 0.0), found, held)
        changed.append(maker)
    return None if ranges is None else found, changed


def fold_selection(operator: Operator) -> str:
    """A SELECT_V2 between constants, which is how a mask may be written: a constant itself.

    Returns:
        What it was replaced by; empty where it was left alone.
    """
    import numpy as np

    graph, output = operator.subgraph, operator.outputs[0]
    operands = [tensor for tensor in operator.inputs if tensor is not None and tensor.is_constant]
    if len(operands) != 3 or output.index in graph.raw.outputs:
        return ""
    values = np.where(*(tensor.data() for tensor in operands)).astype(np.float32)
    if values.shape != output.shape:
        return ""
    output.set_data(values)
    graph.remove([operator])
    return "a constant"


def _reachable(mask: Mask, scores: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    """How low what is masked has to be in the mask, and the range of what the mask makes."""
    (low, high), least, most = scores, 0.0, 0.0
    if mask.tensor.is_constant:
        values = mask.tensor.data()
        if (kept := values[values > _MASKED]).size:
            least, most = float(kept.min()), float(kept.max())
    if mask.operator.name == "ADD":
        floor = low + least - _DISTANCE
        return floor - high, (floor, high + most)
    floor = min(low, least) - _DISTANCE
    return floor, (floor, max(high, most))


def _replace_constant(operator: Operator, place: int, masked: float) -> None:
    """Give an operator a constant of its own, in which what is masked has another value."""
    import numpy as np

    tensor = operator.inputs[place]
    assert tensor is not None
    values = tensor.data()
    values = np.where(values > _MASKED, values, np.float32(masked))
    name = f"{operator.outputs[0].name}/mask"
    added = operator.subgraph.add_tensor(name, values.shape, "float32", values)
    operator.read_at(place, added)


def _limit(
    tensors: Sequence[Tensor],
    limits: tuple[float, float],
    ranges: dict[str, tuple[float, float]],
    held: Callable[[str], bool],
) -> None:
    for tensor in tensors:
        if not held(tensor.name):
            # Under another name: what compares with the float file must not take it for the same.
            tensor.raw.name = f"{tensor.name}/masked"
        ranges[tensor.name] = limits


def _is_mask(tensor: Tensor | None) -> bool:
    if tensor is None or tensor.dtype != "float32":
        return False
    if tensor.is_constant:
        return bool((tensor.data() <= _MASKED).any())
    maker = tensor.subgraph.producer(tensor)
    return maker is not None and _makes_mask(maker)


def _makes_mask(operator: Operator) -> bool:
    """Whether it is ``marks · -1e9``, where ``marks`` are one for what is to be masked."""
    if operator.name != "MUL" or activation_of(operator):
        return False
    constants = [one for one in operator.inputs if one is not None and one.is_constant]
    if len(constants) != 1 or operator.outputs[0].index in operator.subgraph.raw.outputs:
        return False
    return bool((constants[0].data() <= _FACTOR).all())


def _factor_of(maker: Operator) -> tuple[int, Tensor]:
    """The place of the constant factor, and the tensor that it multiplies."""
    first, second = maker.inputs
    assert first is not None
    assert second is not None
    return (0, second) if first.is_constant else (1, first)


def _up_to_softmax(tensor: Tensor) -> list[Tensor]:
    """The tensor and its copies in other shapes, where only a SOFTMAX reads the last of them."""
    graph, results = tensor.subgraph, [tensor]
    while True:
        readers = graph.consumers(results[-1])
        if results[-1].index in graph.raw.outputs or not readers:
            return []
        if all(reader.name == "SOFTMAX" for reader in readers):
            return results
        if len(readers) > 1 or readers[0].name not in _MOVES_ONLY:
            return []
        results.append(readers[0].outputs[0])
