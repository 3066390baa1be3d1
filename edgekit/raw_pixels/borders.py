"""Padding of raw pixels with what normalised zero was: a value of its own for each channel.

PADV2 has one value for all channels, so each border is a constant that a CONCATENATION puts beside
the picture. That is exact for any mean, moves the same bytes as a PAD, and XNNPACK computes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Operator, Subgraph, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

SAME = 0
"""``Padding.SAME`` of the schema; 1 is VALID."""
VALID = 1


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Rows and columns beside a picture (1, height, width, channels)."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return any((self.top, self.bottom, self.left, self.right))

    def __add__(self, other: Padding) -> Padding:
        return Padding(
            top=self.top + other.top,
            bottom=self.bottom + other.bottom,
            left=self.left + other.left,
            right=self.right + other.right,
        )


def of_pad(operator: Operator) -> Padding | None:
    """What a PAD adds; ``None`` where it does not pad a picture by constant amounts."""
    picture, amounts = operator.inputs[:2]
    if picture is None or amounts is None or not amounts.is_constant or len(picture.shape) != 4:
        return None
    (first, last), (top, bottom), (left, right), (low, high) = amounts.data().tolist()
    if first or last or low or high:
        return None
    return Padding(top=top, bottom=bottom, left=left, right=right)


def of_convolution(operator: Operator, size: tuple[int, int], kernel: tuple[int, int]) -> Padding:
    """What a convolution with SAME padding adds to a picture of this (height, width)."""
    options = operator.options
    if options.padding != SAME:
        return Padding()
    top, bottom = _same(size[0], kernel[0], options.strideH, options.dilationHFactor)
    left, right = _same(size[1], kernel[1], options.strideW, options.dilationWFactor)
    return Padding(top=top, bottom=bottom, left=left, right=right)


def add_border(
    graph: Subgraph, before: Operator, picture: Tensor, pixel: Sequence[float], padding: Padding
) -> Tensor:
    """Insert the operators that pad ``picture`` with ``pixel`` in front of ``before``.

    Returns:
        The padded picture.
    """
    place = before.index
    padded = picture
    sides = ((2, padding.left, padding.right), (1, padding.top, padding.bottom))
    for axis, low, high in sides:
        if low or high:
            padded = _beside(graph, place, padded, pixel, axis, low, high)
            place += 1
    return padded


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    steps = -(-size // stride) - 1
    total = max(steps * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _beside(
    graph: Subgraph,
    place: int,
    picture: Tensor,
    pixel: Sequence[float],
    axis: int,
    low: int,
    high: int,
) -> Tensor:
    from ai_edge_litert.schema_py_generated import ConcatenationOptionsT

    side = {1: "rows", 2: "columns"}[axis]
    parts = [picture]
    if low:
        parts.insert(
            0, _constant(graph, f"{picture.name}/{side}_before", picture, pixel, axis, low)
        )
    if high:
        parts.append(_constant(graph, f"{picture.name}/{side}_after", picture, pixel, axis, high))
    shape = list(picture.shape)
    shape[axis] += low + high
    padded = graph.add_tensor(f"{picture.name}/{side}", shape, "float32")
    options = ConcatenationOptionsT()
    options.axis = axis
    graph.insert_operator(place, "CONCATENATION", parts, [padded], options=options)
    return padded


def _constant(
    graph: Subgraph, name: str, picture: Tensor, pixel: Sequence[float], axis: int, size: int
) -> Tensor:
    import numpy as np

    shape = list(picture.shape)
    shape[axis] = size
    values: Any = np.empty(shape, np.float32)
    values[:] = pixel
    return graph.add_tensor(name, shape, "float32", values)
