"""Operator versions that promise what the tensors need.

A runtime refuses a version that it does not have. litert-quantizer leaves version 1 on operators
whose weights only later kernels read, so that an older runtime loads the file and computes
something else. With the version that TensorFlow Lite gave to such weights it refuses the file.

Source: ``GetBuiltinOperatorVersion`` in TensorFlow Lite's ``tools/versioning/op_version.cc``; which
runtimes compute what was measured, see ``edgekit/targets/profiles``.
"""

from __future__ import annotations

from edgekit.tflite.graph import Operator
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass

_NEEDED = {
    ("FULLY_CONNECTED", "int8"): 12,  # one scale per channel, activations in float
    ("FULLY_CONNECTED", "int4"): 12,
    ("CONV_2D", "int4"): 8,
    ("EMBEDDING_LOOKUP", "int4"): 4,
}


class RaiseVersions(GraphPass):
    """Raise the versions of operators that read float activations and integer weights."""

    def call(self, model: Model) -> int:
        """How many were raised."""
        changed = 0
        for graph in model.subgraphs:
            for operator in graph.operators:
                needed = _needed(operator)
                if needed > operator.version:
                    operator.raw.opcodeIndex = model.operator_code(operator.name, needed)
                    changed += 1
        return changed


def _needed(operator: Operator) -> int:
    if operator.is_custom or all(tensor.dtype != "float32" for tensor in operator.outputs):
        return 0
    weights = [tensor for tensor in operator.inputs if tensor is not None and tensor.is_constant]
    found = (
        _NEEDED.get((operator.name, tensor.dtype), 0)
        for tensor in weights
        if tensor.dtype != "int8" or _per_channel(tensor.quantization)
    )
    return max(found, default=0)


def _per_channel(quantization: object) -> bool:
    return len(getattr(quantization, "scales", ())) > 1
