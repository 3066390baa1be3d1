"""Constant operands in the shapes that litert-quantizer takes."""

from __future__ import annotations

from edgekit.tflite.graph import Operator
from edgekit.tflite.model import Model

_ONE_SCALE = frozenset({"MAXIMUM", "SELECT_V2"})
"""Operators whose constants get the scale of their output, and with it its number of axes."""


def own_buffers(model: Model) -> bool:
    """Give constants that share a buffer one each: quantized, they will differ.

    Returns:
        Whether there were any.
    """
    taken: set[int] = set()
    shared = False
    for tensor in model.main.tensors:
        if not tensor.is_constant:
            continue
        if tensor.buffer in taken:
            tensor.use_buffer(model.add_buffer(model.raw.buffers[tensor.buffer].data))
            shared = True
        taken.add(tensor.buffer)
    return shared


def own_scalars(model: Model) -> list[Operator]:
    """Let no two operators read the same constant of rank 0.

    litert-quantizer makes copies of such a constant in a wrong shape, and the file does not load.

    Returns:
        The operators that read other tensors now.
    """
    taken: set[int] = set()
    changed = []
    for operator in model.main.operators:
        for place, tensor in enumerate(operator.inputs):
            if tensor is None or tensor.shape or not tensor.is_constant:
                continue
            if tensor.buffer in taken:
                name = f"{operator.outputs[0].name}/scalar_{place}"
                added = model.main.add_tensor(name, (), tensor.dtype, tensor.data())
                operator.read_at(place, added)
                changed.append(operator)
            else:
                taken.add(tensor.buffer)
    return changed


def expand_constants(model: Model) -> list[Operator]:
    """Give such constants as many axes as the output has, of size 1, as broadcasting reads them.

    litert-quantizer refuses the whole model otherwise ("Ranks of scales …"), and converters write
    `torch.clamp(x, min=0.1)` with a constant of one axis. A scalar is taken as it is.

    Returns:
        The operators that read other tensors now.
    """
    changed = []
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
                changed.append(operator)
    return changed
