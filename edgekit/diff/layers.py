"""A graph as a list of layers.

An operator that only turns a stored constant into another type (DEQUANTIZE of fp16 weights) is no
layer: its constant belongs to the operator that reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgekit.tflite.graph import Operator, Subgraph, Tensor

_FEWEST_TELLING_BYTES = 16
"""Smaller constants (shapes, axes) say nothing about which layer it is."""


@dataclass(frozen=True)
class LayerPair:
    """One operator with its inputs: constants, or what is computed before it."""

    operator: Operator
    inputs: tuple[Tensor | None, ...]

    @property
    def index(self) -> int:
        """Its place in the order of execution."""
        return self.operator.index

    @property
    def kind(self) -> str:
        """``CONV_2D`` …"""
        return self.operator.name

    @property
    def name(self) -> str:
        """The first output's name, empty where there is none."""
        return next((tensor.name for tensor in self.operator.outputs), "")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The outputs' names."""
        return tuple(tensor.name for tensor in self.operator.outputs)

    @cached_property
    def shapes(self) -> tuple[Any, ...]:
        """The shapes of the outputs and of the constants."""
        outputs = tuple(tensor.shape for tensor in self.operator.outputs)
        return outputs, tuple((place, tensor.shape) for place, tensor in self.constants())

    @cached_property
    def content(self) -> str:
        """A digest of the constants, empty where they are too small to tell a layer by."""
        digest, size = hashlib.sha256(), 0
        for place, tensor in self.constants():
            digest.update(f"{place} {tensor.dtype} {tensor.shape} ".encode())
            digest.update(stored(tensor))
            size += tensor.nbytes
        return digest.hexdigest() if size >= _FEWEST_TELLING_BYTES else ""

    def constants(self) -> Iterator[tuple[int, Tensor]]:
        """The constant inputs by their place."""
        for place, tensor in enumerate(self.inputs):
            if tensor is not None and tensor.is_constant:
                yield place, tensor


def layers_of(graph: Subgraph) -> list[LayerPair]:
    """The layers in the order of execution."""
    behind = {
        operator.outputs[0].index: source
        for operator in graph.operators
        if (source := _stored_source(operator)) is not None
    }
    return [
        LayerPair(
            operator,
            tuple(
                None if tensor is None else behind.get(tensor.index, tensor)
                for tensor in operator.inputs
            ),
        )
        for operator in graph.operators
        if _stored_source(operator) is None
    ]


def stored(tensor: Tensor) -> bytes:
    """A constant's bytes as the file has them."""
    return bytes(tensor.subgraph.model.raw.buffers[tensor.buffer].data)


def _stored_source(operator: Operator) -> Tensor | None:
    """The constant that a DEQUANTIZE only unpacks."""
    if operator.name not in ("DEQUANTIZE", "DENSIFY") or len(operator.outputs) != 1:
        return None
    source = operator.inputs[0] if operator.inputs else None
    return source if source is not None and source.is_constant else None
