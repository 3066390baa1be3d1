"""Float → float: what can be known before the file runs is computed, and what does nothing goes.

Positional encodings, shapes of tensors whose shape is fixed, indices of an assignment: converters
leave their operators in the graph, many of which have no int8 kernel. The runtime itself computes
the values, by its plain kernels.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.graphs import activation_of
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_MOST_BYTES = 1 << 20
"""A folded constant may take so much room, or as much as what it is computed from."""
_SHAPED_BY: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("BROADCAST_TO", "EXPAND_DIMS", "ONE_HOT", "PAD", "PADV2", "RESHAPE"), (1,)),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TILE", "TOPK_V2"), (1,)),
    **dict.fromkeys(("FILL", "TRANSPOSE_CONV"), (0,)),
    **dict.fromkeys(("BATCH_TO_SPACE_ND", "SLICE", "SPACE_TO_BATCH_ND"), (1, 2)),
    "RANGE": (0, 1, 2),
    "SCATTER_ND": (2,),
    "SPLIT_V": (1,),
    "STRIDED_SLICE": (1, 2, 3),
}
"""The operators whose inputs at these places decide the shape of what they make."""
_BY_DATA = frozenset(
    {"CUSTOM", "UNIQUE", "WHERE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"}
)
"""The shape of what these make is decided by values, whatever the file says."""
_DRAWN = frozenset({"MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM"})
_STATEFUL = frozenset(
    {"ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE", "WHILE", "IF"}
)
_WEIGHTS_AT = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "BATCH_MATMUL": 1}
_LEAST_SHARED = 256
"""Bytes; constants smaller than this are not worth a comparison."""


class FoldConstants(GraphPass):
    """Compute what depends on constants and fixed shapes alone, and drop its operators."""

    def call(self, model: Model) -> int:
        """In a model with one subgraph; how many operators are gone."""
        graph = model.main
        changed = _fold_shapes(model)
        known: set[int] = {tensor.index for tensor in graph.tensors if _is_known(tensor)}
        folded: list[Operator] = []
        for operator in graph.operators:
            if operator.inputs and _may_be_folded(operator) and known.issuperset(_read(operator)):
                folded.append(operator)
                known |= set(operator.raw.outputs)
        if not folded:
            return changed
        inner = {id(operator.raw) for operator in folded}
        wanted = [
            tensor
            for operator in folded
            for tensor in operator.outputs
            if any(id(reader.raw) not in inner for reader in graph.consumers(tensor))
        ]
        for tensor, values in zip(wanted, _computed(model, folded, wanted), strict=True):
            tensor.raw.shape, tensor.raw.shapeSignature = list(values.shape), None
            tensor.set_data(values)
        graph.remove(folded)
        return changed + len(folded)


class DropIdle(GraphPass):
    """Remove what changes nothing, and comparisons whose answer is known.

    Additions of zero and multiplications by one; ``x != x`` of what is never NaN, and ``x == -inf``
    of scores that no mask makes infinite, by which attention looks for rows without any token.
    """

    def call(self, model: Model) -> int:
        """How many operators are gone."""
        graph, gone = model.main, 0
        numbers = not _holds_infinity(model)
        for operator in graph.operators:
            if numbers and (_is_of_a_softmax(operator) or _looks_for_infinity(operator)):
                _become_false(operator)
            elif (source := _unchanged(operator)) is not None:
                output = operator.outputs[0]
                if output.index in graph.raw.outputs:
                    continue
                graph.remove([operator])
                graph.redirect(output, source)
            else:
                continue
            gone += 1
        return gone


class ShareWeights(GraphPass):
    """Let operators whose weights are equal read one constant, as an unrolled loop's should."""

    def call(self, model: Model) -> int:
        """How many constants are read no more."""
        found = defaultdict[Any, list[Tensor]](list)
        for operator in model.main.operators:
            place = _WEIGHTS_AT.get(operator.name)
            tensor = None if place is None else operator.inputs[place]
            if tensor is not None and tensor.is_constant and tensor.nbytes >= _LEAST_SHARED:
                stored = bytes(model.raw.buffers[tensor.buffer].data)
                found[tensor.dtype, tensor.shape, stored].append(tensor)
        gone: set[int] = set()
        for first, *others in found.values():
            for other in others:
                if other.index != first.index and other.index not in gone:
                    model.main.redirect(other, first)
                    gone.add(other.index)
        return len(gone)


def _is_known(tensor: Tensor) -> bool:
    """Whether it is a constant, also one without elements, which has no bytes."""
    graph = tensor.subgraph
    empty = 0 in tensor.shape and not _is_open(tensor) and graph.producer(tensor) is None
    return (tensor.is_constant and graph.producer(tensor) is None) or (
        empty and tensor.index not in graph.raw.inputs
    )


