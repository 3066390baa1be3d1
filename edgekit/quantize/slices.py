"""Taking a slice of a tensor apart from the rest of it, further up where nothing is joined yet.

A slice of a CONCATENATION or PACK is one of its inputs or a slice of it; RESHAPE and TRANSPOSE that
leave the sliced axis whole, and arithmetic value by value, can be done after the slice. So a slice
moves up until it meets the tensor that holds exactly its values, or arithmetic whose constant is
what makes the values differ: what that reads has one range, and is cut by a SLICE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


_VALUE_BY_VALUE = frozenset(
    {
        *("ABS", "ADD", "DIV", "ELU", "EXP", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM"),
        *("MINIMUM", "MUL", "NEG", "POW", "RELU", "RELU6", "RELU_N1_TO_1", "RSQRT", "SQRT"),
        *("SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH"),
    }
)
"""Operators that compute each value from those at its place alone."""
_JUMP = 4.0
"""Neighbouring entries of a constant that differ by this factor make products of other ranges."""
_MOST_JUMPS = 4
"""A constant with more of them, as one with a gain for each channel, joins nothing."""


@dataclass(frozen=True)
class Slice:
    """A result that holds the values ``start … start + size`` of a tensor along an axis."""

    result: Tensor
    source: Tensor
    axis: int
    start: int
    size: int


class Slicer:
    """Makes slices of a model's tensors; the same slice is made once."""

    def __init__(self, model: Model) -> None:
        self._graph = model.main
        self._made: dict[tuple[int, int, int, int], Tensor] = {}

    def take(self, tensor: Tensor, axis: int, start: int, size: int) -> Tensor | None:
        """The tensor with the values ``start … start + size`` along an axis.

        Returns:
            A tensor that does not read the given one; ``None`` where that cannot be had by moving
            values alone. Operators are added before the one that computes the given tensor.
        """
        if (start, size) == (0, tensor.shape[axis]):
            return tensor
        key = (tensor.index, axis, start, size)
        if key not in self._made:
            result = self._take(tensor, axis, start, size)
            if result is None:
                return None
            self._made[key] = result
        return self._made[key]

    def _take(self, tensor: Tensor, axis: int, start: int, size: int) -> Tensor | None:
        operator = self._graph.producer(tensor)
        if operator is None:
            return None
        if operator.name == "CONCATENATION":
            return self._of_concatenation(operator, axis, start, size)
        if operator.name == "PACK":
            return self._of_pack(operator, axis, start, size)
        if operator.name in _VALUE_BY_VALUE:
            return self._of_arithmetic(operator, axis, start, size)
        if operator.name not in ("RESHAPE", "TRANSPOSE"):
            return None
        before = _axis_before(operator, axis)
        source = operator.inputs[0]
        if before is None or source is None:
            return None
        part = self.take(source, before, start, size)
        if part is None:
            return None
        inputs = [part, operator.inputs[1] if len(operator.inputs) > 1 else None]
        shape = _with_size(tensor.shape, axis, size)
        if operator.name == "RESHAPE":
            stated = operator.inputs[1] if len(operator.inputs) > 1 else None
            wanted = stated.data().tolist() if stated is not None and stated.is_constant else shape
            # An open dimension (-1) stays open, such as the batch.
            wanted = [*wanted[:axis], size if wanted[axis] > 0 else -1, *wanted[axis + 1 :]]
            inputs = [part, self._constant(f"{tensor.name}/{axis}_{start}_{size}/shape", wanted)]
        return self._again(operator, inputs, axis, start, shape)

    def _of_concatenation(
        self, operator: Operator, axis: int, start: int, size: int
    ) -> Tensor | None:
        joined = _joined_axis(operator)
        found: list[Tensor | None] = []
        if axis != joined:
            found = [self.take(t, axis, start, size) for t in operator.inputs if t is not None]
        else:
            offset = 0
            for tensor in (t for t in operator.inputs if t is not None):
                first = max(start - offset, 0)
                last = min(start + size - offset, tensor.shape[axis])
                if first < last:
                    found.append(self.take(tensor, axis, first, last - first))
                offset += tensor.shape[axis]
        parts = [tensor for tensor in found if tensor is not None]
        if len(parts) < len(found):
            return None
        if len(parts) == 1:
            return parts[0]
        shape = _with_size(operator.outputs[0].shape, axis, size)
        return self._again(operator, parts, axis, start, shape)

    def _of_pack(self, operator: Operator, axis: int, start: int, size: int) -> Tensor | None:
        from ai_edge_litert.schema_py_generated import PackOptionsT

        packed = _joined_axis(operator)
        inputs = [tensor for tensor in operator.inputs if tensor is not None]
        if axis == packed:
            found: list[Tensor | None] = [*inputs[start : start + size]]
        else:
            before = axis - (axis > packed)
            found = [self.take(tensor, before, start, size) for tensor in inputs]
        if None in found:
            return None
        shape = _with_size(operator.outputs[0].shape, axis, size)
        options = PackOptionsT(axis=packed, valuesCount=len(found))
        return self._again(operator, found, axis, start, shape, options)

    def _of_arithmetic(self, operator: Operator, axis: int, start: int, size: int) -> Tensor | None:
        whole = operator.outputs[0]
        inputs: list[Tensor] = []
        for tensor in operator.inputs:
            if tensor is None:
                return None
            own = _broadcast_axis(tensor, whole, axis)
            if own is None:  # one value serves the whole axis
                inputs.append(tensor)
            elif tensor.is_constant:
                inputs.append(self._part_of_constant(tensor, own, start, size))
            elif len(boundaries(tensor, own)) == 2:  # joined nowhere further up
                inputs.append(self._slice(operator, tensor, own, start, size))
            elif (part := self.take(tensor, own, start, size)) is not None:
                inputs.append(part)
            else:
                return None
        return self._again(operator, inputs, axis, start, _with_size(whole.shape, axis, size))

    def _slice(self, reader: Operator, tensor: Tensor, axis: int, start: int, size: int) -> Tensor:
        """A SLICE of what an operator reads; the same one for all operators that want it."""
        from ai_edge_litert.schema_py_generated import SliceOptionsT

        key = (tensor.index, axis, start, size)
        if key not in self._made:
            name = f"{tensor.name}/{axis}_{start}_{size}"
            begins, sizes = [0] * len(tensor.shape), [-1] * len(tensor.shape)
            begins[axis], sizes[axis] = start, size
            places = [
                self._constant(f"{name}/begin", begins),
                self._constant(f"{name}/size", sizes),
            ]
            inputs = [tensor, *places]
            shape = _with_size(tensor.shape, axis, size)
            result = self._graph.add_tensor(name, shape, tensor.dtype)
            place = reader.place
            self._graph.insert_operator(place, "SLICE", inputs, [result], options=SliceOptionsT())
            self._made[key] = result
        return self._made[key]

    def _part_of_constant(self, tensor: Tensor, axis: int, start: int, size: int) -> Tensor:
        import numpy as np

        values = np.take(tensor.data(), range(start, start + size), axis)
        name = f"{tensor.name}/{axis}_{start}_{size}"
        made = next((known for known in self._graph.tensors if known.name == name), None)
        return made or self._graph.add_tensor(name, values.shape, tensor.dtype, values)

    def _again(
        self,
        operator: Operator,
        inputs: list[Any],
        axis: int,
        start: int,
        shape: tuple[int, ...],
        options: Any = None,
    ) -> Tensor:
        """The same operator for a slice of what it computed, with its own options if none come."""
        name = f"{operator.outputs[0].name}/{axis}_{start}_{shape[axis]}"
        result = self._graph.add_tensor(name, shape, operator.outputs[0].dtype)
        added = self._graph.insert_operator(
            operator.place,
            operator.name,
            inputs,
            [result],
            version=operator.version,
            options=options,
        )
        if options is None and operator.name != "RESHAPE":  # whose options repeat the old shape
            added.raw.builtinOptions = operator.raw.builtinOptions
            added.raw.builtinOptionsType = operator.raw.builtinOptionsType
        return result

    def _constant(self, name: str, values: Sequence[int]) -> Tensor:
        import numpy as np

        return self._graph.add_tensor(name, (len(values),), "int32", np.array(values, np.int32))


