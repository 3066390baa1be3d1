"""Masks of attention: values far below all scores, of which SOFTMAX makes zero.

Converters write minus infinity, the lowest float, or -1e9. As ordinary values they would take all
steps for themselves, and the scores would become one and the same. In integers it is enough that a
masked value is the lowest of the range, and far enough below the lowest score.

How a mask is written differs: added, selected, multiplied by truth values, several of them, in any
order and through any change of shape. So the operators before a SOFTMAX are followed back as far as
masks can come from. What is far enough below the scores to be a mask, and how low it has to be, is
told by the scores' own range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.graphs import activation_of
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass

if TYPE_CHECKING:
    import numpy as np

    from edgekit.types import Ranges

    Array = np.ndarray[Any, np.dtype[Any]]

_DISTANCE = 10.0
"""Between the lowest score and what is masked: a share of 5e-5 at most, and int8 has 1/256."""
_SURE = -1000.0
"""A factor from here on down makes a mask also of marks that are not known to be 0 or 1."""
_MOVES = frozenset(
    {"BROADCAST_TO", "EXPAND_DIMS", "GATHER", "GATHER_ND", "RESHAPE", "SLICE", "SQUEEZE"}
    | {"STRIDED_SLICE", "TILE", "TRANSPOSE"}
)
"""What moves the values of its first input."""
_SELECTS = frozenset({"SELECT", "SELECT_V2"})
_EXTREMES = frozenset({"MAXIMUM", "MINIMUM"})
_DEEPEST = 24
"""So many operators before a SOFTMAX are looked at."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant in which something is masked, where one operator reads it.

    Attributes:
        operator: the reader.
        place: of the constant among its inputs.
        limit: up to here values are masked.
        value: what is masked becomes this.
    """

    operator: Operator
    place: int
    limit: float
    value: float


@dataclass(kw_only=True)
class Masks:
    """What a model masks.

    Attributes:
        constants: where what is masked is written.
        limits: the range that each tensor between them and a SOFTMAX needs, by its index.
    """

    constants: list[Constant] = field(default_factory=list)
    limits: dict[int, tuple[float, float]] = field(default_factory=dict)

    def widen(self, tensor: Tensor, low: float, high: float) -> None:
        """Let a tensor's range hold another one too."""
        before = self.limits.get(tensor.index, (low, high))
        self.limits[tensor.index] = min(low, before[0]), max(high, before[1])

    def add(self, other: Masks, model: Model) -> None:
        """Add what another SOFTMAX masks, which may read some of the same tensors."""
        self.constants += other.constants
        for index, limits in other.limits.items():
            self.widen(model.main.tensor(index), *limits)


@dataclass(frozen=True)
class _Values:
    """The range of what is not masked, and whether anything is masked."""

    low: float
    high: float
    masked: bool = False


def find_masks(model: Model, ranges: Ranges) -> Masks:
    """The masks whose results nothing but SOFTMAX reads.

    Args:
        model: float.
        ranges: of the tensors that no mask has touched, at least.
    """
    single = []
    for operator in model.main.operators:
        source = operator.inputs[0] if operator.name == "SOFTMAX" else None
        if source is None or source.is_constant:
            continue
        with suppress(_Unlike):
            single.append(_Search(ranges).run(source))
    # What something else reads too has to stay, and with it whatever shares a tensor with it.
    while True:
        lifted = {index for one in single for index in one.limits}
        kept = [one for one in single if _nobody_else_reads(model, one, lifted)]
        if len(kept) == len(single):
            break
        single = kept
    found = Masks()
    for one in single:
        found.add(one, model)
    return found


def _nobody_else_reads(model: Model, masks: Masks, lifted: set[int]) -> bool:
    graph = model.main
    return all(
        reader.name == "SOFTMAX" or lifted.issuperset(reader.raw.outputs)
        for index in masks.limits
        for reader in graph.consumers(graph.tensor(index))
    )


def maybe_masked(model: Model) -> set[str]:
    """The tensors before a SOFTMAX that may be infinite where a mask is; what they are is told
    by `find_masks` when their ranges are known.
    """
    found: set[str] = set()
    for operator in model.main.operators:
        waiting = [(operator.inputs[0], 0)] if operator.name == "SOFTMAX" else []
        while waiting:
            tensor, depth = waiting.pop()
            maker = None if tensor is None else model.main.producer(tensor)
            if tensor is None or tensor.name in found or maker is None or depth > _DEEPEST:
                continue
            places = _followed(maker)
            if places:
                found.add(tensor.name)
            waiting += [(maker.inputs[place], depth + 1) for place in places]
    return found


