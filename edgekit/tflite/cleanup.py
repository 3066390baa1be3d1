"""What every delivered file has: things that other readers of `.tflite` ask for, and no copies.

None of it changes what the file computes.
"""

from __future__ import annotations

from hashlib import blake2b

from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass, PassSequence


class ScalarAxes(GraphPass):
    """The axis of a SPLIT is a scalar, as OpenVINO reads it; converters also write shape [1]."""

    def call(self, model: Model) -> int:
        """Give each such SPLIT an axis of its own."""
        changed = 0
        for graph in model.subgraphs:
            for operator in graph.operators:
                axis = operator.inputs[0] if operator.name == "SPLIT" else None
                if axis is None or axis.shape != (1,) or not axis.is_constant:
                    continue
                name = f"{operator.outputs[0].name}/axis"
                scalar = graph.add_tensor(name, (), axis.dtype, axis.data().reshape(()))
                operator.read_at(0, scalar)
                changed += 1
        return changed


class ShareBuffers(GraphPass):
    """Tensors with the same bytes use one buffer; those of nobody are emptied."""

    def call(self, model: Model) -> int:
        """Let later tensors use the buffer of the first."""
        first: dict[tuple[int, bytes], int] = {}
        shared = 0
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                if not tensor.is_constant:
                    continue
                data = model.raw.buffers[tensor.buffer].data
                key = (len(data), blake2b(bytes(data), digest_size=16).digest())
                known = first.setdefault(key, tensor.buffer)
                if known != tensor.buffer:
                    tensor.use_buffer(known)
                    shared += 1
        model.drop_buffers()
        return shared


clean = PassSequence(ScalarAxes(), ShareBuffers())
