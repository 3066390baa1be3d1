"""The operators with weights: their geometry, and the inputs that each weight is multiplied with.

A convolution at one output position is a dot product of a patch of its input with each filter. So
for rounding, every layer is a matrix: rows are output channels, columns the elements of a patch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from edgekit.tflite.model import Model, Operator, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LayerKind: TypeAlias = Literal["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"]
WEIGHTS_AT = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
INPUT_AT = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2}
BIAS_AT = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Which inputs of these operators are weights, what those are multiplied with, and the bias."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """An operator with constant float weights that nobody else uses.

    Attributes:
        index: its place among the operators of the main graph, which is the order of execution.
        input: the tensor that the weights are multiplied with.
        bias: a constant of one value per output channel, where there is one for this layer alone.
        fixed_bias: there is a bias that must not change: computed, or used elsewhere too.
        kernel, stride, dilation: (height, width); ones for FULLY_CONNECTED.
        same_padding: the padding rule SAME (otherwise VALID).
    """

    index: int
    kind: LayerKind
    weights: Tensor
    bias: Tensor | None
    input: Tensor
    output: Tensor
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same_padding: bool = False
    fixed_bias: bool = False

    @property
    def name(self) -> str:
        """The name of its output, which is what people recognise."""
        return self.output.name

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has filters of its own."""
        return self.kind == "DEPTHWISE_CONV_2D"

    def matrix(self) -> Array:
        """The weights as rows of patches.

        Shape (outputs, height·width·inputs); for depthwise (channels, height·width) with channel
        multiplier 1; for transposed convolution (outputs·height·width, inputs).
        """
        values = self.weights.data()
        if self.is_depthwise:
            return values.reshape(-1, values.shape[-1]).T.copy()
        if self.kind == "TRANSPOSE_CONV":
            return values.reshape(-1, values.shape[-1]).copy()
        return values.reshape(values.shape[0], -1).copy()

    def set_matrix(self, matrix: Array) -> None:
        """Write rows of patches back as weights; the inverse of `matrix`."""
        shape = self.weights.shape
        if self.is_depthwise:
            matrix = matrix.T
        self.weights.set_data(matrix.reshape(shape).astype("float32"))

    def copy_from(self, other: Layer) -> None:
        """Take the weights and the bias of the same layer in another model."""
        self.weights.set_data(other.weights.data())
        if self.bias is not None and other.bias is not None:
            self.bias.set_data(other.bias.data())

    def scales(self, limit: int = 127) -> Array:
        """The step of each row's grid: the largest magnitude of its channel over ``limit``.

        A channel of zeros has the step 1, so that nothing is divided by zero.
        """
        import numpy as np

        largest = np.abs(self.matrix()).max(axis=1).astype(np.float64)  # float32 may underflow
        if self.kind == "TRANSPOSE_CONV":  # one step per output channel, not per row
            outputs = self.weights.shape[0]
            largest = np.repeat(largest.reshape(outputs, -1).max(axis=1), len(largest) // outputs)
        return np.where(largest > 0, largest / limit, 1.0)


def find_layers(model: Model) -> list[Layer]:
    """All layers of the main graph in the order of execution."""
    reads = Counter(i for operator in model.main.operators for i in operator.raw.inputs or ())
    candidates = (_as_layer(operator, reads) for operator in model.main.operators)
    return [layer for layer in candidates if layer is not None]


def _as_layer(operator: Operator, reads: Mapping[int, int]) -> Layer | None:
    kind = operator.name
    if kind not in WEIGHTS_AT:
        return None
    inputs = operator.inputs
    weights, source = inputs[WEIGHTS_AT[kind]], inputs[INPUT_AT[kind]]
    bias = inputs[BIAS_AT[kind]] if len(inputs) > BIAS_AT[kind] else None
    if weights is None or source is None or not weights.is_constant or source.is_constant:
        return None
    if weights.dtype != "float32" or not _is_own(weights, reads):
        return None
    if kind == "DEPTHWISE_CONV_2D" and weights.shape[-1] != source.shape[-1]:
        return None  # a channel multiplier: several filters read one channel
    fixed_bias = bias is not None and not (bias.is_constant and _is_own(bias, reads))
    options = operator.options
    geometry: dict[str, Any] = {}
    if kind != "FULLY_CONNECTED":
        geometry = {
            "kernel": weights.shape[1:3],
            "stride": (options.strideH, options.strideW),
            "same_padding": options.padding == 0,
        }
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        geometry["dilation"] = (options.dilationHFactor, options.dilationWFactor)
    if kind == "CONV_2D" and weights.shape[-1] != source.shape[-1]:
        return None  # grouped: left to nearest rounding
    return Layer(
        index=operator.index,
        kind=cast(LayerKind, kind),
        weights=weights,
        bias=None if fixed_bias else bias,
        fixed_bias=fixed_bias,
        input=source,
        output=operator.outputs[0],
        **geometry,
    )


def _is_own(constant: Tensor, reads: Mapping[int, int]) -> bool:
    """Whether a constant serves one operator only."""
    return reads[constant.index] == 1


def patches(
    layer: Layer, positions: Array, read: Callable[[Callable[[Array], Array]], Array]
) -> Array:
    """What the weights of a layer are multiplied with at some output positions.

    Args:
        layer: which.
        positions: indices into the flattened (height, width) of the output; for FULLY_CONNECTED
            and TRANSPOSE_CONV into the flattened rows of the input.
        read: gives the real values of what a function picks from the layer's stored input (for one
            sample, with its batch axis of 1).

    Returns:
        (positions, columns of the layer's matrix), for depthwise (positions, height·width,
        channels), in the same order as the columns of `Layer.matrix`.
    """
    import numpy as np

    channels = layer.input.shape[-1]
    count = len(positions)
    if layer.kind in ("FULLY_CONNECTED", "TRANSPOSE_CONV"):
        width = layer.weights.shape[-1]
        return read(lambda value: value.reshape(-1, width)[positions])
    if layer.kernel == (1, 1) and layer.stride == (1, 1):
        flat = read(lambda value: value.reshape(-1, channels)[positions])
        return flat[:, None, :] if layer.is_depthwise else flat
    _, out_height, out_width, _ = layer.output.shape
    _, height, width, _ = layer.input.shape
    rows, row_inside = _source_index(layer, 0, height, out_height, positions // out_width)
    places, place_inside = _source_index(layer, 1, width, out_width, positions % out_width)
    taken = read(lambda value: value[0, rows[:, :, None], places[:, None, :]])
    # Outside there is the real zero, whatever number it is stored as.
    taken = taken * (row_inside[:, :, None] & place_inside[:, None, :])[..., None]
    shape = (count, -1, channels) if layer.is_depthwise else (count, -1)
    return np.ascontiguousarray(taken.reshape(shape))


def position_count(layer: Layer) -> int:
    """How many positions one sample offers to `patches`."""
    from math import prod

    if layer.kind == "FULLY_CONNECTED":
        return max(1, prod(layer.input.shape) // layer.weights.shape[-1])
    if layer.kind == "TRANSPOSE_CONV":
        return prod(layer.input.shape[1:3])
    return prod(layer.output.shape[1:3])


def _source_index(
    layer: Layer, axis: int, size: int, out_size: int, positions: Array
) -> tuple[Array, Array]:
    """Along one axis: input indices under the kernel (positions, kernel), and which are real."""
    import numpy as np

    kernel, stride, dilation = layer.kernel[axis], layer.stride[axis], layer.dilation[axis]
    reach = (kernel - 1) * dilation + 1
    total = max((out_size - 1) * stride + reach - size, 0) if layer.same_padding else 0
    index = positions[:, None] * stride - total // 2 + np.arange(kernel) * dilation
    inside = (index >= 0) & (index < size)
    return np.clip(index, 0, size - 1), inside
