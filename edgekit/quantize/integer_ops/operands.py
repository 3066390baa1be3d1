"""Constant operands in the shapes that litert-quantizer takes."""

from __future__ import annotations

from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass

_ONE_SCALE = frozenset({"MAXIMUM", "SELECT_V2"})
"""Operators whose constants get the scale of their output, and with it its number of axes."""


class OwnBuffers(GraphPass):
    """Give constants that share a buffer one each: quantized, they will differ."""

    def call(self, model: Model) -> int:
        """How many shared one."""
        taken: set[int] = set()
        shared = 0
        for tensor in model.main.tensors:
            if not tensor.is_constant:
                continue
            if tensor.buffer in taken:
                tensor.use_buffer(model.add_buffer(model.raw.buffers[tensor.buffer].data))
                shared += 1
            taken.add(tensor.buffer)
        return shared


class OwnScalars(GraphPass):
    """Let no two operators read the same constant of rank 0.

    litert-quantizer makes copies of such a constant in a wrong shape, and the file does not load.
    """

    def call(self, model: Model) -> int:
        """How many operators read another one now."""
        taken: set[int] = set()
        changed = 0
        for operator in model.main.operators:
            for place, tensor in enumerate(operator.inputs):
                if tensor is None or tensor.shape or not tensor.is_constant:
                    continue
                if tensor.buffer in taken:
                    name = f"{operator.outputs[0].name}/scalar_{place}"
                    added = model.main.add_tensor(name, (), tensor.dtype, tensor.data())
                    operator.read_at(place, added)
                    changed += 1
                else:
                    taken.add(tensor.buffer)
        return changed


class ExpandConstants(GraphPass):
    """Give such constants as many axes as the output has, of size 1, as broadcasting reads them.

    litert-quantizer refuses the whole model otherwise ("Ranks of scales …"), and converters write
    `torch.clamp(x, min=0.1)` with a constant of one axis. A scalar is taken as it is.
    """

    def call(self, model: Model) -> int:
        """How many operators read another one now."""
        changed = 0
        for operator in model.main.operators:
            if operator.name not in _ONE_SCALE:
                continue
            rank = len(operator.outputs[0].shape)
            for place, tensor in enumerate(operator.inputs):
                if tensor is None or not tensor.is_constant or tensor.dtype != "float32":
                    continue
                if 0 < len(tensor.shape) < rank:
                    values = tensor.data().reshape((1,) * (rank - len(tensor.shape)) + tensor.shape)
                    name = f"{operator.outputs[0].name}/operand_{place}"
                    added = model.main.add_tensor(name, values.shape, "float32", values)
                    operator.read_at(place, added)
                    changed += 1
        return changed
