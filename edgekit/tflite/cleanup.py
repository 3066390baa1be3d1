"""What every delivered file has: things that other readers of `.tflite` ask for, and no copies.

None of it changes what the file computes.
"""

from __future__ import annotations

from hashlib import blake2b

from edgekit.tflite.model import Model


def clean(model: Model) -> None:
    """Share equal constants, and give SPLIT its axis as OpenVINO reads it."""
    _scalar_axes(model)
    _share_buffers(model)


def _scalar_axes(model: Model) -> None:
    """The axis of a SPLIT is a scalar; converters also write one of shape [1]."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            axis = operator.inputs[0] if operator.name == "SPLIT" else None
            if axis is None or axis.shape != (1,) or not axis.is_constant:
                continue
            name = f"{operator.outputs[0].name}/axis"
            operator.read_at(0, graph.add_tensor(name, (), axis.dtype, axis.data().reshape(())))


def _share_buffers(model: Model) -> None:
    """Let tensors with the same bytes use one buffer; those of nobody are emptied."""
    first: dict[tuple[int, bytes], int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if not tensor.is_constant:
                continue
            data = model.raw.buffers[tensor.buffer].data
            key = (len(data), blake2b(bytes(data), digest_size=16).digest())
            tensor.raw.buffer = first.setdefault(key, tensor.buffer)
    used = set(model.buffer_uses())
    for index, buffer in enumerate(model.raw.buffers):
        if index not in used:
            buffer.data = None
