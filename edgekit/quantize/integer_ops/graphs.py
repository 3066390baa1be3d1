"""Surgery on the quantized graph: scales, and QUANTIZE and DEQUANTIZE that cancel out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from edgekit.quantize.integer_ops.kernels import Grid
from edgekit.tflite.graph import Operator, Subgraph, Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass
from edgekit.tflite.surgery import drop_unread, drop_unused_tensors, exchange_outputs

_STORED = ("int8", "uint8", "int16")
"""Types that QUANTIZE reads and writes besides floats."""


def activation_of(operator: Operator) -> int:
    """The activation that an operator has of its own, by its number in the schema; 0 is none."""
    return getattr(operator.options, "fusedActivationFunction", None) or 0


def stored_as(tensor: Tensor) -> Tensor | None:
    """The integer tensor that a float one was dequantized from."""
    producer = tensor.subgraph.producer(tensor)
    if producer is None or producer.name != "DEQUANTIZE":
        return None
    source = producer.inputs[0]
    return source if source is not None and source.dtype in _STORED else None


def grid_of(tensor: Tensor) -> Grid | None:
    """The scale of a stored tensor as it is, or would be, in int8."""
    if tensor.quantization is None:
        return None
    zero = tensor.quantization.zero_points[0]
    if tensor.dtype == "uint8":
        zero -= 128
    return (tensor.quantization.scales[0], zero) if tensor.dtype in ("int8", "uint8") else None


def add_like(graph: Subgraph, name: str, shape: Sequence[int], grid: Grid) -> Tensor:
    """A new int8 tensor."""
    from ai_edge_litert.schema_py_generated import QuantizationParametersT

    added = graph.add_tensor(name, shape, "int8")
    added.raw.quantization = QuantizationParametersT(scale=[grid[0]], zeroPoint=[grid[1]])
    return added


def fuse(model: Model) -> None:
    """Remove each DEQUANTIZE → QUANTIZE, or make it one QUANTIZE where the scales differ."""
    graph = model.main
    for operator in graph.operators:
        if operator.name != "QUANTIZE":
            continue
        (read,), (made,) = operator.inputs, operator.outputs
        stored = stored_as(read) if read is not None else None
        if stored is None:
            continue
        operator.read([stored])
        ends = {*graph.raw.inputs, *graph.raw.outputs}
        if not same_grid(stored, made) or ends >= {stored.index, made.index}:
            continue
        graph.remove([operator])
        if made.index in ends:
            made.raw.name, made.raw.quantization = stored.raw.name, stored.raw.quantization
            graph.redirect(stored, made)
        else:
            graph.redirect(made, stored)


def merge_twins(model: Model) -> None:
    """Where a tensor is quantized twice to the same scale, do it once."""
    graph, first = model.main, defaultdict[int, list[Tensor]](list)
    for operator in graph.operators:
        if operator.name != "QUANTIZE":
            continue
        made, known = operator.outputs[0], first[operator.raw.inputs[0]]
        twin = next((tensor for tensor in known if same_grid(tensor, made)), None)
        if twin is None or made.index in graph.raw.outputs:
            known.append(made)
        else:
            graph.remove([operator])
            graph.redirect(made, twin)


def same_grid(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors store the same values in the same way, but for rounding of the scale."""
    grids = grid_of(one), grid_of(other)
    if one.dtype != other.dtype or grids[0] is None or grids[1] is None:
        return False
    return grids[0][1] == grids[1][1] and abs(grids[0][0] / grids[1][0] - 1) < 1e-5


def make_outputs_stored(model: Model) -> bool:
    """Let outputs be the integers that they are dequantized from; whether there were any.

    Where an integer operator reads an output too, litert-quantizer puts a DEQUANTIZE behind it,
    whatever the outputs were to be.
    """
    found = False
    for tensor in model.main.outputs:
        stored = stored_as(tensor)
        if stored is not None and stored.dtype in ("int8", "uint8"):
            exchange_outputs(model, tensor, stored)
            found = True
    return found


def make_outputs_float(model: Model) -> bool:
    """Let a DEQUANTIZE make floats of outputs that are still integers; whether there were any."""
    graph, found = model.main, False
    for tensor in {tensor.index: tensor for tensor in graph.outputs}.values():
        if tensor.quantization is None or tensor.dtype not in _STORED:
            continue
        made = graph.add_tensor(f"{tensor.name}_dequant", tensor.shape, "float32")
        made.raw.shapeSignature = tensor.raw.shapeSignature
        graph.insert_operator(len(graph.raw.operators), "DEQUANTIZE", [tensor], [made], version=2)
        exchange_outputs(model, tensor, made)
        found = True
    return found


def make_outputs_unsigned(model: Model) -> bool:
    """Let a QUANTIZE make uint8 of outputs that are still int8; whether there were any.

    litert-quantizer leaves an output of an operator that it does not know so, where an int8
    operator reads it too.
    """
    from ai_edge_litert.schema_py_generated import QuantizationParametersT

    graph, found = model.main, False
    for tensor in {tensor.index: tensor for tensor in graph.outputs}.values():
        grid = grid_of(tensor)
        if grid is None or tensor.dtype != "int8":
            continue
        made = graph.add_tensor(f"{tensor.name}_unsigned", tensor.shape, "uint8")
        made.raw.shapeSignature = tensor.raw.shapeSignature
        made.raw.quantization = QuantizationParametersT(scale=[grid[0]], zeroPoint=[grid[1] + 128])
        graph.insert_operator(len(graph.raw.operators), "QUANTIZE", [tensor], [made], version=2)
        exchange_outputs(model, tensor, made)
        found = True
    return found


class TypeUnreadParts(GraphPass):
    """Give parts that nobody reads the type and scale of what they are parts of.

    litert-quantizer quantizes tensors for their readers. Without one a part stays in float, and the
    runtime refuses the whole file.
    """

    def call(self, model: Model) -> int:
        """How many there were."""
        graph, changed = model.main, 0
        for operator in graph.operators:
            if operator.name not in ("SPLIT", "SPLIT_V", "UNPACK"):
                continue
            source = operator.inputs[1 if operator.name == "SPLIT" else 0]
            if source is None or source.quantization is None:
                continue
            for part in operator.outputs:
                if part.dtype == "float32":
                    part.raw.type, part.raw.quantization = source.raw.type, source.raw.quantization
                    changed += 1
        return changed


def sweep(model: Model) -> None:
    """Remove QUANTIZE and DEQUANTIZE whose result nobody reads, then tensors of nobody."""
    graph = model.main
    drop_unread(graph, [op for op in graph.operators if op.name in ("QUANTIZE", "DEQUANTIZE")])
    drop_unused_tensors(model)
