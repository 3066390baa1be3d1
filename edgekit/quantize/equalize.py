"""Cross-layer equalization: give the channels of a tensor like ranges without changing the model.

One scale serves all channels of an activation, so a channel with a tenth of the range loses three
bits. Multiplying a channel by 1/s where it is made and by s where it is used leaves the function as
it was (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019). Here the factors serve a whole *stream*: all tensors that are joined by operators which
commute with positive factors per channel, such as the additions of a residual network.

RELU commutes with positive factors, RELU6 does not (it would clip at 6·s): a tensor that RELU6
makes is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.quantize.layers import Layer, find_layers
from edgekit.tflite.model import Model, Operator, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_JOINING = {"ADD", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "PAD", "RELU", "RESHAPE", "SUB"}
_NO_ACTIVATION, _RELU = 0, 1
_STRENGTH_LIMITS = 1e-2, 1e2
"""No channel is scaled further than this: beyond it nothing is gained and float noise grows."""


@dataclass(frozen=True, kw_only=True)
class ChannelStream:
    """Tensors whose channels can be scaled together, with the layers that make and use them."""

    tensors: tuple[Tensor, ...]
    makers: tuple[Layer, ...]
    users: tuple[Layer, ...]


def find_streams(model: Model) -> list[ChannelStream]:
    """All streams of the main graph, in the order of their first tensors."""
    layers = {layer.index: layer for layer in find_layers(model)}
    graph = model.main
    producers = {t.index: op for op in graph.operators for t in op.outputs}
    consumers: dict[int, list[Operator]] = {}
    for op in graph.operators:
        for tensor in op.inputs:
            if tensor is not None and not tensor.is_constant:
                consumers.setdefault(tensor.index, []).append(op)
    borders = {t.index for t in (*graph.inputs, *graph.outputs)}
    seen: set[int] = set()
    streams = []
    for layer in layers.values():
        if layer.output.index in seen:
            continue
        stream = _grow(layer.output, producers, consumers, layers, borders, seen)
        if stream is not None:
            streams.append(stream)
    return streams


def equalize(
    streams: list[ChannelStream], magnitudes: Mapping[str, Array], strength: float = 1.0
) -> int:
    """Scale the channels of every stream in place.

    Args:
        streams: from `find_streams` of the model to change.
        magnitudes: the largest absolute value of each channel, per tensor name.
        strength: 1 gives all channels the same range, 0 changes nothing.

    Returns:
        The number of channels that were scaled.
    """
    import numpy as np

    changed = 0
    for stream in streams:
        known = [magnitudes[t.name] for t in stream.tensors if t.name in magnitudes]
        if not known:
            continue
        # Relative to each tensor's own range, and the largest over the stream: no tensor of the
        # stream may lose range by what suits another.
        relative = np.max([value / max(float(value.max()), 1e-12) for value in known], axis=0)
        factors = np.clip(relative, *_STRENGTH_LIMITS) ** strength
        for layer in stream.makers:
            _scale_outputs(layer, 1 / factors)
        for layer in stream.users:
            _scale_inputs(layer, factors)
        changed += int(np.count_nonzero(factors != 1))
    return changed


def _grow(
    start: Tensor,
    producers: Mapping[int, Operator],
    consumers: Mapping[int, list[Operator]],
    layers: Mapping[int, Layer],
    borders: set[int],
    seen: set[int],
) -> ChannelStream | None:
    """Follow joining operators from a tensor; ``None`` where one stands in the way."""
    channels = start.shape[-1] if start.shape else 0
    members: dict[int, Tensor] = {}
    makers: dict[int, Layer] = {}
    users: dict[int, Layer] = {}
    waiting, possible = [start], True
    while waiting:
        tensor = waiting.pop()
        if tensor.index in members:
            continue
        members[tensor.index] = tensor
        seen.add(tensor.index)
        if tensor.index in borders or tensor.index not in producers or tensor.shape[-1] != channels:
            possible = False
            continue
        maker = producers[tensor.index]
        if maker.index in layers:
            makers[maker.index] = layers[maker.index]
            possible &= _commutes(maker) and not layers[maker.index].fixed_bias
        else:
            possible &= _joins(maker, channels)
            waiting += _flowing(maker) if maker.name in _JOINING else []
        for user in consumers.get(tensor.index, []):
            if user.index in layers and layers[user.index].input.index == tensor.index:
                users[user.index] = layers[user.index]
                possible &= _reads_channels(layers[user.index], channels)
            else:
                possible &= _joins(user, channels)
                waiting += _flowing(user) if user.name in _JOINING else []
    if not possible or not users or not makers:
        return None
    return ChannelStream(
        tensors=tuple(members.values()), makers=tuple(makers.values()), users=tuple(users.values())
    )


def _commutes(operator: Operator) -> bool:
    """Whether a layer's activation lets a positive factor per channel through."""
    return operator.options.fusedActivationFunction in (_NO_ACTIVATION, _RELU)


def _joins(operator: Operator, channels: int) -> bool:
    """Whether an operator commutes with a positive factor per channel of all its tensors."""
    if operator.name not in _JOINING:
        return False
    if operator.name in ("ADD", "SUB", "AVERAGE_POOL_2D", "MAX_POOL_2D") and not _commutes(
        operator
    ):
        return False
    if operator.name in ("ADD", "SUB") and any(t is None or t.is_constant for t in operator.inputs):
        return False
    if operator.name == "MEAN" and _touches_last_axis(operator):
        return False
    return all(t.shape and t.shape[-1] == channels for t in _flowing(operator))


def _flowing(operator: Operator) -> list[Tensor]:
    """The tensors that carry values through an operator (not its axes, shapes or paddings)."""
    sources = [t for t in operator.inputs if t is not None and not t.is_constant]
    return [*sources, *operator.outputs]


def _touches_last_axis(operator: Operator) -> bool:
    axes = operator.inputs[1]
    source = operator.inputs[0]
    if axes is None or source is None or not axes.is_constant:
        return True
    rank = len(source.shape)
    return any(int(axis) % rank == rank - 1 for axis in axes.data().reshape(-1))


def _reads_channels(layer: Layer, channels: int) -> bool:
    if layer.is_depthwise:
        return layer.weights.shape[-1] == channels
    return layer.weights.shape[-1] == channels and layer.input.shape[-1] == channels


def _scale_outputs(layer: Layer, factors: Array) -> None:
    import numpy as np

    weights = layer.weights.data().astype(np.float64)
    if layer.is_depthwise:
        weights = weights * factors
    else:
        weights = weights * factors.reshape(-1, *[1] * (weights.ndim - 1))
    layer.weights.set_data(weights.astype(np.float32))
    if layer.bias is not None:
        layer.bias.set_data((layer.bias.data() * factors).astype(np.float32))


def _scale_inputs(layer: Layer, factors: Array) -> None:
    import numpy as np

    # Input channels are the last axis of every kind of weights, depthwise included.
    weights = layer.weights.data().astype(np.float64) * factors
    layer.weights.set_data(weights.astype(np.float32))
