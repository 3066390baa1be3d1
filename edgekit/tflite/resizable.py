"""A file whose inputs may be resized, from two files of one model that were made for two sizes.

TFLite's kernels compute their results' shapes from their inputs' when a file is allocated. What
ties a file to one size are the constants that a converter has computed from it: the shape of a
RESHAPE, the size of a RESIZE, the end of a slice. They are what differs between files for two
sizes; here they are computed by the graph itself, from the shape of a tensor that changed in the
same way. Whether that was read rightly is for others to prove, at further sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError
from edgekit.tflite.flatbuffer import set_options
from edgekit.tflite.graph import Operator, Subgraph, Tensor
from edgekit.tflite.surgery import drop_unused_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.tflite.model import Model

    Array = NDArray[Any]

_MOST_ADDED = 64
"""A size is at most so many more or less than another one that it depends on."""
_CURE = (
    "State the sizes of --input as numbers, and convert once for each size that the app uses; or "
    "leave that part of the model to the app."
)


class NotResizableError(ConversionError):
    """The files for two sizes differ in what no graph can compute from its input's shape."""


@dataclass(frozen=True)
class _Size:
    """``factor · shape(tensor)[axis] + added``; times another dimension where there is one."""

    tensor: Tensor
    axis: int
    factor: int = 1
    added: int = 0
    times: tuple[Tensor, int] | None = None


def make_resizable(model: Model, other: Model) -> None:
    """Open in ``model`` what differs from ``other``, the same model made for another size.

    Every dimension that is to be open has another size in the two.

    Raises:
        NotResizableError: they differ in more than sizes; the cause names the place.
    """
    if len(model.subgraphs) > 1 or len(other.subgraphs) > 1:
        raise NotResizableError("A graph with loops or branches cannot be resized.", cure=_CURE)
    _Opening(model.main, other.main).run()
    drop_unused_tensors(model)


