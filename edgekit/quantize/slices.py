"""Taking a slice of a tensor apart from the rest of it, further up where nothing is joined yet.

A slice of a CONCATENATION is one of its inputs or a slice of it; RESHAPE and TRANSPOSE that leave
the sliced axis whole can be done after the slice. So a slice moves up until it meets the tensor
that holds exactly its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


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

    def _again(
        self,
        operator: Operator,
        inputs: list[Any],
        axis: int,
        start: int,
        shape: tuple[int, ...],
    ) -> Tensor:
        """The same operator for a slice of what it computed."""
        name = f"{operator.outputs[0].name}/{axis}_{start}_{shape[axis]}"
        result = self._graph.add_tensor(name, shape, operator.outputs[0].dtype)
        place = next(
            number for number, raw in enumerate(self._graph.raw.operators) if raw is operator.raw
        )
        added = self._graph.insert_operator(
            place, operator.name, inputs, [result], version=operator.version
        )
        if operator.name != "RESHAPE":  # whose options would repeat the old shape
            added.raw.builtinOptions = operator.raw.builtinOptions
            added.raw.builtinOptionsType = operator.raw.builtinOptionsType
        return result

    def _constant(self, name: str, values: Sequence[int]) -> Tensor:
        import numpy as np

        return self._graph.add_tensor(name, (len(values),), "int32", np.array(values, np.int32))


def boundaries(tensor: Tensor, axis: int) -> list[int]:
    """Where, along an axis, one joined tensor ends and the next begins; 0 and the size included."""
    size = tensor.shape[axis]
    operator = tensor.subgraph.producer(tensor)
    if operator is None or operator.outputs[0].index != tensor.index:
        return [0, size]
    inputs = [t for t in operator.inputs if t is not None]
    if operator.name == "CONCATENATION":
        found, offset = {0, size}, 0
        for source in inputs:
            found |= {offset + cut for cut in boundaries(source, axis)}
            offset += source.shape[axis] if axis == _joined_axis(operator) else 0
        return sorted(found)
    if operator.name in ("RESHAPE", "TRANSPOSE"):
        before = _axis_before(operator, axis)
        if before is not None:
            return boundaries(inputs[0], before)
    return [0, size]


def slice_of(operator: Operator) -> tuple[Tensor, int, int, int] | None:
    """What a SLICE along one axis takes: tensor, axis, start, size; ``None`` for anything else."""
    if operator.name != "SLICE":
        return None
    source, begin, size = operator.inputs[:3]
    if source is None or begin is None or size is None:
        return None
    if not (begin.is_constant and size.is_constant):
        return None
    shape, result = source.shape, operator.outputs[0].shape
    if len(shape) != len(result):
        return None
    axes = [axis for axis in range(len(shape)) if shape[axis] != result[axis]]
    if len(axes) != 1:
        return None
    return source, axes[0], int(begin.data()[axes[0]]), result[axes[0]]


def drop_unused(model: Model) -> None:
    """Remove operators whose results nobody reads."""
    graph = model.main.raw
    needed = set(graph.outputs)
    kept = []
    for raw in reversed(graph.operators):
        results = set(() if raw.outputs is None else raw.outputs)
        if not results or needed & results:  # without results: it has effects of its own
            needed |= set(() if raw.inputs is None else raw.inputs)
            kept.append(raw)
    graph.operators = kept[::-1]


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


def _joined_axis(operator: Operator) -> int:
    return int(operator.options.axis) % len(operator.outputs[0].shape)


def _with_size(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])
