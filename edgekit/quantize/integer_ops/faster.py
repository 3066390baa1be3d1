"""int8 → int8: kernels that the runtime has only in plain C, replaced by ones that XNNPACK runs.

On a tensor of 200,000 values, RELU6, ABS and PRELU take five to eight times as long in int8 as in
float with the conversions around them. What replaces them takes about as long as that.
"""

from __future__ import annotations

from math import inf

from edgekit.quantize.integer_ops.graphs import add_like, grid_of, same_grid
from edgekit.quantize.integer_ops.kernels import Grid, grid_of_range, range_of_grid
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model

_CLAMPS = {
    "RELU": (0.0, inf),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
_SLOW = frozenset({*_CLAMPS, "ABS", "PRELU"})


def use_faster(model: Model) -> int:
    """Replace, within a quantized ``model``, slow int8 kernels; how many there were."""
    return sum(_replaced(operator) for operator in model.main.operators)


def _replaced(operator: Operator) -> bool:
    if operator.name not in _SLOW:
        return False
    tensors = [operator.inputs[0], *operator.outputs] if operator.inputs else []
    if any(t is None or t.dtype != "int8" or grid_of(t) is None for t in tensors):
        return False
    if operator.name in _CLAMPS:
        return _clamp(operator)
    if operator.name == "ABS":
        return _maximum(operator, None)
    if operator.name == "PRELU":
        slope = operator.inputs[1]
        return slope is not None and slope.is_constant and _maximum(operator, slope)
    return False


def _clamp(operator: Operator) -> bool:
    """A clamp whose output holds no value outside it: quantizing to that output clamps already."""
    low, high = _CLAMPS[operator.name]
    scale, _ = grid = _grid(operator.outputs[0])
    first, last = range_of_grid(grid)
    if first < low - 0.51 * scale or last > high + 0.51 * scale:
        return False
    operator.raw.opcodeIndex = operator.subgraph.model.operator_code("QUANTIZE")
    operator.raw.builtinOptions, operator.raw.builtinOptionsType = None, 0
    return True


def _maximum(operator: Operator, slope: Tensor | None) -> bool:
    """PRELU with slopes up to 1, or ABS with the slope -1, is the larger of x and slope · x.

    Both are brought to the output's scale first. What that clips at the lower end is smaller than
    the output can be, and so never the larger one.
    """
    import numpy as np
    from ai_edge_litert.schema_py_generated import MaximumMinimumOptionsT, MulOptionsT

    graph, (output,), source = operator.subgraph, operator.outputs, operator.inputs[0]
    assert source is not None
    if slope is None:
        slope = add_like(graph, f"{output.name}/slope", (1,), grid_of_range(-1, 0))
        slope.set_data(np.array([-128], np.int8))
    scale, zero = _grid(slope)
    if ((slope.data().astype(np.float64) - zero) * scale).max() > 1 + scale:
        return False
    grid = _grid(output)
    place = operator.place
    scaled = add_like(graph, f"{output.name}/scaled", output.shape, grid)
    # Before version 3 the product's step had to be finer than the output's.
    version = 3 if _grid(source)[0] * scale >= grid[0] else 2
    options = MulOptionsT()
    graph.insert_operator(place, "MUL", [source, slope], [scaled], options=options, version=version)
    if not same_grid(source, output):
        moved = add_like(graph, f"{output.name}/moved", source.shape, grid)
        graph.insert_operator(place, "QUANTIZE", [source], [moved])
        source = moved
    place = operator.place
    options = MaximumMinimumOptionsT()
    graph.insert_operator(place, "MAXIMUM", [source, scaled], [output], options=options, version=2)
    graph.remove([operator])
    return True


def _grid(tensor: Tensor) -> Grid:
    grid = grid_of(tensor)
    assert grid is not None
    return grid
