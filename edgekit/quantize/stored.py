"""Does a file store what the name of its scheme says? Asked of the file, not of the intention."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from edgekit.errors import ConversionError
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass
from edgekit.tflite.surgery import forget
from edgekit.types import CALIBRATED_SCHEMES, Scheme

_WEIGHTS_AT = {
    "BATCH_MATMUL": 1,
    "CONV_2D": 1,
    "CONV_3D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "EMBEDDING_LOOKUP": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}
_BORDERS: dict[Scheme, frozenset[str]] = {
    "int8": frozenset({"float32", "uint8", "int16"}),
    "int8-uint8-io": frozenset({"float32", "int8", "int16"}),
    "int8-float-io": frozenset({"int8", "int16"}),
}
"""Types that inputs and outputs must not have."""
_LEAST = 0.5
"""So large a share of the weights has to be stored as promised: some operators have no kernel."""


def refuse_misnamed(model: Model, scheme: Scheme, *, excepted: bool) -> None:
    """Look at what a written file stores.

    Args:
        model: as read from the file.
        scheme: whose name it is to bear.
        excepted: whether some operators were to be left in float.

    Raises:
        ConversionError: its weights, inputs or outputs are not of the types that the scheme states.
    """
    for tensor in (*model.main.inputs, *model.main.outputs):
        quantized = tensor.quantization is not None or tensor.dtype == "float32"
        if quantized and tensor.dtype in _BORDERS.get(scheme, ()) and not tensor.is_constant:
            raise ConversionError(
                f"The file would not be {scheme}: {tensor.name} is {tensor.dtype}.",
                cure="Use --scheme int8-float-io, or one that keeps activations in float.",
            )
    sizes = [(prod(one.shape), _is_promised(one, scheme)) for one in _weights(model)]
    total, promised = sum(size for size, _ in sizes), sum(size for size, good in sizes if good)
    if total and promised < _LEAST * total and not excepted:
        raise ConversionError(
            f"The file would not be {scheme}: {1 - promised / total:.0%} of its weights are stored "
            "in another type.",
            cure="Start from the float32 file, or leave this scheme out with --scheme.",
        )


class StoreHalves(GraphPass):
    """Store in float16 the weights that litert-quantizer leaves in float32 (of BATCH_MATMUL).

    A DEQUANTIZE makes them float32 again, as for all others; runtimes do it once. Weights out of
    float16's range stay as they are.
    """

    def call(self, model: Model) -> int:
        """How many there were."""
        import numpy as np

        left = [t for t in _weights(model) if t.dtype == "float32" and t.quantization is None]
        found = {(t.subgraph.index, t.index): t for t in left}
        changed = 0
        for tensor in found.values():
            graph, values = tensor.subgraph, tensor.data()
            if not np.abs(values).max() <= np.finfo(np.float16).max:
                continue
            half = graph.add_tensor(
                f"{tensor.name}/half", tensor.shape, "float16", values.astype("f2")
            )
            forget(tensor)
            place = graph.consumers(tensor)[0].place
            graph.insert_operator(place, "DEQUANTIZE", [half], [tensor], version=3)
            changed += 1
        return changed


def _weights(model: Model) -> Iterator[Tensor]:
    """The constants that layers multiply with, where they are stored."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            place = _WEIGHTS_AT.get(operator.name)
            tensor = (
                None if place is None or place >= len(operator.inputs) else _at(operator, place)
            )
            if tensor is not None and tensor.is_constant:
                yield tensor


def _at(operator: Operator, place: int) -> Tensor | None:
    tensor = operator.inputs[place]
    maker = None if tensor is None else operator.subgraph.producer(tensor)
    return maker.inputs[0] if maker is not None and maker.name == "DEQUANTIZE" else tensor


def _is_promised(tensor: Tensor, scheme: Scheme) -> bool:
    if scheme == "fp16":
        return tensor.dtype == "float16"
    integers = ("int8", "int4", "int2") if "int4" in scheme else ("int8",)
    return tensor.dtype in integers or (scheme in CALIBRATED_SCHEMES and tensor.dtype == "int16")
