"""The runtime's int8 kernels of operators that litert-quantizer does not know.

Each entry was tried with the interpreter of ai-edge-litert 2.3, with and without XNNPACK; the test
of this package does so again. Versions are those from which on TFLite accepts int8, so that an
older runtime refuses the file instead of misreading it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgekit.tflite.graph import Operator

Grid: TypeAlias = tuple[float, int]
"""The scale and zero point of an int8 tensor: ``real = scale · (stored - zero_point)``."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What an int8 kernel asks for.

    Attributes:
        version: of the operator, for tensors of up to four dimensions.
        scales: ``own``: every tensor has its own scale. ``same``: the kernel copies or compares
            stored values, so outputs have the inputs' scale.
        fixed: the only scale and zero point that the kernel writes.
        symmetric: the kernel fills with stored zeros, so the zero point has to be 0.
    """

    version: int = 1
    scales: Literal["own", "same"] = "own"
    fixed: Grid | None = None
    symmetric: bool = False


_COMPARED = Kernel(version=2)
_MOVED = Kernel(version=2, scales="same")

KERNELS: dict[str, Kernel] = {
    "ABS": Kernel(version=2),
    "ELU": Kernel(),
    "EXP": Kernel(version=2),
    "LEAKY_RELU": Kernel(),
    "LOG": Kernel(version=2),
    "PRELU": Kernel(),
    "REDUCE_PROD": Kernel(version=2),
    "RELU6": Kernel(version=2),
    "RELU_0_TO_1": Kernel(),
    "RELU_N1_TO_1": Kernel(),
    "L2_NORMALIZATION": Kernel(version=2, fixed=(1 / 128, 0)),
    "LOG_SOFTMAX": Kernel(version=2, fixed=(16 / 256, 127)),
    "ARG_MAX": _COMPARED,
    "ARG_MIN": _COMPARED,
    "GREATER": _COMPARED,
    "GREATER_EQUAL": _COMPARED,
    "LESS": _COMPARED,
    "LESS_EQUAL": _COMPARED,
    "BATCH_TO_SPACE_ND": _MOVED,
    "DEPTH_TO_SPACE": _MOVED,
    "EXPAND_DIMS": Kernel(scales="same"),
    "MINIMUM": _MOVED,
    "REDUCE_MAX": _MOVED,
    "CAST": Kernel(fixed=(1.0, 0)),
    "FILL": Kernel(version=3, scales="same"),
    "SCATTER_ND": Kernel(scales="same", symmetric=True),
    "REVERSE_V2": Kernel(version=3, scales="same"),
    "SPACE_TO_BATCH_ND": _MOVED,
    "SPLIT_V": _MOVED,
    "SQUEEZE": Kernel(scales="same"),
    "TILE": Kernel(version=3, scales="same"),
    "TOPK_V2": _MOVED,
}

WITHOUT_KERNEL = frozenset(
    {"ADD_N", "ATAN2", "CEIL", "COS", "CUMSUM", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "L2_POOL_2D"}
    | {"LOCAL_RESPONSE_NORMALIZATION", "NEG", "POW", "ROUND", "SIGN", "SIN", "SQUARE", "ZEROS_LIKE"}
)
"""Operators that the runtime refuses, or silently gets wrong, with quantized int8 tensors."""


def version_of(operator: Operator) -> int:
    """The version that the int8 kernel of an operator has for the tensors' number of axes."""
    version = KERNELS[operator.name].version
    shapes = [tensor.shape for tensor in operator.inputs if tensor is not None]
    match operator.name:
        case "MINIMUM" if len(set(shapes)) > 1 and max(map(len, shapes)) > 4:
            return 3
        case "BATCH_TO_SPACE_ND" | "SPACE_TO_BATCH_ND" if len(shapes[0]) != 4:
            return 3
        case _:
            return version


def grid_of_range(low: float, high: float) -> Grid:
    """The 256 steps of a range, which is widened to hold zero as litert-quantizer does."""
    import numpy as np

    low, high = min(low, 0.0), max(high, 0.0)
    # A tensor that never was away from zero may have any scale; a tiny one only does harm.
    scale = float(np.float32(high - low) / 255) if high - low > 1e-6 else 1 / 255
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def symmetric(low: float, high: float) -> tuple[float, float]:
    """The range around a range whose zero is stored as 0."""
    most = max(-low, high)
    return -most * 128 / 127, most


def range_of_grid(grid: Grid) -> tuple[float, float]:
    """The lowest and highest value that a grid holds."""
    scale, zero = grid
    return (-128 - zero) * scale, (127 - zero) * scale