def _fold_shapes(model: Model) -> int:
    """A SHAPE of a tensor whose shape is fixed is a constant."""
    import numpy as np

    graph, changed = model.main, 0
    open_: set[int] = {tensor.index for tensor in graph.inputs if _is_open(tensor)}
    for operator in graph.operators:
        source = operator.inputs[0] if operator.inputs else None
        if operator.name == "SHAPE" and source is not None and operator.outputs:
            output = operator.outputs[0]
            if source.index in open_ or _is_open(source) or output.index in graph.raw.outputs:
                continue
            output.raw.shape, output.raw.shapeSignature = [len(source.shape)], None
            output.set_data(np.array(source.shape, output.dtype))
            graph.remove([operator])
            changed += 1
        elif _has_open_result(operator, open_):
            open_ |= set(operator.raw.outputs)
    return changed


def _has_open_result(operator: Operator, open_: set[int]) -> bool:
    if operator.name in _BY_DATA or operator.is_custom or not open_.isdisjoint(_read(operator)):
        return True
    places = [p for p in _SHAPED_BY.get(operator.name, ()) if p < len(operator.inputs)]
    shaping = [operator.inputs[place] for place in places]
    graph = operator.subgraph
    return any(t is not None and not t.is_constant and graph.producer(t) for t in shaping) and any(
        _is_open(tensor) for tensor in operator.outputs
    )


def _is_open(tensor: Tensor) -> bool:
    return None in tensor.shape_signature


def _read(operator: Operator) -> set[int]:
    return {index for index in operator.raw.inputs if index >= 0}


def _may_be_folded(operator: Operator) -> bool:
    ends = set(operator.subgraph.raw.outputs)
    if operator.is_custom or operator.name in _DRAWN | _STATEFUL or not operator.outputs:
        return False
    if ends & set(operator.raw.outputs) or any(t is None for t in operator.inputs):
        return False
    if any(tensor is not None and tensor.raw.isVariable for tensor in operator.inputs):
        return False
    sizes = [_bytes_of(tensor) for tensor in operator.outputs]
    given = sum(tensor.nbytes for tensor in operator.inputs if tensor is not None)
    # DEQUANTIZE of float16 weights doubles them, which is what float weights take.
    return max(sizes) <= max(_MOST_BYTES, given) or operator.name == "DEQUANTIZE"


def _bytes_of(tensor: Tensor) -> int:
    from math import prod

    return 8 * prod(tensor.shape)


def _computed(model: Model, operators: list[Operator], wanted: list[Tensor]) -> list[Array]:
    """The values of some tensors, by running the operators that make them."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if not wanted:
        return []
    part = model.copy()
    places = {operator.place for operator in operators}
    graph = part.main
    graph.remove(one for one in graph.operators if one.index not in places)
    graph.raw.inputs, graph.raw.outputs = [], [tensor.index for tensor in wanted]
    part.raw.signatureDefs = None
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # XNNPACK wants an input
    interpreter = Interpreter(
        model_content=part.packed(), num_threads=1, experimental_op_resolver_type=plain
    )
    interpreter.allocate_tensors()
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(tensor.index)) for tensor in wanted]


def _holds_infinity(model: Model) -> bool:
    """Whether a constant that is computed with, and not only compared to, is not finite."""
    import numpy as np

    floats = (t for t in model.main.tensors if t.is_constant and t.dtype == "float32")
    return any(
        not np.isfinite(tensor.data()).all()
        and any(reader.name != "EQUAL" for reader in model.main.consumers(tensor))
        for tensor in floats
    )


def _looks_for_infinity(operator: Operator) -> bool:
    """Whether it is ``x == inf`` of an ``x`` that a SOFTMAX reads."""
    import numpy as np

    if operator.name != "EQUAL" or any(t is None or t.dtype != "float32" for t in operator.inputs):
        return False
    sides = [tensor for tensor in operator.inputs if tensor is not None]
    scores = [tensor for tensor in sides if not tensor.is_constant]
    limits = [tensor for tensor in sides if tensor.is_constant]
    readers = operator.subgraph.consumers(scores[0]) if scores else []
    return (
        len(limits) == 1
        and not _is_open(operator.outputs[0])
        and bool(np.isinf(limits[0].data()).all())
        and any(reader.name == "SOFTMAX" for reader in readers)
    )


def _is_of_a_softmax(operator: Operator) -> bool:
    if operator.name != "NOT_EQUAL":
        return False
    first, second = operator.inputs
    if first is None or second is None or first.index != second.index:
        return False
    maker = operator.subgraph.producer(first)
    return maker is not None and maker.name == "SOFTMAX"


def _become_false(operator: Operator) -> None:
    import numpy as np

    output = operator.outputs[0]
    operator.subgraph.remove([operator])
    output.set_data(np.zeros(output.shape, bool))


def _unchanged(operator: Operator) -> Tensor | None:
    """What an operator passes on as it is; ``None`` where it changes anything."""
    neutral = {"ADD": 0.0, "MUL": 1.0, "SUB": 0.0, "DIV": 1.0}.get(operator.name)
    if neutral is None or activation_of(operator) or operator.outputs[0].dtype != "float32":
        return None
    pairs = [(0, 1)] if operator.name in ("SUB", "DIV") else [(0, 1), (1, 0)]
    for kept, other in pairs:
        source, constant = operator.inputs[kept], operator.inputs[other]
        if source is None or constant is None or source.is_constant or not constant.is_constant:
            continue
        same = source.shape_signature == operator.outputs[0].shape_signature
        if same and (constant.data() == neutral).all():
            return source
    return None
