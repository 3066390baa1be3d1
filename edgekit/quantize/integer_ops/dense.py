"""Float → float: a product with a constant matrix becomes a FULLY_CONNECTED.

Converters write a dense layer over a sequence as BATCH_MATMUL and ADD. litert-quantizer gives the
constant one scale per output channel, but the runtime's 8-bit and 16-bit BATCH_MATMUL kernels look
for one scale of the whole tensor, find 0, and write nothing but zeros. FULLY_CONNECTED reads the
scales of the channels, is faster, has 4-bit weights, and is a layer whose weights can be rounded
with care.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.graphs import activation_of
from edgekit.tflite.graph import Operator, Subgraph, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_WITH_ALL_AXES = 5
"""The version of FULLY_CONNECTED from which on its result may keep all axes of its input."""


def to_fully_connected(operator: Operator) -> str:
    """``x · W``, and ``+ b`` where nothing else reads the product, by one FULLY_CONNECTED.

    Args:
        operator: a BATCH_MATMUL. ``x`` is (…, n, in), or (…, in, n) with ``adjX``; ``W`` is a
            constant (in, out), or (out, in) with ``adjY``, perhaps with leading axes of 1.

    Returns:
        What it was replaced by; empty where it was left alone.
    """
    import numpy as np

    graph, (source, matrix), product = operator.subgraph, operator.inputs, operator.outputs[0]
    if source is None or matrix is None or source.is_constant or not matrix.is_constant:
        return ""
    floats = source.dtype == matrix.dtype == "float32"
    if not floats or set(matrix.shape[:-2]) - {1} or len(source.shape) != len(product.shape):
        return ""
    values = matrix.data().reshape(matrix.shape[-2:])
    values = np.ascontiguousarray(values if operator.options.adjY else values.T)
    weights = _constant(graph, matrix, values, product)
    if operator.options.adjX:
        source = _swapped(operator, source)
    addition = _bias_of(graph, product, len(values))
    if addition is None:
        # Zeros, so that later passes have where to put back what rounding shifts.
        zeros = np.zeros(len(values), np.float32)
        bias = graph.add_tensor(f"{product.name}/bias", zeros.shape, "float32", zeros)
        _replace(operator, [source, weights, bias], product, 0)
    else:
        added, constant = addition
        bias = _constant(graph, constant, constant.data().reshape(-1), product)
        _replace(
            operator,
            [source, weights, bias],
            added.outputs[0],
            activation_of(added),
        )
        graph.remove([added])
    return "FULLY_CONNECTED"


def _constant(graph: Subgraph, old: Tensor, values: Array, product: Tensor) -> Tensor:
    """A constant in another shape; it keeps the name where nothing else reads the old one."""
    own = len(graph.consumers(old)) == 1
    name = old.name if own else f"{old.name}/{product.name}"
    return graph.add_tensor(name, values.shape, "float32", values.copy())


def _replace(
    operator: Operator, inputs: list[Tensor | None], result: Tensor, activation: int
) -> None:
    from ai_edge_litert.schema_py_generated import FullyConnectedOptionsT

    graph, place, axes = operator.subgraph, operator.place, len(result.shape)
    options = FullyConnectedOptionsT(fusedActivationFunction=activation, keepNumDims=axes > 2)
    version = _WITH_ALL_AXES if axes > 2 else 1
    graph.insert_operator(
        place, "FULLY_CONNECTED", inputs, [result], options=options, version=version
    )
    graph.remove([operator])


def _swapped(operator: Operator, source: Tensor) -> Tensor:
    """The input with its last two axes exchanged."""
    import numpy as np
    from ai_edge_litert.schema_py_generated import TransposeOptionsT

    graph, name = operator.subgraph, f"{operator.outputs[0].name}/transposed"
    axes = list(range(len(source.shape)))
    axes[-2:] = axes[:-3:-1]
    result = graph.add_tensor(name, [source.shape[axis] for axis in axes], "float32")
    if source.raw.shapeSignature is not None:
        result.raw.shapeSignature = [source.raw.shapeSignature[axis] for axis in axes]
    order = graph.add_tensor(f"{name}/axes", (len(axes),), "int32", np.array(axes, np.int32))
    graph.insert_operator(
        operator.place, "TRANSPOSE", [source, order], [result], options=TransposeOptionsT()
    )
    return result


def _bias_of(graph: Subgraph, product: Tensor, outputs: int) -> tuple[Operator, Tensor] | None:
    """The ADD of one constant per channel that alone reads a product, and the constant."""
    readers = graph.consumers(product)
    if len(readers) != 1 or readers[0].name != "ADD" or product.index in graph.raw.outputs:
        return None
    (added,) = readers
    constants = [t for t in added.inputs if t is not None and t.is_constant]
    if len(constants) != 1 or added.outputs[0].shape != product.shape:
        return None
    (constant,) = constants
    fits = constant.shape[-1:] == (outputs,) and constant.nbytes == 4 * outputs
    return (added, constant) if fits else None