def unbounded(model: Model, ranges: Ranges) -> set[str]:
    """The tensors that masks make so low that their values say nothing about a range."""
    return {model.main.tensor(index).name for index in find_masks(model, ranges).limits}


@dataclass
class MaskWithinRanges(GraphPass):
    """Let masks reach no further down than they must, and what is masked have that as its range.

    Attributes:
        ranges: of the float tensors; those of the changed model afterwards.
        held: whether the operator with this first output is not to compute in 8 bits.
    """

    ranges: dict[str, tuple[float, float]]
    held: Callable[[str], bool]

    def call(self, model: Model) -> int:
        """How many constants are others now."""
        masks = find_masks(model, self.ranges)
        lowest: dict[tuple[int, int], Constant] = {}
        for one in masks.constants:  # which several layers may share
            key = (id(one.operator.raw), one.place)
            if key not in lowest or one.value < lowest[key].value:
                lowest[key] = one
        for one in lowest.values():
            _replace_constant(one)
        for index, limits in masks.limits.items():
            tensor = model.main.tensor(index)
            if not self.held(tensor.name):
                # Under another name: who compares with the float file must not take it for it.
                tensor.raw.name = f"{tensor.name}/masked"
            self.ranges[tensor.name] = limits
        return len(lowest)


class _Unlike(Exception):
    """What leads to a SOFTMAX is not such that a mask could be told and lifted."""


class _Search:
    """Follows the operators before one SOFTMAX.

    First from the leaves to the SOFTMAX, which values there are that are not masked; then back,
    how low what is masked has to be in each tensor on the way.
    """

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._limit = -_DISTANCE
        self._known: dict[int, _Values] = {}
        self.found = Masks()

    def run(self, source: Tensor) -> Masks:
        """What is masked before a SOFTMAX of ``source``.

        What lies lower than the width of the scores, and the distance, below zero is masked. At
        first everything that could be is left out of that width, then what turns out not to be so.
        """
        for _ in range(_DEEPEST):
            self._known.clear()
            whole = self._values(source, 0)
            if not whole.masked:
                return self.found
            limit = min(whole.low - whole.high, 0.0) - _DISTANCE
            if limit >= self._limit:
                break
            self._limit = limit
        self._lower(source, whole.low - _DISTANCE)
        return self.found

    def _values(self, tensor: Tensor, depth: int) -> _Values:
        if tensor.dtype != "float32":
            raise _Unlike
        if tensor.index not in self._known:
            made = None if depth > _DEEPEST else self._made(tensor, depth + 1)
            self._known[tensor.index] = made or self._leaf(tensor)
        return self._known[tensor.index]

    def _leaf(self, tensor: Tensor) -> _Values:
        if tensor.name not in self._ranges:
            raise _Unlike
        return _Values(*self._ranges[tensor.name])

    def _made(self, tensor: Tensor, depth: int) -> _Values | None:
        """What is made of masked values; ``None`` where none are, or none can be followed."""
        maker = tensor.subgraph.producer(tensor)
        if maker is None or activation_of(maker):
            return None
        places = _followed(maker)
        try:
            values = [self._operand(maker, place, depth) for place in places]
        except _Unlike:  # no mask behind it, as long as its own values are known
            return None
        if not any(one.masked for one in values):
            return None
        if maker.name == "ADD":
            low, high = sum(one.low for one in values), sum(one.high for one in values)
        elif maker.name == "MUL" and len(values) == 1 and self._is_factor(maker, places[0]):
            low, high = 0.0, 0.0  # where the mark is 0
        else:
            low, high = min(one.low for one in values), max(one.high for one in values)
        if maker.name == "MUL":
            low, high = min(low, 0.0), max(high, 0.0)
        return _Values(low, high, masked=True)

    def _operand(self, operator: Operator, place: int, depth: int) -> _Values:
        tensor = operator.inputs[place]
        if tensor is None:
            raise _Unlike
        if not tensor.is_constant:
            return self._values(tensor, depth)
        values = tensor.data()
        masked = values <= self._limit
        if operator.name == "ADD" and masked.any() and not _leaves_some(masked):
            raise _Unlike  # a bias: a mask leaves something to look at
        usual = values[~masked]
        if not usual.size:
            # Of a selection nothing else is known; in a sum it adds nothing.
            return _Values(0.0, 0.0, masked=True)
        return _Values(float(usual.min()), float(usual.max()), bool(masked.any()))

    def _is_factor(self, operator: Operator, place: int) -> bool:
        tensor = operator.inputs[place]
        return tensor is not None and tensor.is_constant

    def _is_masked(self, tensor: Tensor) -> bool:
        if tensor.is_constant:
            return bool((tensor.data() <= self._limit).any())
        return tensor.index in self._known and self._known[tensor.index].masked

    def _lower(self, tensor: Tensor, needed: float) -> None:
        """Let what is masked in a tensor be ``needed`` at most."""
        graph, values = tensor.subgraph, self._known[tensor.index]
        maker = graph.producer(tensor)
        assert maker is not None
        if tensor.index in graph.raw.outputs:
            raise _Unlike
        self.found.widen(tensor, min(needed, values.low), values.high)
        for place in _followed(maker):
            operand = maker.inputs[place]
            if operand is None or not self._is_masked(operand):
                continue
            wanted = needed
            if maker.name == "ADD":
                other = self._operand(maker, 1 - place, _DEEPEST)
                wanted = needed - max(other.high, 0.0)
            if not operand.is_constant:
                self._lower(operand, wanted)
                continue
            if maker.name == "MUL":
                wanted = needed / _largest_mark(maker.inputs[1 - place], self._ranges)
            self.found.constants.append(
                Constant(operator=maker, place=place, limit=self._limit, value=wanted)
            )


