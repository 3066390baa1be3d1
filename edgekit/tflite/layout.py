"""Float → float: axes are not turned around an area of the graph that could do without.

A converter from channels-first frameworks keeps what it is not sure about as it was, between a
TRANSPOSE in front and one behind: most often squeeze-excite, with a RESHAPE or two for its 1×1
convolutions. Kernels (and most accelerators) want channels last, and turning costs time.

An *area* is a set of tensors that are all to be turned the same way, grown from one end of a
TRANSPOSE along operators that do the same whatever the order of the axes is (`_followers`). At its
border a TRANSPOSE or RESHAPE takes up the turn, and goes where nothing is left of it; everywhere
else one has to be put in. An area is turned where that leaves fewer of them, or fewer values to
move, and of neither more. What is computed stays the same, but for the order in which means are
summed up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from edgekit.tflite.passes import GraphPass, PassFailure, PassResult
from edgekit.tflite.surgery import drop_unused_tensors

if TYPE_CHECKING:
    import numpy as np

    from edgekit.tflite.graph import Operator, Subgraph, Tensor
    from edgekit.tflite.model import Model

Turn = tuple[int, ...]
"""``turned.shape[i] = shape[turn[i]]``, as NumPy's transpose has it."""

_ELEMENTWISE = frozenset({
    "ABS", "ADD", "ADD_N", "CAST", "CEIL", "COS", "DIV", "ELU", "EQUAL", "EXP", "FLOOR",
    "FLOOR_DIV", "FLOOR_MOD", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU",
    "LESS",
    "LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "MAXIMUM",
    "MINIMUM", "MUL", "NEG", "NOT_EQUAL", "POW", "PRELU", "RELU", "RELU6", "RELU_0_TO_1",
    "RELU_N1_TO_1", "ROUND", "RSQRT", "SELECT_V2", "SIGN", "SIN", "SQRT", "SQUARE",
    "SQUARED_DIFFERENCE", "SUB", "TANH",
})  # fmt: skip
_REDUCTIONS = frozenset(
    ["MEAN", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"]
)
_ALONG_THE_LAST = frozenset({"L2_NORMALIZATION", "LOG_SOFTMAX", "SOFTMAX"})
_BY_AXIS = {"MIRROR_PAD": (1,), "PAD": (1,), "PADV2": (1,), "SLICE": (1, 2), "TILE": (1,)}
"""Operators whose inputs at these places have an entry for each axis of the first one."""
_MOST_AXES = 4
"""Many kernels do no more."""


class SettleLayout(GraphPass):
    """Turn every area of the graph that is better off with its axes in another order."""

    def requires(self, model: Model) -> None:
        """One subgraph, of floats."""
        if len(model.subgraphs) > 1:
            raise PassFailure("the graph has inner graphs")
        if any(tensor.quantization for tensor in model.main.tensors):
            raise PassFailure("the graph is quantized")

    def call(self, model: Model) -> PassResult:
        """How many operators fewer there are; by name in the note."""
        graph = model.main
        before = Counter(operator.name for operator in graph.operators)
        while _turn_areas(graph):
            pass
        drop_unused_tensors(model)
        gone = before - Counter(operator.name for operator in graph.operators)
        words = ", ".join(f"{count} {name}" for name, count in sorted(gone.items()))
        notes = (f"{words} left out",) if gone else ()
        return self.did(gone.total(), *notes)


def _turn_areas(graph: Subgraph) -> bool:
    """Go once through the graph; whether anything was turned, so that going again may pay."""
    known: set[tuple[int, Turn]] = set()
    turned = False
    for operator in graph.operators:
        turn = _turn_of(operator) or _like_turn(operator)
        if turn is None:
            continue
        for seed, wanted in ((operator.outputs[0], _inverse(turn)), (operator.inputs[0], turn)):
            if not graph.holds(operator) or seed is None or seed.is_constant:
                break
            if (seed.index, wanted) not in known:
                area = _grow(graph, seed, wanted)
                known |= {(index, wanted) for index in area.tensors}
                turned |= area.turn_if_worth_it()
    return turned


def _grow(graph: Subgraph, seed: Tensor, turn: Turn) -> _Area:
    found, waiting = {seed.index: seed}, [seed]
    while waiting:
        tensor = waiting.pop()
        for operator in _around(tensor):
            followers = {one.index: one for one in _followers(operator, turn)}
            if tensor.index in followers:
                waiting += [one for index, one in followers.items() if index not in found]
                found |= followers
    return _Area(graph=graph, by=turn, tensors=found)


@dataclass(frozen=True, kw_only=True)
class _Area:
    """Tensors by their numbers, all of which are to be turned by ``by``."""

    graph: Subgraph
    by: Turn
    tensors: dict[int, Tensor]

    def turn_if_worth_it(self) -> bool:
        """Turn it where fewer operators move values then, or fewer values have to be moved."""
        if any(None in t.shape_signature or t.raw.isVariable for t in self.tensors.values()):
            return False
        movers, border = self._movers(), self._at_the_border()
        left = {id(one.raw): self._left_of(one) for one in movers}
        lasting = [one for one in movers if self._lasts(one)]
        before = [_moved(_source(one).shape, _turn_of(one)) for one in movers]
        after = [_moved(self._shape(_source(one)), left[id(one.raw)]) for one in lasting]
        after += [_moved(tensor.shape, self.by) for tensor in border]
        # A RESHAPE counts too, but moves nothing.
        fewer, less = len(before) - len(after), sum(before) - sum(after)
        if fewer < 0 or less < 0 or fewer + less == 0:
            return False
        self._turn(movers, border)
        for one in movers:
            self._leave(one, left[id(one.raw)], lasts=one in lasting)
        return True

    def _turn(self, movers: Sequence[Operator], border: Sequence[Tensor]) -> None:
        inside = self._inside()
        for operator in inside:
            _adapt(operator, self.by)
        for tensor in border:
            self._cross(tensor, [*inside, *movers])
        crossed = {tensor.index for tensor in border}
        for index, tensor in self.tensors.items():
            if index not in crossed:
                tensor.raw.shape, tensor.raw.shapeSignature = self._shape(tensor), None

    def _leave(self, mover: Operator, turn: Turn | None, *, lasts: bool) -> None:
        """Replace a mover by what is left of it."""
        graph, source, made = self.graph, _source(mover), mover.outputs[0]
        ends = {*graph.raw.inputs, *graph.raw.outputs}
        if lasts or ends >= {source.index, made.index}:
            _move(graph, mover.place, source, made, turn)
        elif made.index in ends:
            graph.redirect(source, made)
        else:
            graph.redirect(made, source)
        graph.remove([mover])

    def _shape(self, tensor: Tensor) -> list[int]:
        """The shape of a tensor when all is done."""
        ours = tensor.index in self.tensors
        return [tensor.shape[axis] for axis in self.by] if ours else list(tensor.shape)

    def _touching(self) -> list[Operator]:
        found = {id(one.raw): one for t in self.tensors.values() for one in _around(t)}
        return list(found.values())

    def _inside(self) -> list[Operator]:
        """The operators that work on turned tensors as they did on those before."""
        return [
            one
            for one in self._touching()
            if any(tensor.index in self.tensors for tensor in _followers(one, self.by))
        ]

    def _movers(self) -> list[Operator]:
        """The TRANSPOSE and RESHAPE at the border that take up the turn."""
        return [one for one in self._touching() if self._is_mover(one)]

    def _is_mover(self, operator: Operator) -> bool:
        if operator.name == "TRANSPOSE":
            return _turn_of(operator) is not None
        if operator.name != "RESHAPE":
            return False
        ends = (_source(operator), operator.outputs[0])
        ours = [self.tensors[tensor.index] for tensor in ends if tensor.index in self.tensors]
        return all(_keeps_order(tensor.shape, self.by) for tensor in ours) and not any(
            None in tensor.shape_signature for tensor in ends
        )

    def _left_of(self, operator: Operator) -> Turn | None:
        """What a mover at the border has left to turn; ``None`` for a RESHAPE."""
        turn = _turn_of(operator)
        if turn is None:
            return None
        source, made = operator.raw.inputs[0], operator.raw.outputs[0]
        first = _inverse(self.by) if source in self.tensors else tuple(range(len(turn)))
        last = self.by if made in self.tensors else tuple(range(len(turn)))
        return tuple(first[turn[axis]] for axis in last)

    def _lasts(self, operator: Operator) -> bool:
        turn = self._left_of(operator)
        if turn is not None:
            return turn != tuple(range(len(turn)))
        return self._shape(_source(operator)) != self._shape(operator.outputs[0])

    def _at_the_border(self) -> list[Tensor]:
        """The tensors that others, or the caller, read or write as they are now."""
        within = {id(one.raw) for one in (*self._inside(), *self._movers())}
        ends = {*self.graph.raw.inputs, *self.graph.raw.outputs}
        return [
            tensor
            for index, tensor in self.tensors.items()
            if index in ends or any(id(one.raw) not in within for one in _around(tensor))
        ]

    def _cross(self, tensor: Tensor, within: Sequence[Operator]) -> None:
        """Give the area a turned tensor beside one that has to stay as it is."""
        graph, inner = self.graph, {id(one.raw) for one in within}
        turned = graph.add_tensor(f"{tensor.name}/turned", self._shape(tensor), tensor.dtype)
        writer = graph.producer(tensor)
        for operator in within:
            operator.renumber({tensor.index: turned.index})
        if writer is not None and id(writer.raw) in inner:
            _move(graph, writer.place + 1, turned, tensor, _inverse(self.by))
        else:
            _move(graph, 0 if writer is None else writer.place + 1, tensor, turned, self.by)


def _move(graph: Subgraph, place: int, source: Tensor, made: Tensor, turn: Turn | None) -> None:
    """Insert a TRANSPOSE, or a RESHAPE where there is no turn or one that changes no order."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import ReshapeOptionsT, TransposeOptionsT

    turns = turn is not None and not _keeps_order(source.shape, turn)
    numbers = list(turn if turn is not None and turns else made.shape)
    constant = graph.add_tensor(
        f"{made.name}/moved", (len(numbers),), "int32", np.array(numbers, np.int32)
    )
    name, options = ("TRANSPOSE", TransposeOptionsT()) if turns else ("RESHAPE", ReshapeOptionsT())
    if not turns:
        options.newShape = numbers
    graph.insert_operator(place, name, [source, constant], [made], options=options)


def _keeps_order(shape: Sequence[int], turn: Turn) -> bool:
    """Whether only axes of length 1 move, so that a RESHAPE does it."""
    real = [axis for axis in turn if shape[axis] != 1]
    return real == sorted(real)


def _source(mover: Operator) -> Tensor:
    source = mover.inputs[0]
    assert source is not None
    return source


def _around(tensor: Tensor) -> list[Operator]:
    """The operators that write or read a tensor."""
    writer = tensor.subgraph.producer(tensor)
    return [*([] if writer is None else [writer]), *tensor.subgraph.consumers(tensor)]


def _inverse(turn: Turn) -> Turn:
    return tuple(turn.index(axis) for axis in range(len(turn)))


def _turn_of(operator: Operator) -> Turn | None:
    """How a TRANSPOSE turns; ``None`` for anything else, and where that is not known before."""
    axes = _numbers(operator, 1) if operator.name == "TRANSPOSE" else None
    return tuple(a % len(axes) for a in axes) if axes and len(axes) <= _MOST_AXES else None


def _like_turn(operator: Operator) -> Turn | None:
    """The turn that a RESHAPE stands for where it only moves axes of length 1."""
    if operator.name != "RESHAPE":
        return None
    source, made = _source(operator).shape, operator.outputs[0].shape
    rank = len(source)
    if len(made) != rank or rank > _MOST_AXES or source == made:
        return None
    places = {
        one: iter([i for i in range(rank) if (source[i] == 1) == one]) for one in (True, False)
    }
    turn = tuple(next(places[size == 1], rank) for size in made)
    fits = rank not in turn and tuple(source[axis] for axis in turn) == made
    return turn if fits else None


def _moved(shape: Sequence[int], turn: Turn | None) -> int:
    """How many values change their places."""
    return 0 if turn is None or _keeps_order(shape, turn) else prod(shape)


def _numbers(operator: Operator, place: int) -> list[int] | None:
    """The integers of a constant input, ``None`` where they are not known."""
    tensor = operator.inputs[place] if place < len(operator.inputs) else None
    if tensor is None or not tensor.is_constant:
        return None
    return [int(value) for value in tensor.data().ravel()]


def _followers(operator: Operator, turn: Turn) -> list[Tensor]:
    """The tensors of an operator that can only be turned together; empty where none can be.

    Constants among them are not named, `_adapt` turns them.
    """
    rank, (first, *_), outputs = len(turn), (*operator.inputs, None), operator.outputs
    data: list[Tensor | None] = []
    match operator.name:
        case name if name in _ELEMENTWISE:
            ends = [t for t in (*operator.inputs, *outputs) if t and not t.is_constant]
            data = [t for t in ends if len(t.shape) == rank or prod(t.shape) != 1]
        case "CONCATENATION":
            data = [*(t for t in operator.inputs if t and not t.is_constant), *outputs]
        case "SPLIT" if _numbers(operator, 0):
            data = [operator.inputs[1], *outputs]
        case "STRIDED_SLICE" if _is_plain_slice(operator):
            data = [first, *outputs]
        case name if name in _BY_AXIS and all(_numbers(operator, at) for at in _BY_AXIS[name]):
            data = [first, *outputs]
        case name if name in _ALONG_THE_LAST and turn[-1] == rank - 1:
            data = [first, *outputs]
        case name if name in _REDUCTIONS and (axes := _numbers(operator, 1)):
            kept = [axis for axis in turn if axis not in {axis % rank for axis in axes}]
            if operator.options.keepDims:
                data = [first, *outputs]
            elif kept == sorted(kept):
                data = [first]
    found = [tensor for tensor in data if tensor is not None and len(tensor.shape) == rank]
    return found if len(found) == len(data) else []


def _is_plain_slice(operator: Operator) -> bool:
    options = operator.options
    special = options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask
    return not special and all(_numbers(operator, place) for place in (1, 2, 3))


def _adapt(operator: Operator, turn: Turn) -> None:
    """Let an operator's constants and options say the same of turned tensors."""
    import numpy as np

    rank, name, options = len(turn), operator.name, operator.options
    if name in _ELEMENTWISE or name == "CONCATENATION":
        _turn_constants(operator, turn)
    if name == "CONCATENATION":
        options.axis = turn.index(options.axis % rank)
    elif name == "SPLIT":
        for axis in _numbers(operator, 0) or ():
            _read_constant(operator, 0, np.array(turn.index(axis % rank), np.int32))
    elif name == "STRIDED_SLICE":
        for mask in ("beginMask", "endMask"):
            bits = getattr(options, mask)
            setattr(options, mask, sum((bits >> turn[i] & 1) << i for i in range(rank)))
    elif name in _REDUCTIONS:
        axes = {turn.index(axis % rank) for axis in _numbers(operator, 1) or ()}
        _read_constant(operator, 1, np.array(sorted(axes), np.int32))
    for place in (1, 2, 3) if name == "STRIDED_SLICE" else _BY_AXIS.get(name, ()):
        tensor = operator.inputs[place]
        assert tensor is not None
        _read_constant(operator, place, tensor.data()[list(turn)])


def _turn_constants(operator: Operator, turn: Turn) -> None:
    for place, tensor in enumerate(operator.inputs):
        if tensor is not None and tensor.is_constant and prod(tensor.shape) > 1:
            values = tensor.data().reshape((1,) * (len(turn) - len(tensor.shape)) + tensor.shape)
            _read_constant(operator, place, values.transpose(turn))


def _read_constant(operator: Operator, place: int, values: np.ndarray[Any, Any]) -> None:
    old = operator.inputs[place]
    assert old is not None
    name = f"{old.name}/{operator.outputs[0].name}"
    constant = operator.subgraph.add_tensor(name, values.shape, old.dtype, values.copy())
    operator.read_at(place, constant)
