"""Taking out of a graph what nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgekit.tflite.graph import Operator, Subgraph, Tensor
from edgekit.tflite.model import Model


def drop_unread(graph: Subgraph, operators: Sequence[Operator]) -> None:
    """Remove those of the operators whose results nobody reads, also after others have gone."""
    ends = set(graph.raw.outputs)
    among = {id(operator.raw): operator for operator in operators}
    waiting = list(among.values())
    while waiting:
        operator = waiting.pop()
        outputs = operator.outputs
        if not graph.holds(operator) or ends & {tensor.index for tensor in outputs}:
            continue
        if any(graph.consumers(tensor) for tensor in outputs):
            continue
        makers = [graph.producer(tensor) for tensor in operator.inputs if tensor is not None]
        graph.remove([operator])
        waiting += [one for one in makers if one is not None and id(one.raw) in among]


def forget(constant: Tensor) -> None:
    """Keep no values for a constant that nothing reads any more, or that is computed now."""
    model, buffer = constant.subgraph.model, constant.buffer
    constant.use_buffer(0)
    if buffer and not model.buffer_users(buffer):
        model.raw.buffers[buffer].data = None


def drop_unused_operators(model: Model) -> None:
    """Remove the main graph's operators whose results nobody reads."""
    graph = model.main
    needed, unused = set(graph.raw.outputs), []
    for operator in reversed(graph.operators):
        results = set(operator.raw.outputs or ())
        if not results or needed & results:  # without results: it has effects of its own
            needed |= set(operator.raw.inputs or ())
        else:
            unused.append(operator)
    graph.remove(unused)


def exchange_outputs(model: Model, old: Tensor, new: Tensor) -> None:
    """Put another tensor in the place of an output, in the main graph and in its signatures."""
    raw = model.main.raw
    raw.outputs = [new.index if index == old.index else index for index in raw.outputs]
    for signature in model.raw.signatureDefs or ():
        for entry in signature.outputs or ():
            if entry.tensorIndex == old.index:
                entry.tensorIndex = new.index


def drop_unused_tensors(model: Model) -> None:
    """Remove the main graph's tensors that no operator and no caller reads or writes."""
    graph = model.main
    read = {*graph.raw.outputs, *(i for raw in graph.raw.operators for i in raw.inputs)}
    _drop_tensors(model, {*read, *graph.raw.inputs, *_written(graph)})


def _written(graph: Subgraph) -> Iterator[int]:
    for raw in graph.raw.operators:
        yield from [*raw.outputs, *(() if raw.intermediates is None else raw.intermediates)]


def _drop_tensors(model: Model, kept: set[int]) -> None:
    """Remove all tensors but these, renumber the others, and empty buffers of nobody."""
    graph = model.main.raw
    for index, tensor in enumerate(graph.tensors):
        if index not in kept:
            model.use_buffer(tensor.buffer, None)
    number = {old: new for new, old in enumerate(sorted(kept - {-1}))} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in number if old >= 0]
    graph.inputs = [number[index] for index in graph.inputs]
    graph.outputs = [number[index] for index in graph.outputs]
    for operator in model.main.operators:
        operator.renumber(number)
    for raw in graph.operators:
        if raw.intermediates is not None:
            raw.intermediates = [number[index] for index in raw.intermediates]
    for signature in model.raw.signatureDefs or ():
        for entry in [*(signature.inputs or ()), *(signature.outputs or ())]:
            entry.tensorIndex = number[entry.tensorIndex]
    model.drop_buffers()
