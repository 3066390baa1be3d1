"""A graph cut into single operators: each reads what it is given, not what the one before it made.

With the candidate's own tensors as what is given, the results say what the reference's operators
would have made of them. What differs from the candidate's results was added by that operator;
everything else was there before. Tensors that the candidate does not have are not cut, so that a
region between two known tensors counts as one operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.tflite.dtypes import FLOAT_TYPES
from edgekit.tflite.model import Model, Operator, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def cut(model: Model, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Make the named results inputs and outputs of the graph, and return the inputs by name.

    Readers of a named tensor read a new input in its place; what makes it is an output. The
    graph's own inputs come first and stay. Signatures name the old borders and are dropped.

    Args:
        model: is changed.
        shapes: of the results, by name, as they were at run time: a graph may leave them open.
    """
    graph = model.main
    fed: list[Tensor] = []
    outputs: list[int] = []
    given = [tensor.index for tensor in graph.inputs]
    replacement: dict[int, int] = {}
    for operator in graph.operators:
        operator.renumber(replacement)
        for tensor in operator.outputs:
            if tensor.name not in shapes:
                continue
            outputs.append(tensor.index)
            if graph.consumers(tensor):
                shape = tuple(shapes[tensor.name])
                twin = graph.add_tensor(f"{tensor.name};fed", shape, tensor.dtype)
                twin.raw.quantization = tensor.raw.quantization
                replacement[tensor.index] = twin.index
                fed.append(tensor)
    graph.raw.inputs = [*given, *(replacement[tensor.index] for tensor in fed)]
    graph.raw.outputs = outputs
    model.raw.signatureDefs = None
    return [*(graph.tensor(index).name for index in given), *(tensor.name for tensor in fed)]


def constants(model: Model) -> dict[str, list[Array | None]]:
    """The real values of each operator's constant numbers, by its first output's name.

    In the order of the operator's inputs, ``None`` for one that is not a constant of real numbers
    (shapes, axes and paddings are plain integers).
    """
    return {
        operator.outputs[0].name: [_real(tensor) for tensor in operator.inputs]
        for operator in model.main.operators
        if operator.outputs
    }


def give_constants(model: Model, values: Mapping[str, list[Array | None]]) -> set[str]:
    """Put other weights and biases into a float graph's operators; those that fit got them.

    Returns:
        The first outputs of the operators of which some constant was replaced.
    """
    done: set[str] = set()
    for operator in model.main.operators:
        name = operator.outputs[0].name if operator.outputs else ""
        mine = [_real(tensor) for tensor in operator.inputs]
        theirs = values.get(name, [])
        if len(mine) != len(theirs):
            continue
        for tensor, old, new in zip(operator.inputs, mine, theirs, strict=True):
            if tensor is None or old is None or new is None or old.size != new.size:
                continue
            if tensor.dtype == "float32":
                tensor.set_data(new.reshape(tensor.shape).astype("float32"))
                done.add(name)
    return done


def dequantized(model: Model) -> None:
    """Turn 16-bit float constants behind a DEQUANTIZE into what they stand for.

    A file with fp16 weights reads them through a DEQUANTIZE; its operators then have no constants
    of their own, as those of a float32 file do.
    """
    graph = model.main
    made: dict[int, int] = {}
    for operator in graph.operators:
        source = operator.inputs[0] if operator.inputs else None
        if operator.name == "DEQUANTIZE" and source is not None and source.is_constant:
            values = _real(source)
            assert values is not None
            stored = values.astype("float32")
            twin = graph.add_tensor(f"{source.name};real", source.shape, "float32", stored)
            made[operator.outputs[0].index] = twin.index
    if made:
        graph.remove(op for op in graph.operators if op.outputs[0].index in made)
        for operator in graph.operators:
            operator.renumber(made)


def sources(operator: Operator) -> list[Tensor]:
    """What an operator reads that is not a constant."""
    return [t for t in operator.inputs if t is not None and not t.is_constant]


def _real(tensor: Tensor | None) -> Array | None:
    """A constant's real values in float64; ``None`` where it has none."""
    import numpy as np

    if tensor is None or not tensor.is_constant or tensor.raw.sparsity is not None:
        return None
    quantization = tensor.quantization
    if quantization is None:
        return tensor.data().astype(np.float64) if tensor.dtype in FLOAT_TYPES else None
    stored = tensor.data().astype(np.float64)
    shape = [1] * stored.ndim
    if quantization.axis is not None:
        shape[quantization.axis] = -1
    scales = np.reshape(quantization.scales, shape or ())
    zeros = np.reshape(quantization.zero_points, shape or ())
    return np.asarray((stored - zeros) * scales)
