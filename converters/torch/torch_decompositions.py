"""ATen operators that exporters or back ends have no form of, written with those that they have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

_aten = torch.ops.aten


def decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with the operators of the table below written out; itself where it has none."""
    used = {node.target for node in program.graph_module.graph.nodes}
    return program.run_decompositions(_TABLE) if used & _TRIGGERS else program


def _index_put(
    value: torch.Tensor,
    indices: list[torch.Tensor | None],
    new: torch.Tensor,
    accumulate: bool = False,
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
    return _pooled(value, sizes, lambda part, axis: part.mean(axis, keepdim=True))


def _adaptive_maximum(value: torch.Tensor, sizes: list[int]) -> Any:
    """The maxima; their places, which no runtime here gives, are not computed."""
    found = _pooled(value, sizes, lambda part, axis: part.amax(axis, keepdim=True))
    return found, torch.zeros_like(found, dtype=torch.int64)


def _pooled(
    value: torch.Tensor, sizes: list[int], reduce: Callable[[torch.Tensor, int], torch.Tensor]
) -> torch.Tensor:
    """Along each axis the windows' values, put together: a window is a product of ranges."""
    first = value.ndim - len(sizes)
    for axis, count in enumerate(sizes, first):
        windows = _windows(value.shape[axis], count)
        parts = [reduce(value.narrow(axis, start, end - start), axis) for start, end in windows]
        value = torch.cat(parts, axis)
    return value


def _windows(size: int, count: int) -> list[tuple[int, int]]:
    """Where PyTorch's adaptive pooling begins and ends each window."""
    return [(i * size // count, math.ceil((i + 1) * size / count)) for i in range(count)]


_TABLE: dict[Any, Callable[..., Any]] = {
    _aten.index_put.default: _index_put,
    _aten.adaptive_avg_pool3d.default: _adaptive_average,
    _aten.adaptive_max_pool2d.default: _adaptive_maximum,
    _aten.adaptive_max_pool3d.default: _adaptive_maximum,
}
_TRIGGERS = {*_TABLE, _aten.index_put_.default}
"""Before decomposition a graph may hold the form that works in place."""