def boundaries(
    tensor: Tensor, axis: int, known: dict[tuple[int, int], list[int]] | None = None
) -> list[int]:
    """Where, along an axis, one joined tensor ends and the next begins; 0 and the size included.

    A factor that changes its magnitude joins too: pixels and shares of 1, say.

    Args:
        tensor: any.
        axis: of the tensor.
        known: what was found on the way, since arithmetic may read one tensor many times.
    """
    known = {} if known is None else known
    if (tensor.index, axis) not in known:
        size = tensor.shape[axis]
        known[tensor.index, axis] = [0, size]
        found = {0, size, *_boundaries(tensor, axis, known)}
        known[tensor.index, axis] = sorted(found)
    return known[tensor.index, axis]


def _boundaries(
    tensor: Tensor, axis: int, known: dict[tuple[int, int], list[int]]
) -> Iterator[int]:
    operator = tensor.subgraph.producer(tensor)
    if operator is None or operator.outputs[0].index != tensor.index:
        return
    if operator.name == "PACK" and axis == _joined_axis(operator):
        yield from range(tensor.shape[axis])
        return
    if operator.name in ("MUL", "DIV"):
        yield from _jumps(operator, axis)
    for source, own, offset in _origins(operator, axis):
        yield from (offset + cut for cut in boundaries(source, own, known))


