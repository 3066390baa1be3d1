"""Which integers, and of what step, each scheme stores a layer's weights as.

litert-quantizer reads the step of each channel (or block) off its largest weight and rounds to the
nearest multiple. So a float model whose weights are multiples of a step, with the largest of each
channel at the grid's end, keeps them bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.quantize.layers import Layer
from edgekit.types import INT4_SCHEMES, Scheme

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

DYNAMIC_INT4_OPERATORS = ("CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP")
"""What the runtime computes with 4-bit weights and activations quantized at run time."""
WEIGHT_ONLY_INT4_OPERATORS = (*DYNAMIC_INT4_OPERATORS, "BATCH_MATMUL")
"""What may read 4-bit weights that DEQUANTIZE unpacks."""
BLOCK = 32
"""The length of a block in ``dynamic-int4-block32``."""
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
"""How far a 4-bit grid reaches, in parts of the largest weight."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The integers from -limit to limit, one step per row, or per ``block`` columns of a row.

    4 bits reach to -8, which is not used: the largest magnitude must say what the step is.
    """

    limit: int = 127
    block: int | None = None


INT8 = Grid()


def grid_of(layer: Layer, scheme: Scheme) -> Grid:
    """The grid of a layer's weights in a file of a scheme."""
    if scheme not in INT4_SCHEMES or layer.kind not in DYNAMIC_INT4_OPERATORS:
        return INT8
    width = layer.weights.shape[-1]
    # One block alone is a channel, for which more runtimes have a kernel.
    whole_blocks = layer.kind == "FULLY_CONNECTED" and width % BLOCK == 0 and width > BLOCK
    if scheme == "dynamic-int4-block32" and whole_blocks:
        return Grid(limit=7, block=BLOCK)
    return Grid(limit=7)


def steps(layer: Layer, grid: Grid, energy: Array | None = None) -> Array:
    """The grid's step for each row of the layer's matrix, or for each of its elements.

    With 8 bits it is the largest magnitude of a channel over 127. With 4 bits steps are coarse, and
    it may cost less to clip the largest weights than to round all others: of several steps, each
    row or block takes the one with the least squared error.

    Args:
        layer: which.
        grid: its grid.
        energy: of each column's input, (K,), by which its squared error counts.

    Returns:
        (rows,), or (rows, K) for a grid of blocks.
    """
    import numpy as np

    if grid.limit == INT8.limit:
        return layer.scales()
    weights = layer.matrix()
    rows, columns = weights.shape
    block = grid.block or columns
    cells = weights.reshape(rows, -1, block)
    weight = np.ones(columns) if energy is None else energy
    weight = weight.reshape(1, -1, block).astype(np.float32)
    largest = np.abs(cells).max(axis=2, keepdims=True).astype(np.float64)
    chosen = np.ones_like(largest)
    least = np.full_like(largest, np.inf)
    for share in _SHARES:
        step = _as_stored(largest * share / grid.limit, grid)
        index = np.clip(np.rint(cells / step), -grid.limit, grid.limit)
        error = (np.square(index * step - cells) * weight).sum(axis=2, keepdims=True)
        chosen = np.where(error < least, step, chosen)
        least = np.minimum(error, least)
    if grid.block is None:
        return np.asarray(chosen.reshape(rows))
    return np.asarray(np.repeat(chosen.reshape(rows, -1), block, axis=1))


def _as_stored(step: Array, grid: Grid) -> Array:
    """Steps as the file keeps them: those of blocks have 8 significant bits (bfloat16's).

    A channel of zeros has the step 1, so that nothing is divided by zero.
    """
    import ml_dtypes
    import numpy as np

    if grid.block is not None:
        step = step.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float16)
    step = step.astype(np.float64)
    return np.where(step > 0, step, 1.0)
