"""Padding below everything: what converters put around a MAX_POOL_2D that the graph pads itself.

The pad value is the lowest float, or minus infinity, so that the padding never is the largest. As
an ordinary value it would take all 256 steps for itself. In integers the lowest step does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.tflite.graph import Operator
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass

if TYPE_CHECKING:
    from edgekit.types import Ranges


def maybe_padded(model: Model) -> list[Operator]:
    """The PADV2 that nothing but operators read that look for the largest value."""
    graph = model.main
    return [
        operator
        for operator in graph.operators
        if _pad_value(operator) is not None
        and (readers := graph.consumers(operator.outputs[0]))
        and all(reader.name == "MAX_POOL_2D" for reader in readers)
        and operator.outputs[0].index not in graph.raw.outputs
    ]


def padded_below(model: Model, ranges: Ranges) -> list[Operator]:
    """Those whose padding is never taken: it is below all that its input has been seen to be."""
    return [
        operator
        for operator in maybe_padded(model)
        if (value := _pad_value(operator)) is not None
        and (source := operator.inputs[0]) is not None
        and source.name in ranges
        and value < ranges[source.name][0]
    ]


@dataclass
class PadWithinRanges(GraphPass):
    """Let such paddings be the lowest value that their input has, and their range its range.

    Pad values become scalars too: litert-quantizer refuses a PADV2 with any other shape of it.

    Attributes:
        ranges: of the float tensors; those of the changed model afterwards.
    """

    ranges: dict[str, tuple[float, float]]

    def call(self, model: Model) -> int:
        """How many operators have another pad value now."""
        import numpy as np

        found, changed = self.ranges, 0
        below = {operator.outputs[0].index for operator in padded_below(model, found)}
        for operator in model.main.operators:
            value, source, output = _pad_value(operator), operator.inputs[0], operator.outputs[0]
            if value is None or source is None:
                continue
            if output.index in below and source.name in found:
                # Under another name: who compares with the float file must not take it for it.
                output.raw.name = f"{output.name}/lowest"
                found[output.name] = found[source.name]
                value = found[source.name][0]
            elif operator.inputs[2] is not None and operator.inputs[2].shape == ():
                continue
            scalar = np.array(value, np.float32)
            pad = model.main.add_tensor(f"{output.name}/pad_value", (), "float32", scalar)
            operator.read_at(2, pad)
            changed += 1
        return changed


def _pad_value(operator: Operator) -> float | None:
    """The one value that a float PADV2 pads with; ``None`` for anything else."""
    if operator.name != "PADV2":
        return None
    value = operator.inputs[2]
    if value is None or not value.is_constant or value.dtype != "float32":
        return None
    values = value.data().ravel()
    return float(values[0]) if len(values) == 1 else None
