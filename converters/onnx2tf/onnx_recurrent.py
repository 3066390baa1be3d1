"""LSTMs whose files keep nothing from one call to the next, and give the states that are asked for.

TFLite's LSTM kernel keeps its states in variables that only the app can reset, and does not give
the cell's state. Where a network starts from zeros, a step is put before its sequence that closes
the input and the forget gate: it leaves exactly the states zero, whatever they were. Where the cell
state is read, or the states come from outside, the steps are written out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx_graph import Graph, attributes

_CLOSED = 40.0
"""A gate of sigmoid(-40) = 4e-18 lets nothing through that float32 could hold beside a number."""
_MOST_STEPS = 256
_DEFAULTS = {"Sigmoid", "Tanh"}


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One direction: matrices of shape (4 · hidden, …) with the gates in ONNX's order i, o, f, c.

    ``hidden`` and ``state`` are the names of the first states of shape (1, batch, hidden), or empty
    where they are zero.
    """

    steps: int
    batch: int
    weights: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray
    hidden: str
    state: str

    @property
    def size(self) -> int:
        return self.recurrent.shape[-1]


def lstm(graph: Graph, node: onnx.NodeProto) -> bool:
    """Write an LSTM of one or two directions as such LSTMs of one, forward direction."""
    cells = _cells(graph, node)
    outputs = [*node.output, *[""] * (3 - len(node.output))]
    wanted = [bool(name) and _is_read(graph, name) for name in outputs]
    if cells is None:
        return False
    direction = attributes(node).get("direction", "forward")
    results = []
    for number, cell in enumerate(cells):
        backward = direction == "reverse" or number == 1
        value = _turned(graph, node.input[0]) if backward else node.input[0]
        if wanted[2] or cell.hidden or cell.state:
            if cell.steps > _MOST_STEPS:
                return False
            every, hidden, state = _unrolled(graph, value, cell)
        else:
            every, hidden, state = (*_with_reset(graph, value, cell), "")
        results.append((_turned(graph, every) if backward else every, hidden, state))
    for axis, name, parts in zip((1, 0, 0), outputs, zip(*results, strict=True), strict=True):
        if name and all(parts):
            graph.add("Concat", *parts, axis=axis, to=name)
    return True


def _cells(graph: Graph, node: onnx.NodeProto) -> list[_Cell] | None:
    """The node's directions, or None for what is not written here (peepholes, clipping …)."""
    x, w, r, *rest = node.input
    bias, lengths, hidden, state, peepholes = [*rest, *[""] * (5 - len(rest))]
    options = attributes(node)
    activations = {name.decode() for name in options.get("activations", ())}
    unusual = any(options.get(name) for name in ("clip", "input_forget", "layout"))
    shape = graph.shapes.get(x)
    weights, recurrent = graph.constants.get(w), graph.constants.get(r)
    biases = graph.constants.get(bias) if bias else np.zeros(0)
    if unusual or lengths or peepholes or not activations <= _DEFAULTS or shape is None:
        return None
    if weights is None or recurrent is None or biases is None:
        return None
    return [
        _Cell(
            steps=shape[0],
            batch=shape[1],
            weights=weights[number],
            recurrent=recurrent[number],
            # Two biases of the sum's size, one after the other.
            bias=biases[number].reshape(2, -1).sum(0) if bias else np.zeros(len(weights[number])),
            hidden=_first_state(graph, hidden, number),
            state=_first_state(graph, state, number),
        )
        for number in range(len(weights))
    ]


def _first_state(graph: Graph, name: str, number: int) -> str:
    """The part of a direction; empty where it is zero."""
    value = graph.constants.get(name)
    if not name or (value is not None and not value.any()):
        return ""
    return _slice(graph, name, number, number + 1, axis=0)


def _with_reset(graph: Graph, value: str, cell: _Cell) -> tuple[str, str]:
    """The kernel, with a step before the sequence that makes its states zero."""
    size = cell.size
    closing = slice(0, size), slice(2 * size, 3 * size)
    column = np.zeros((len(cell.weights), 1), np.float32)
    for gate in closing:
        # Hidden states lie in -1…1: so much the gate may get from them and from the bias.
        most = np.abs(cell.recurrent[gate]).sum(1) + np.abs(cell.bias[gate])
        column[gate] = -(_CLOSED + most.max())
    inputs = cell.weights.shape[1]
    first = np.zeros((1, cell.batch, inputs + 1), np.float32)
    first[..., -1] = 1
    none = np.zeros((cell.steps, cell.batch, 1), np.float32)
    marked = graph.add("Concat", value, graph.constant(none), axis=2)
    longer = graph.add("Concat", graph.constant(first), marked, axis=0)
    weights = np.concatenate([cell.weights, column], 1).astype(np.float32)
    bias = np.concatenate([cell.bias, np.zeros_like(cell.bias)]).astype(np.float32)
    stored = [graph.constant(part[None]) for part in (weights, cell.recurrent, bias)]
    every = graph.add("LSTM", longer, *stored, hidden_size=size)
    every = _slice(graph, every, 1, cell.steps + 1, axis=0)
    last = _slice(graph, every, cell.steps - 1, cell.steps, axis=0)
    return every, graph.add("Reshape", last, graph.constant([1, cell.batch, size]))


def _unrolled(graph: Graph, value: str, cell: _Cell) -> tuple[str, str, str]:
    """One step after the other: all outputs, the last hidden state, the last cell state."""
    batch, size = cell.batch, cell.size
    turned = [np.ascontiguousarray(part.T, np.float32) for part in (cell.weights, cell.recurrent)]
    weights, recurrent = map(graph.constant, turned)
    bias = graph.constant(cell.bias.astype(np.float32))
    given = graph.add("Add", graph.add("MatMul", value, weights), bias)
    zero = graph.constant(np.zeros((1, batch, size), np.float32))
    hidden, state = cell.hidden or zero, cell.state or zero
    every = []
    for step in range(cell.steps):
        now = _slice(graph, given, step, step + 1, axis=0)
        gates = graph.add("Add", now, graph.add("MatMul", hidden, recurrent))
        parts = [_slice(graph, gates, i * size, (i + 1) * size, axis=2) for i in range(4)]
        let_in, let_out, keep = (graph.add("Sigmoid", part) for part in parts[:3])
        fresh = graph.add("Mul", let_in, graph.add("Tanh", parts[3]))
        state = graph.add("Add", graph.add("Mul", keep, state), fresh)
        hidden = graph.add("Mul", let_out, graph.add("Tanh", state))
        every.append(hidden)
    whole = graph.add("Concat", *every, axis=0)
    shaped = graph.add("Reshape", whole, graph.constant([cell.steps, 1, batch, size]))
    return shaped, hidden, state


def _is_read(graph: Graph, name: str) -> bool:
    return bool(graph.users[name]) or any(name == value.name for value in graph.model.graph.output)


def _turned(graph: Graph, value: str) -> str:
    """The sequence from its end."""
    ends = ([-1], [np.iinfo(np.int64).min], [0], [-1])
    return graph.add("Slice", value, *map(graph.constant, ends))


def _slice(graph: Graph, value: str, start: int, stop: int, *, axis: int) -> str:
    return graph.add("Slice", value, *map(graph.constant, ([start], [stop], [axis])))
