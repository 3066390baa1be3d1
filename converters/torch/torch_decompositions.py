"""ATen operators that exporters or back ends have no form of, written with those that they have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

_aten = torch.ops.aten


def decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with the operators of the table below written out; itself where it has none."""
    used = {
        node.target
        for node in program.graph_module.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    }
    return program.run_decompositions(_TABLE) if used & _TRIGGERS else program


def _index_put(
    value: torch.Tensor,
    indices: list[torch.Tensor | None],
    new: torch.Tensor,
    accumulate: bool = False,  # noqa: FBT001, FBT002  ATen's own signature
) -> Any:
    """``y[mask] = number``: nothing is gathered and nothing has a size that depends on data."""
    masks = [index for index in indices if index is not None]
    if accumulate or new.numel() != 1 or len(masks) != 1 or masks[0].dtype != torch.bool:
        return NotImplemented
    mask = masks[0]
    behind = value.ndim - len(indices) - mask.ndim + 1
    mask = mask.reshape(*mask.shape, *[1] * behind)
    return torch.where(mask, new.reshape(()).to(value.dtype), value)


def _adaptive_average(value: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Along each axis a product with the constant matrix of the windows' means."""
    first = value.ndim - len(sizes)
    for axis, count in enumerate(sizes, first):
        matrix = torch.zeros(value.shape[axis], count, dtype=value.dtype)
        for place, (start, end) in enumerate(_windows(value.shape[axis], count)):
            matrix[start:end, place] = 1 / (end - start)
        value = torch.movedim(torch.movedim(value, axis, -1) @ matrix, -1, axis)
    return value


def _adaptive_maximum(value: torch.Tensor, sizes: list[int]) -> Any:
    """Along each axis the windows' maxima, put together; their places are not computed."""
    first = value.ndim - len(sizes)
    for axis, count in enumerate(sizes, first):
        windows = _windows(value.shape[axis], count)
        parts = [value.narrow(axis, s, e - s).amax(axis, keepdim=True) for s, e in windows]
        value = torch.cat(parts, axis)
    return value, torch.zeros_like(value, dtype=torch.int64)


def _windows(size: int, count: int) -> list[tuple[int, int]]:
    """Where PyTorch's adaptive pooling begins and ends each window."""
    return [(i * size // count, math.ceil((i + 1) * size / count)) for i in range(count)]


_TABLE: dict[Any, Callable[..., Any]] = {
    _aten.index_put.default: _index_put,
    _aten._adaptive_avg_pool3d.default: _adaptive_average,
    _aten.adaptive_max_pool2d.default: _adaptive_maximum,
    _aten.adaptive_max_pool3d.default: _adaptive_maximum,
}
_TRIGGERS = {*_TABLE, _aten.index_put_.default, _aten.adaptive_avg_pool3d.default}
"""Before decomposition a graph may hold the in-place or the composite form."""