def _followed(operator: Operator) -> tuple[int, ...]:
    """Which inputs of an operator may bring masks."""
    if operator.name in _MOVES:
        return (0,)
    if operator.name == "ADD" or operator.name in _EXTREMES:
        return (0, 1)
    if operator.name in _SELECTS:
        return (1, 2)
    if operator.name == "MUL":
        first, second = operator.inputs
        for place, other in ((0, second), (1, first)):
            tensor = operator.inputs[place]
            if tensor is not None and other is not None and _is_marked(tensor, other):
                return (place,)
    return ()


def _is_marked(tensor: Tensor, marks: Tensor) -> bool:
    """Whether one factor keeps or drops the other: it is 0 or 1, or the other is far too low."""
    if marks.is_constant:
        return not tensor.is_constant and bool((marks.data() == 1).all())
    if _is_truth(marks):
        return True
    return tensor.is_constant and bool((tensor.data() <= _SURE).all())


def _is_truth(tensor: Tensor) -> bool:
    """Whether a float tensor holds 0 and 1 alone: a CAST of truth values, or 1 minus that."""
    for _ in range(_DEEPEST):
        maker = tensor.subgraph.producer(tensor)
        if maker is None or not maker.inputs or maker.inputs[0] is None:
            return False
        source = maker.inputs[0]
        if maker.name == "CAST":
            return source.dtype == "bool"
        if maker.name == "SUB" and source.is_constant and bool((source.data() == 1).all()):
            if maker.inputs[1] is None:
                return False
            source = maker.inputs[1]
        elif maker.name not in _MOVES:
            return False
        tensor = source
    return False


def _largest_mark(marks: Tensor | None, ranges: Mapping[str, tuple[float, float]]) -> float:
    if marks is None or _is_truth(marks) or marks.is_constant:
        return 1.0
    return max(ranges.get(marks.name, (0.0, 1.0))[1], 1e-6)


def _leaves_some(masked: Array) -> bool:
    """Whether no row of the last axis is masked as a whole."""
    return masked.ndim > 0 and masked.shape[-1] > 1 and not masked.all(axis=-1).any()


def _replace_constant(one: Constant) -> None:
    """Give an operator a constant of its own, in which what is masked has another value."""
    import numpy as np

    tensor = one.operator.inputs[one.place]
    assert tensor is not None
    values = tensor.data()
    values = np.where(values > one.limit, values, np.float32(one.value))
    name = f"{one.operator.outputs[0].name}/mask"
    added = tensor.subgraph.add_tensor(name, values.shape, "float32", values)
    one.operator.read_at(one.place, added)
