"""Channels whose weights are zero, or so small that their bias does not fit.

An integer bias is counted in steps of the input times the weights, with 32 bits. The step of a
channel of zeros (one that training has switched off, or a folded normalisation) is next to nothing,
its bias would run over, and the channel would lose the constant that it adds. So one weight of such
a channel is raised until the bias fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator
from edgekit.tflite.passes import GraphPass
from edgekit.types import Ranges

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_LARGEST = 0.5 * 2**31
"""Of a bias in steps. The products are added to it in the same 32 bits, and tensors that must share
a scale, such as those before and after a PAD, may get a smaller one than their own range says."""
_PLACES = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
"""Where each operator has its input, its weights and its bias."""


@dataclass
class MakeRoom(GraphPass):
    """Raise one weight of each channel whose bias would not fit into 32 bits.

    What the raised weight adds is at most 127·2^(bits-1)/2^30 of the bias: two hundred-thousandths
    for 8 bits and 0.4 % for 16.

    Attributes:
        ranges: of the activations.
        bits: of the activations.
    """

    ranges: Ranges
    bits: int

    def call(self, model: Model) -> int:
        """How many channels were changed."""
        return sum(_make_room(model, op, self.ranges, self.bits) for op in model.main.operators)


def _make_room(model: Model, operator: Operator, ranges: Ranges, bits: int) -> int:
    import numpy as np

    places = _PLACES.get(operator.name)
    if places is None or len(operator.inputs) <= places[2]:
        return 0
    source, weights, bias = (operator.inputs[place] for place in places)
    if source is None or weights is None or bias is None or source.name not in ranges:
        return 0
    own = weights.is_constant and model.buffer_users(weights.buffer) == 1
    if not (own and bias.is_constant and weights.dtype == bias.dtype == "float32"):
        return 0
    axis = 3 if operator.name == "DEPTHWISE_CONV_2D" else 0
    values = np.moveaxis(weights.data().copy(), axis, 0)
    rows = values.reshape(len(values), -1).astype(np.float64)
    if len(rows) != bias.data().size:
        return 0
    needed = 127 * np.abs(bias.data().reshape(-1)) / (_step(ranges[source.name], bits) * _LARGEST)
    short = np.flatnonzero(np.abs(rows).max(axis=1) < needed)
    if not len(short):
        return 0
    largest = np.abs(rows[short]).argmax(axis=1)
    rows[short, largest] = np.copysign(needed[short], rows[short, largest])
    changed = np.moveaxis(rows.reshape(values.shape), 0, axis)
    weights.set_data(np.ascontiguousarray(changed, np.float32))
    return len(short)


def _step(limits: tuple[float, float], bits: int) -> float:
    """What one integer step of an activation is worth; zero is always part of its range."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if bits == 16:
        return max(-low, high) / 32767
    return (high - low) / 255
