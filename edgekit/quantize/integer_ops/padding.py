"""Padding below everything: what converters put around a MAX_POOL_2D that the graph pads itself.

The pad value is the lowest float, or minus infinity, so that the padding never is the largest. As
an ordinary value it would take all 256 steps for itself. In integers the lowest step does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.tflite.graph import Operator
from edgekit.tflite.model import Model

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


def pad_within_ranges(model: Model, ranges: Ranges | None) -> tuple[Ranges | None, list[Operator]]:
    """Let such paddings be the lowest value that their input has, and their range its range.

    Pad values become scalars too: litert-quantizer refuses a PADV2 with any other shape of it.

    Args:
        model: float; is changed.
        ranges: of its float tensors, where they are known.

    Returns:
        The ranges of the changed model, and the operators whose pad value is another tensor now.
    """
    import numpy as np

    found, changed = dict(ranges or {}), []
    below = {operator.outputs[0].index for operator in padded_below(model, found)}
    for operator in model.main.operators:
        value, source, output = _pad_value(operator), operator.inputs[0], operator.outputs[0]
        if value is None or source is None:
            continue
        if output.index in below and source.name in found:
            # Under another name: what compares with the float file must not take it for the same.
            output.raw.name = f"{output.name}/lowest"
            found[output.name] = found[source.name]
            value = found[source.name][0]
        elif operator.inputs[2] is not None and operator.inputs[2].shape == ():
            continue
        scalar = np.array(value, np.float32)
        pad = model.main.add_tensor(f"{output.name}/pad_value", (), "float32", scalar)
        operator.read_at(2, pad)
        changed.append(operator)
    return None if ranges is None else found, changed


def _pad_value(operator: Operator) -> float | None:
    """The one value that a float PADV2 pads with; ``None`` for anything else."""
    if operator.name != "PADV2":
        return None
    value = operator.inputs[2]
    if value is None or not value.is_constant or value.dtype != "float32":
        return None
    values = value.data().ravel()
    return float(values[0]) if len(values) == 1 else None