def _jumps(operator: Operator, axis: int) -> list[int]:
    """Where, along an axis, a constant operand goes from one magnitude to another."""
    import numpy as np

    found: list[int] = []
    for tensor in operator.inputs:
        if tensor is None or not tensor.is_constant:
            continue
        own = _broadcast_axis(tensor, operator.outputs[0], axis)
        if own is None:
            continue
        rows = np.moveaxis(np.abs(tensor.data()), own, 0).reshape(tensor.shape[own], -1)
        largest = rows.max(axis=1)
        if largest.min() > 0:
            ratios = np.abs(np.diff(np.log(largest)))
            found += (np.flatnonzero(ratios >= np.log(_JUMP)) + 1).tolist()
    return found if len(found) <= _MOST_JUMPS else []


def _origins(operator: Operator, axis: int) -> Iterator[tuple[Tensor, int, int]]:
    """The tensors that a result holds along an axis: which axis of theirs, and from where on."""
    inputs = [t for t in operator.inputs if t is not None]
    if operator.name == "CONCATENATION":
        offset = 0
        for source in inputs:
            yield source, axis, offset
            offset += source.shape[axis] if axis == _joined_axis(operator) else 0
    elif operator.name == "PACK":
        yield from ((source, axis - (axis > _joined_axis(operator)), 0) for source in inputs)
    elif operator.name in _VALUE_BY_VALUE:
        for source in inputs:
            own = _broadcast_axis(source, operator.outputs[0], axis)
            if own is not None and not source.is_constant:
                yield source, own, 0
    elif operator.name in ("RESHAPE", "TRANSPOSE"):
        before = _axis_before(operator, axis)
        if before is not None:
            yield inputs[0], before, 0


def slices_of(operator: Operator) -> list[Slice]:
    """What a SLICE, STRIDED_SLICE, SPLIT or SPLIT_V takes; empty for anything else.

    Only slices along one axis with constant places that leave out nothing in between.
    """
    match operator.name:
        case "SLICE":
            return _one_slice(operator, _begins(operator, 1))
        case "STRIDED_SLICE":
            options = operator.options
            odd = options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask
            steps = _begins(operator, 3)
            if odd or steps is None or any(step != 1 for step in steps):
                return []
            return _one_slice(operator, _begins(operator, 1, options.beginMask))
        case "SPLIT" | "SPLIT_V":
            return _split_slices(operator)
        case _:
            return []


def _begins(operator: Operator, place: int, mask: int = 0) -> list[int] | None:
    """A constant input as whole numbers, with zeros where the mask says so."""
    tensor = operator.inputs[place]
    if tensor is None or not tensor.is_constant:
        return None
    return [
        0 if mask >> axis & 1 else int(value)
        for axis, value in enumerate(tensor.data().reshape(-1))
    ]


def _one_slice(operator: Operator, begins: list[int] | None) -> list[Slice]:
    source, result = operator.inputs[0], operator.outputs[0]
    if source is None or begins is None or len(source.shape) != len(result.shape):
        return []
    axes = [a for a in range(len(source.shape)) if source.shape[a] != result.shape[a]]
    if len(axes) != 1:
        return []
    axis = axes[0]
    start = begins[axis] + (source.shape[axis] if begins[axis] < 0 else 0)
    return [Slice(result, source, axis, start, result.shape[axis])]


def _split_slices(operator: Operator) -> list[Slice]:
    source = operator.inputs[1 if operator.name == "SPLIT" else 0]
    axes = _begins(operator, 0 if operator.name == "SPLIT" else 2)
    if source is None or axes is None:
        return []
    axis, start, found = axes[0] % len(source.shape), 0, []
    for result in operator.outputs:
        found.append(Slice(result, source, axis, start, result.shape[axis]))
        start += result.shape[axis]
    return found


def _axis_before(operator: Operator, axis: int) -> int | None:
    """Which axis of its input an axis of a RESHAPE's or TRANSPOSE's result is."""
    source, result = operator.inputs[0], operator.outputs[0]
    if source is None:
        return None
    if operator.name == "TRANSPOSE":
        order = operator.inputs[1]
        return int(order.data()[axis]) if order is not None and order.is_constant else None
    for before, size in enumerate(source.shape):
        same = prod(source.shape[:before]) == prod(result.shape[:axis])
        if same and size == result.shape[axis]:
            return before
    return None


def _broadcast_axis(tensor: Tensor, whole: Tensor, axis: int) -> int | None:
    """Which axis of an operand an axis of the result is; ``None`` where it is repeated along it."""
    own = axis - (len(whole.shape) - len(tensor.shape))
    return own if own >= 0 and tensor.shape[own] == whole.shape[axis] else None


def _joined_axis(operator: Operator) -> int:
    return int(operator.options.axis) % len(operator.outputs[0].shape)


def _with_size(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])