class _Opening:
    def __init__(self, graph: Subgraph, other: Subgraph) -> None:
        self.graph = graph
        self.sizes: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.made: list[Tensor] = []
        self._pair(graph.inputs, other.inputs)
        self.pairs = self._operators(graph, other)
        self._shapes: dict[int, Tensor] = {}

    def run(self) -> None:
        for mine, theirs in self.pairs:
            self._open(mine, theirs)
            self._pair(mine.outputs, theirs.outputs)
        for index, (one, two) in self.sizes.items():
            if one != two:
                signature = [a if a == b else -1 for a, b in zip(one, two, strict=True)]
                self.graph.tensor(index).raw.shapeSignature = signature

    def _operators(self, graph: Subgraph, other: Subgraph) -> list[tuple[Operator, Operator]]:
        mine, theirs = graph.operators, other.operators
        names = [one.name for one in mine], [one.name for one in theirs]
        if names[0] != names[1]:
            at = next((a for a, b in zip(*names, strict=False) if a != b), "the end")
            raise NotResizableError(
                f"The graph has other operators at another size (first at {at}).", cure=_CURE
            )
        return list(zip(mine, theirs, strict=True))

    def _pair(self, mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
        for one, two in zip(mine, theirs, strict=True):
            if len(one.shape) != len(two.shape):
                raise NotResizableError(f"{one.name!r} has another rank at another size.")
            self.sizes[one.index] = one.shape, two.shape
            self.made.append(one)

    def _open(self, mine: Operator, theirs: Operator) -> None:
        if mine.name == "RESHAPE":
            for operator in (mine, theirs):
                _shape_as_input(operator)
        if _differ(mine.options, theirs.options):
            self._as_mean(mine, theirs)
            return
        for place, (one, two) in enumerate(zip(mine.inputs, theirs.inputs, strict=True)):
            if one is None or two is None or one.index in self.sizes or not one.is_constant:
                continue
            values, others = one.data(), two.data()
            if values.shape == others.shape and values.tobytes() == others.tobytes():
                continue
            if values.dtype == "int32" and values.shape == others.shape and values.ndim == 1:
                made = self._sizes_of(mine, values.tolist(), others.tolist())
            elif values.size and others.size and len({*values.flat, *others.flat}) == 1:
                made = self._filled(mine, one, two)
            else:
                raise NotResizableError(
                    f"{one.name!r}, which {mine.name} {mine.outputs[0].name!r} reads, was computed "
                    "from the input's size when the model was exported (such as places of a grid "
                    "or position encodings), so that the file serves one size only.",
                    cure=_CURE,
                )
            mine.read_at(place, made)

    def _as_mean(self, mine: Operator, theirs: Operator) -> None:
        """An average over all of a picture, whatever its size."""
        from ai_edge_litert.schema_py_generated import ReducerOptionsT

        for operator in (mine, theirs):
            source, options = operator.inputs[0], operator.options
            window = source.shape[1:3] if source and operator.name == "AVERAGE_POOL_2D" else None
            if window is None or (options.filterHeight, options.filterWidth) != window:
                raise NotResizableError(
                    f"{mine.name} {mine.outputs[0].name!r} works otherwise at another size.",
                    cure=_CURE,
                )
        axes = self._constant([1, 2])
        options = ReducerOptionsT()
        options.keepDims = True
        self.graph.replace(mine, "MEAN", [mine.inputs[0], axes], options=options)

    def _filled(self, operator: Operator, one: Tensor, two: Tensor) -> Tensor:
        """One value everywhere, in a shape that depends on the size."""
        from ai_edge_litert.schema_py_generated import FillOptionsT

        values = one.data()
        shape = self._sizes_of(operator, list(one.shape), list(two.shape), rest=False)
        value = self.graph.add_tensor(
            f"{one.name}/value", [], one.dtype, values.ravel()[:1].reshape(())
        )
        made = self._result(f"{one.name}/filled", one.shape, one.dtype)
        made.raw.shapeSignature = [
            a if a == b else -1 for a, b in zip(one.shape, two.shape, strict=True)
        ]
        self._insert(operator, "FILL", [shape, value], made, FillOptionsT())
        return made

    def _sizes_of(
        self, operator: Operator, one: list[int], two: list[int], *, rest: bool = True
    ) -> Tensor:
        """A vector that is ``one`` at the first size and ``two`` at the second."""
        from ai_edge_litert.schema_py_generated import ConcatenationOptionsT

        varying = [place for place, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
        may_follow = rest and operator.name == "RESHAPE" and -1 not in one
        if may_follow and len(varying) == 1:
            return self._constant([-1 if p in varying else size for p, size in enumerate(one)])
        found = {place: self._size(operator, one[place], two[place]) for place in varying}
        unknown = [place for place, size in found.items() if size is None]
        if len(unknown) > may_follow:
            raise NotResizableError(
                f"No dimension before {operator.name} {operator.outputs[0].name!r} has the size "
                f"that it is given ({one[unknown[0]]} at one size of the input, {two[unknown[0]]} "
                "at another).",
                cure=_CURE,
            )
        parts: list[Tensor] = []
        for place, size in enumerate(one):
            known = found.get(place)
            if known is not None:
                parts.append(self._computed(operator, known))
            else:
                parts.append(self._constant([-1 if place in unknown else size]))
        made = self._result("sizes", [len(parts)], "int32")
        options = ConcatenationOptionsT()
        self._insert(operator, "CONCATENATION", parts, made, options)
        return made

    def _size(self, operator: Operator, one: int, two: int) -> _Size | None:
        """A dimension of an earlier tensor that explains a size, the simplest and nearest one."""
        varying = list(self._varying(operator))
        for tensor, axis, a, b in varying:
            if (a, b) == (one, two):
                return _Size(tensor, axis)
        for tensor, axis, a, b in varying:
            factor = one // a if a else 0
            if factor > 1 and (factor * a, factor * b) == (one, two):
                return _Size(tensor, axis, factor=factor)
        for tensor, axis, a, b in varying:
            if one - a == two - b and abs(one - a) <= _MOST_ADDED:
                return _Size(tensor, axis, added=one - a)
        dimensions = {(a, b): (tensor, axis) for tensor, axis, a, b in varying}
        for (a, b), (tensor, axis) in dimensions.items():
            for (c, d), times in dimensions.items():
                factor = one // (a * c) if a * c else 0
                if factor and (factor * a * c, factor * b * d) == (one, two):
                    return _Size(tensor, axis, factor=factor, times=times)
        return None

    def _varying(self, operator: Operator) -> Iterator[tuple[Tensor, int, int, int]]:
        own = [tensor for tensor in operator.inputs if tensor is not None]
        for tensor in (*own, *reversed(self.made)):
            one, two = self.sizes.get(tensor.index, ((), ()))
            for axis, (a, b) in enumerate(zip(one, two, strict=True)):
                if a != b:
                    yield tensor, axis, a, b

    def _computed(self, operator: Operator, size: _Size) -> Tensor:
        from ai_edge_litert.schema_py_generated import AddOptionsT, MulOptionsT

        made = self._dimension(operator, size.tensor, size.axis)
        if size.times is not None:
            other = self._dimension(operator, *size.times)
            made = self._of_two(operator, "MUL", made, other, MulOptionsT())
        if size.factor != 1:
            made = self._of_two(operator, "MUL", made, self._constant([size.factor]), MulOptionsT())
        if size.added:
            made = self._of_two(operator, "ADD", made, self._constant([size.added]), AddOptionsT())
        return made

    def _dimension(self, operator: Operator, tensor: Tensor, axis: int) -> Tensor:
        from ai_edge_litert.schema_py_generated import (
            ShapeOptionsT,
            StridedSliceOptionsT,
            TensorType,
        )

        shape = self._shapes.get(tensor.index)
        if shape is None:
            shape = self._result(f"{tensor.name}/shape", [len(tensor.shape)], "int32")
            options = ShapeOptionsT()
            options.outType = TensorType.INT32
            self._insert(operator, "SHAPE", [tensor], shape, options)
            self._shapes[tensor.index] = shape
        made = self._result(f"{tensor.name}/size", [1], "int32")
        ends = [self._constant([axis]), self._constant([axis + 1]), self._constant([1])]
        self._insert(operator, "STRIDED_SLICE", [shape, *ends], made, StridedSliceOptionsT())
        return made

    def _of_two(
        self, operator: Operator, name: str, one: Tensor, two: Tensor, options: Any
    ) -> Tensor:
        made = self._result("size", [1], "int32")
        self._insert(operator, name, [one, two], made, options)
        return made

    def _insert(
        self, before: Operator, name: str, inputs: Sequence[Tensor], made: Tensor, options: Any
    ) -> None:
        self.graph.insert_operator(before.place, name, inputs, [made], options=options)

    def _result(self, name: str, shape: Sequence[int], dtype: str) -> Tensor:
        return self.graph.add_tensor(f"{name}_{len(self.graph.raw.tensors)}", shape, dtype)

    def _constant(self, values: Sequence[int]) -> Tensor:
        import numpy as np

        name = f"sizes_{len(self.graph.raw.tensors)}"
        return self.graph.add_tensor(name, [len(values)], "int32", np.array(values, np.int32))


def _shape_as_input(operator: Operator) -> None:
    """A RESHAPE's shape as a constant that it reads, and nowhere else."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import ReshapeOptionsT

    options = operator.options
    if len(operator.inputs) < 2:
        shape = np.asarray(options.newShape, np.int32)
        graph = operator.subgraph
        name = f"shape_{len(graph.raw.tensors)}"
        operator.read_at(1, graph.add_tensor(name, [len(shape)], "int32", shape))
    set_options(operator.raw, ReshapeOptionsT())


def _differ(one: Any, two: Any) -> bool:
    return str(_plain(one)) != str(_plain(two))


def _plain(options: Any) -> dict[str, Any]:
    return (
        {}
        if options is None
        else {
            key: value.tolist() if hasattr(value, "tolist") else value
            for key, value in vars(options).items()
        }
    )
