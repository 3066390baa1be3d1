"""Constants as the real numbers that they stand for, and how far two of them are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.diff.findings import WeightChange
from edgekit.diff.layers import LayerPair, stored
from edgekit.errors import ModelError
from edgekit.tflite.dtypes import FLOAT_TYPES
from edgekit.tflite.graph import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def is_plain(tensor: Tensor) -> bool:
    """Whether a constant is not a weight but a shape, axes, paddings: integers without a scale."""
    return tensor.dtype not in FLOAT_TYPES and not _is_quantized(tensor)


def bit_equal(before: Tensor, after: Tensor) -> bool:
    """Whether two constants are stored the same: type, shape, scales and bytes."""
    return (
        before.dtype == after.dtype
        and before.shape == after.shape
        and before.quantization == after.quantization
        and stored(before) == stored(after)
    )


def real_values(tensor: Tensor) -> Array | None:
    """A constant's numbers in float64, ``scale · (stored − zero point)`` where it is quantized.

    ``None`` where it has none to compare: strings, sparse ones, scales by blocks.
    """
    import numpy as np

    quantization = tensor.quantization
    if quantization is None and _is_quantized(tensor):
        return None
    try:
        numbers: Array = tensor.data().astype(np.float64)
    except (ModelError, ValueError):
        return None
    if quantization is None:
        return numbers
    shape = [1] * numbers.ndim
    if quantization.axis is not None:
        shape[quantization.axis] = len(quantization.scales)
    scales = np.asarray(quantization.scales, np.float64)
    zeros = np.broadcast_to(np.asarray(quantization.zero_points, np.float64), scales.shape)
    try:
        whole: Array = (numbers - zeros.reshape(shape)) * scales.reshape(shape)
    except ValueError:  # not as many scales as the axis has entries
        return None
    return whole if whole.shape == numbers.shape else None


def compare_constants(layer: LayerPair, before: Tensor, after: Tensor) -> WeightChange:
    """What changed in a constant that is not bit-equal; ``layer`` reads it in the later file."""
    import numpy as np

    change = WeightChange(
        layer=layer.name,
        operator=layer.kind,
        tensor=after.name,
        dtype=_arrow(before.dtype, after.dtype),
        shape=_arrow(shape_text(before.shape), shape_text(after.shape)),
        parameters=int(np.prod(after.shape, dtype=np.int64)),
    )
    old, new = real_values(before), real_values(after)
    if old is None or new is None or old.shape != new.shape:
        return change
    difference = new - old
    norm = float(np.linalg.norm(old))
    moved = float(np.linalg.norm(difference))
    return WeightChange(
        **{
            **vars(change),
            "share": float(np.mean(difference != 0)) if difference.size else 0.0,
            "relative_l2": moved / norm if norm else (0.0 if not moved else float("inf")),
            "max_abs": float(np.abs(difference).max(initial=0.0)),
        }
    )


def shape_text(shape: tuple[int | None, ...]) -> str:
    """``1×224×224×3``; ``?`` for an open dimension."""
    return "×".join("?" if size is None else str(size) for size in shape) or "scalar"


def plain_text(tensor: Tensor) -> str:
    """The numbers of a small constant in words that fit a line."""
    try:
        text = " ".join(map(str, tensor.data().ravel()[:9].tolist()))
    except (ModelError, ValueError):
        return f"{tensor.dtype}, {tensor.nbytes} bytes"
    return text if tensor.data().size <= 8 else f"{shape_text(tensor.shape)} numbers"


def _is_quantized(tensor: Tensor) -> bool:
    raw = tensor.raw.quantization
    return tensor.quantization is not None or (raw is not None and raw.details is not None)


def _arrow(before: str, after: str) -> str:
    return after if before == after else f"{before} → {after}"
