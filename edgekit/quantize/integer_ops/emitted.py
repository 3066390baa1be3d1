"""The quantized file: float operators that it still has, replaced by the runtime's int8 kernels.

litert-quantizer writes ``DEQUANTIZE → OP → QUANTIZE`` around an operator that it does not know.
Here each such operator is first made an integer one between a QUANTIZE and a DEQUANTIZE of its own.
Then every DEQUANTIZE that a QUANTIZE follows is removed together with it (or becomes one QUANTIZE
from integer to integer where the scales differ), and with it what nobody reads any more. So chains,
several readers, and inputs and outputs of the graph need no rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgekit.quantize.integer_ops.faster import use_faster
from edgekit.quantize.integer_ops.graphs import (
    add_like,
    fuse,
    grid_of,
    merge_twins,
    stored_as,
    sweep,
)
from edgekit.quantize.integer_ops.kernels import (
    KERNELS,
    WITHOUT_KERNEL,
    Grid,
    grid_of_range,
    range_of_grid,
    symmetric,
    version_of,
)
from edgekit.quantize.integer_ops.rewrites import Rewrite, holds
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass
from edgekit.tflite.summary import computes_in_float
from edgekit.types import Ranges


@dataclass(frozen=True, kw_only=True)
class Left:
    """An operator that computes in float, named by its first output, and why."""

    op: str
    output: str
    reason: str


@dataclass(kw_only=True)
class IntegerResult:
    """What was made integer, and what was not."""

    changed: list[Rewrite] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


@dataclass
class MakeInteger(GraphPass):
    """Replace, within what litert-quantizer wrote, float operators by int8 kernels.

    Attributes:
        ranges: of every float tensor by its name in the float model.
        excepted: whether the operator with this first output shall stay in float.
        reasons: why it shall, where that is not a wish of the user's.
        result: what was replaced, and every operator that still computes in float.
    """

    ranges: Ranges
    excepted: Callable[[str], bool]
    reasons: Mapping[str, str]
    result: IntegerResult = field(default_factory=IntegerResult)

    def call(self, model: Model) -> int:
        """How many operators and outputs are others now."""
        named = _name_true_outputs(model)
        for operator in _float_operators(model):
            name, output = operator.name, name_of(operator)
            if reason := _obstacle(operator, self.ranges, self.excepted):
                reason = self.reasons.get(output, reason)
                self.result.left.append(Left(op=name, output=output, reason=reason))
                continue
            _convert(operator, self.ranges)
            self.result.changed.append(Rewrite(op=name, output=output, how="int8 kernel"))
        if self.result.changed:
            fuse(model)
            merge_twins(model)
        replaced = _measure_stored(model) + use_faster(model) + len(self.result.changed)
        if replaced:
            sweep(model)
        return named + replaced


def _measure_stored(model: Model) -> bool:
    """Let SHAPE ask the stored tensor, which has the same shape as its values; whether any does."""
    graph, changed = model.main, False
    for operator in graph.operators:
        source = operator.inputs[0] if operator.name == "SHAPE" else None
        maker = None if source is None else graph.producer(source)
        if maker is not None and maker.name in ("QUANTIZE", "DEQUANTIZE"):
            operator.read(maker.inputs)
            changed = True
    return changed


def name_of(operator: Operator) -> str:
    """What an operator goes by: its first output, or first input where it has no output."""
    tensors = [*operator.outputs, *operator.inputs]
    return next((tensor.name for tensor in tensors if tensor is not None), "")


def _float_operators(model: Model) -> list[Operator]:
    """Operators that compute in float, in order; QUANTIZE and DEQUANTIZE only lead there."""
    return [
        operator
        for operator in model.main.operators
        if operator.name not in ("QUANTIZE", "DEQUANTIZE") and computes_in_float(operator)
    ]


def _name_true_outputs(model: Model) -> int:
    """Give the graph the outputs that its signature names.

    Where an output is also read by an operator of the other kind, litert-quantizer moves the
    graph's output behind the QUANTIZE or DEQUANTIZE in between, against the recipe.
    """
    signatures = model.raw.signatureDefs or ()
    named = {entry.tensorIndex for signature in signatures for entry in signature.outputs or ()}
    graph, moved = model.main, 0
    for place, tensor in enumerate(graph.outputs):
        if not named or tensor.index in named:
            continue
        producer = graph.producer(tensor)
        if producer is not None and producer.name in ("QUANTIZE", "DEQUANTIZE"):
            source = producer.raw.inputs[0]
            if source in named:
                graph.raw.outputs[place] = source
                moved += 1
    return moved


def _obstacle(operator: Operator, ranges: Ranges, excepted: Callable[[str], bool]) -> str:
    """Why an operator cannot be made an integer one; empty where it can."""
    name, output = operator.name, name_of(operator)
    kernel = KERNELS.get(name)
    if excepted(output):
        return "kept in float for its accuracy"
    if operator.is_custom:
        return "a custom operator, of which only its own code knows what it computes"
    if kernel is None and name in WITHOUT_KERNEL:
        return "the runtime has no int8 kernel for it"
    if kernel is None:
        return "litert-quantizer does not quantize it"
    sources = [t for t in _floats(operator.inputs) if not t.is_constant]
    if name == "CAST" and not _casts_truth(operator):
        return "plain integers and real numbers meet here, which have no common scale"
    if not any(tensor is not None and not tensor.is_constant for tensor in operator.inputs):
        return "it computes from constants alone"
    tensors = [*sources, *_floats(operator.outputs)]
    # A symmetric grid is made of the range, whatever grids others have chosen.
    own = [t.name for t in operator.outputs if kernel.symmetric and t.name not in ranges]
    if unknown := own + [t.name for t in tensors if _wanted_grid(t, ranges) is None]:
        return f"the range of {unknown[0]} is not known"
    if kernel.fixed is not None:
        inner, outer = ranges.get(output), range_of_grid(kernel.fixed)
        if inner is None or not holds(outer, inner):
            return f"its int8 kernel writes values from {outer[0]:.4g} to {outer[1]:.4g} only" + (
                f", and they reach from {inner[0]:.4g} to {inner[1]:.4g}" if inner else ""
            )
    return ""


def _casts_truth(operator: Operator) -> bool:
    source, output = operator.inputs[0], operator.outputs[0]
    return source is not None and source.dtype == "bool" and output.dtype == "float32"


def _floats(tensors: list[Tensor | None] | list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None and tensor.dtype == "float32"]


def _wanted_grid(tensor: Tensor, ranges: Ranges) -> Grid | None:
    """Scale and zero point for a float tensor: as stored, as its readers quantize it, by range."""
    stored = stored_as(tensor)
    if stored is not None and (grid := grid_of(stored)):
        return grid
    for reader in tensor.subgraph.consumers(tensor):
        if reader.name == "QUANTIZE" and (grid := grid_of(reader.outputs[0])):
            return grid
    return grid_of_range(*ranges[tensor.name]) if tensor.name in ranges else None


def _convert(operator: Operator, ranges: Ranges) -> None:
    """QUANTIZE the inputs, compute in int8, DEQUANTIZE the outputs."""
    kernel = KERNELS[operator.name]
    inputs, outputs = _floats(operator.inputs), _floats(operator.outputs)
    sources = [tensor for tensor in inputs if not tensor.is_constant]
    common: Grid | None = None
    if kernel.symmetric:
        common = grid_of_range(*symmetric(*ranges[outputs[0].name]))
    elif kernel.scales == "same":
        # Comparing in the output's scale loses nothing: what it clips, the output would clip too.
        alone = sources if len(inputs) == 1 else []
        common = _wanted_grid((alone or outputs)[0], ranges)
    replaced = {}
    for tensor in inputs:
        grid = common or (None if tensor.is_constant else _wanted_grid(tensor, ranges))
        replaced[tensor.index] = _int8_source(tensor, grid, operator)
    for tensor in outputs:
        grid = kernel.fixed or common or _wanted_grid(tensor, ranges)
        replaced[tensor.index] = _int8_result(tensor, grid, operator)
    raw = operator.raw
    version = version_of(operator)
    operator.renumber(replaced)
    if operator.name == "CAST":
        operator.options.outDataType = outputs[0].subgraph.tensor(raw.outputs[0]).raw.type
    raw.opcodeIndex = operator.subgraph.model.operator_code(operator.name, version)


def _int8_source(tensor: Tensor, grid: Grid | None, reader: Operator) -> int:
    """The number of an int8 tensor with the values of a float one."""
    import numpy as np

    graph = tensor.subgraph
    if not tensor.is_constant:
        assert grid is not None
        added = _like(tensor, f"{tensor.name}_int8", grid)
        graph.insert_operator(reader.place, "QUANTIZE", [tensor], [added])
        return added.index
    values = tensor.data()
    grid = grid or grid_of_range(float(values.min()), float(values.max()))
    added = _like(tensor, f"{tensor.name}_int8", grid)
    stored = np.clip(np.rint(values / grid[0]) + grid[1], -128, 127)
    added.set_data(stored.astype(np.int8))
    return added.index


def _int8_result(tensor: Tensor, grid: Grid | None, maker: Operator) -> int:
    """The number of a new int8 tensor, from which the float one is dequantized."""
    assert grid is not None
    graph = tensor.subgraph
    added = _like(tensor, tensor.name, grid)
    tensor.raw.name = f"{tensor.name}_dequant"  # as litert-quantizer calls them
    place = maker.place + 1
    graph.insert_operator(place, "DEQUANTIZE", [added], [tensor], version=2)
    return added.index


def _like(tensor: Tensor, name: str, grid: Grid) -> Tensor:
    added = add_like(tensor.subgraph, name, tensor.shape, grid)
    added.raw.shapeSignature = tensor.raw.shapeSignature
    return added
