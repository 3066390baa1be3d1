"""Whether a graph normalises its input by itself, and whether it is fed what it then expects.

Keras models often begin with `Rescaling` or `Normalization`, ONNX files with Sub and Div, others
with a batch norm on the input. Fed with values that are normalised already, such a model still
answers, only badly, and its `.tflite` equals it: no comparison of the two can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.contract import Preprocess
    from edgekit.tflite.graph import Operator, Subgraph, Tensor

    Array: TypeAlias = NDArray[Any]

_PASSED = frozenset(
    {
        "CAST",
        "DEQUANTIZE",
        "EXPAND_DIMS",
        "MIRROR_PAD",
        "PAD",
        "PADV2",
        "QUANTIZE",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "REVERSE_V2",
        "SQUEEZE",
        "TRANSPOSE",
    }
)
"""Operators that keep the values of a picture, or nearly, and only move or convert them."""

_WHITE = 255.0
_FAR = 300.0
"""No network is fed values beyond this that were made of 8-bit pixels."""
_CLOSE = 0.01
_NARROW = 16.0
"""A range narrower than this is not that of 8-bit pixels."""
_CENTRED = 0.75
"""What is normalised for training lies around zero: its middle is at most so many widths away."""
_OFF_CENTRE = 4.0
"""And what is normalised twice lies nearly in one point: its middle is at least so many away."""

_FROM_PIXELS = (1 / 255, 1 / 256, 1 / 127.5, 1 / 128)
_FROM_UNIT: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = (
    ((0.5,), (0.5,)),
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
)
"""Mean and std of values 0…1: of Inception, of ImageNet, of CLIP."""


@dataclass(frozen=True, kw_only=True)
class OwnNormalization:
    """What a graph does to its input first: ``value · gain + shift``.

    Attributes:
        operators: what does it, in order.
        gains, shifts: for each channel, or one for all.
    """

    operators: tuple[str, ...]
    gains: tuple[float, ...]
    shifts: tuple[float, ...]

    def of(self, low: float, high: float) -> list[tuple[float, float]]:
        """What becomes of a range of values, for each channel."""
        ends = [
            (low * gain + shift, high * gain + shift)
            for gain, shift in zip(self.gains, self.shifts, strict=True)
        ]
        return [(min(pair), max(pair)) for pair in ends]


@dataclass(frozen=True, kw_only=True)
class GraphSlip:
    """A contract that contradicts what the graph does to its input by itself.

    Attributes:
        sentence: what is wrong, with figures.
        option: what states the right contract.
    """

    sentence: str
    option: str


def own_normalization(graph: Subgraph, tensor: Tensor) -> OwnNormalization | None:
    """The multiplications and additions with constants that an input goes through first.

    Args:
        graph: the float graph.
        tensor: one of its inputs.

    Returns:
        ``None`` where the input goes through none of them.
    """
    import numpy as np

    gains, shifts = np.ones(1), np.zeros(1)
    operators: list[str] = []
    while (operator := _only_reader(graph, tensor)) is not None:
        if operator.name not in _PASSED:
            step = _affine(operator, tensor)
            if step is None:
                break
            gain, shift = step
            try:
                gains, shifts = np.broadcast_arrays(gains * gain, shifts * gain + shift)
            except ValueError:  # not per channel
                break
            operators.append(operator.name)
        tensor = operator.outputs[0]
    if not operators:
        return None
    return OwnNormalization(
        operators=tuple(operators), gains=tuple(gains.tolist()), shifts=tuple(shifts.tolist())
    )


def graph_slip(own: OwnNormalization, fed: tuple[float, float]) -> GraphSlip | None:
    """The contradiction between a graph's normalisation and the values it is fed, if it is clear.

    An affine first layer alone says nothing: a batch norm on the input is one too. It is a slip
    only where the graph makes of pixels 0…255 (or of 0…1) what networks are trained on, and of the
    values that it is fed something that no network is.

    Args:
        own: what the graph does by itself.
        fed: the lowest and highest value that the contract feeds.
    """
    low, high = fed
    if _wants_pixels(own) and high - low < _NARROW and _squeezed(own, fed):
        expects, option = "0…255", "--scale 1 --mean 0 --std 1"
    elif _wants_unit(own) and not -0.05 <= low <= high <= 1.05:
        expects, option = "0…1", "--scale 1/255 --mean 0 --std 1"
    else:
        return None
    ends = own.of(low, high)
    made = f"{min(end[0] for end in ends):.4g}…{max(end[1] for end in ends):.4g}"
    return GraphSlip(
        sentence=f"The graph normalises its input by itself ({', '.join(own.operators)}) and "
        f"expects {expects}, but the contract feeds {low:.4g}…{high:.4g}, of which it makes {made}",
        option=option,
    )


def contradiction(preprocess: Preprocess) -> GraphSlip | None:
    """What cannot be meant in a preprocessing of 8-bit pixels, whatever the model is.

    ``mean`` and ``std`` of values 0…1 with a ``scale`` that leaves 0…255 (values far beyond 255),
    or the other way round (next to no contrast is left).
    """
    scale, white = preprocess.scale, _WHITE * preprocess.scale
    low, high = preprocess.value_range
    contrast = min(abs(white / std) for std in preprocess.std)
    values = f"gives the model values of {low:.4g}…{high:.4g}"
    normalised = any(preprocess.mean) or any(std != 1 for std in preprocess.std)
    if max(abs(low), abs(high)) > _FAR:
        why = (
            f"mean and std are those of values 0…1, but --scale {scale:.4g} leaves 0…{white:.4g}"
            if normalised
            else f"--scale {scale:.4g} makes 8-bit pixels larger than they are"
        )
        return GraphSlip(sentence=f"{why}, which {values}", option="--scale 1/255")
    if contrast < 0.1 or any(abs(mean) > 10 * abs(white) for mean in preprocess.mean):
        return GraphSlip(
            sentence=f"--scale {scale:.4g} is too small for this mean and std: the whole "
            f"preprocessing {values}, with a contrast of {contrast:.2g}",
            option="--scale 1" if normalised else "--scale 1/255",
        )
    return None


def _only_reader(graph: Subgraph, tensor: Tensor) -> Operator | None:
    readers = graph.consumers(tensor)
    return readers[0] if len(readers) == 1 and tensor.index not in graph.raw.outputs else None


def _affine(operator: Operator, tensor: Tensor) -> tuple[Array, Array] | None:
    """Gain and shift of an operator, each of one value or one per channel."""
    import numpy as np

    if getattr(operator.options, "fusedActivationFunction", 0):
        return None
    if operator.name == "DEPTHWISE_CONV_2D":
        return _scaling_convolution(operator)
    if operator.name not in ("MUL", "DIV", "ADD", "SUB") or len(operator.inputs) != 2:
        return None
    first, second = operator.inputs
    other = second if first is not None and first.index == tensor.index else first
    constant = _per_channel(other)
    if constant is None:
        return None
    zero, one = np.zeros(1), np.ones(1)
    match operator.name, other is second:
        case "MUL", _:
            return constant, zero
        case "ADD", _:
            return one, constant
        case "SUB", True:
            return one, -constant
        case "SUB", False:
            return -one, constant
        case "DIV", True if np.all(constant != 0):
            return 1 / constant, zero
    return None


def _scaling_convolution(operator: Operator) -> tuple[Array, Array] | None:
    """A batch norm that a converter wrote as a convolution of one pixel and one channel."""
    import numpy as np

    weights = operator.inputs[1]
    if weights is None or weights.shape[1:3] != (1, 1) or operator.options.depthMultiplier != 1:
        return None
    gain = _per_channel(weights)
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    shift = np.zeros(1) if bias is None else _per_channel(bias)
    return None if gain is None or shift is None else (gain, shift)


def _per_channel(tensor: Tensor | None) -> Array | None:
    """The values of a float constant that has one, or one for each channel of a picture."""
    import numpy as np

    if tensor is None or not tensor.is_constant or tensor.dtype != "float32":
        return None
    values = np.squeeze(tensor.data()).astype(np.float64)
    return values.reshape(-1) if values.ndim < 2 and values.size in (1, 3, 4) else None


def _wants_pixels(own: OwnNormalization) -> bool:
    if all(abs(shift) < 1e-6 for shift in own.shifts):
        return all(any(_near(gain, one) for one in _FROM_PIXELS) for gain in own.gains)
    ends = own.of(0.0, _WHITE)
    return all(
        0.4 <= high - low <= 10 and _off(low, high) <= _CENTRED for low, high in ends
    ) or all(
        _near(gain, 1.0) and 90 <= -shift <= 140
        for gain, shift in zip(own.gains, own.shifts, strict=True)
    )


def _squeezed(own: OwnNormalization, fed: tuple[float, float]) -> bool:
    """Whether the values fed come out nearly as one point (or without an offset to tell by)."""
    if not any(own.shifts):
        return True
    return all(_off(low, high) >= _OFF_CENTRE for low, high in own.of(*fed))


def _wants_unit(own: OwnNormalization) -> bool:
    """Whether it is one of the usual normalisations of 0…1; near to one is not enough."""
    return any(_is(own, means, stds) for means, stds in _FROM_UNIT)


def _is(own: OwnNormalization, means: tuple[float, ...], stds: tuple[float, ...]) -> bool:
    channels = len(own.gains)
    if len(means) not in (1, channels):
        return False
    wanted = zip(means * (channels // len(means)), stds * (channels // len(stds)), strict=True)
    return all(
        _near(gain, 1 / std) and _near(-shift, mean / std)
        for gain, shift, (mean, std) in zip(own.gains, own.shifts, wanted, strict=True)
    )


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _CLOSE * abs(wanted)


def _off(low: float, high: float) -> float:
    """How many widths the middle of a range is away from zero."""
    return abs(low + high) / 2 / max(high - low, 1e-12)
