"""Graphs of a few operators, of any type and version, for the checks of targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tflite_builder import empty_model

from edgekit.targets.check import TargetReport, check
from edgekit.targets.reading import load
from edgekit.tflite.graph import Tensor
from edgekit.tflite.model import Model


class Chain:
    """One operator after the other on tensors of one shape, unless said otherwise."""

    def __init__(self, *shape: int, dtype: str = "float32") -> None:
        self.model = empty_model()
        self.graph = self.model.main
        self.last = self.tensor("input", shape, dtype)
        self.graph.raw.inputs = [self.last.index]
        self.graph.raw.outputs = [self.last.index]

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
        tensor = self.graph.add_tensor(name, shape, dtype)
        if dtype.startswith(("int", "uint")):
            tensor.raw.quantization = schema.QuantizationParametersT(scale=[0.1], zeroPoint=[0])
        return tensor

    def add(
        self,
        kind: str,
        *others: Tensor,
        dtype: str | None = None,
        shape: tuple[int, ...] | None = None,
        version: int = 1,
        options: object = None,
    ) -> Tensor:
        """Appends an operator that reads the last tensor and ``others``."""
        place = len(self.graph.operators)
        result = self.tensor(
            f"{kind.lower()}_{place}", shape or self.last.shape, dtype or self.last.dtype
        )
        self.graph.insert_operator(
            place, kind, [self.last, *others], [result], options=options, version=version
        )
        self.last = result
        self.graph.raw.outputs = [result.index]
        return result

    def add_custom(self, name: str) -> Tensor:
        """Appends an operator that is not built in."""
        result = self.add("CUSTOM")
        self.model.raw.operatorCodes[self.graph.operators[-1].raw.opcodeIndex].customCode = name
        return result

    def constant(self, name: str, values: np.ndarray) -> Tensor:
        return self.graph.add_tensor(name, values.shape, str(values.dtype), values)


def held_against(model: Model, target: str | Path, size_bytes: int = 1000) -> TargetReport:
    return check(model, load(str(target)), size_bytes=size_bytes)


def kinds(report: TargetReport) -> list[str]:
    """The kinds of the violations."""
    return [one.kind for one in report.violations]
