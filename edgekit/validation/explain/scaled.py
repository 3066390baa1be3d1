"""Channels that a quantizer multiplied on purpose, and divided again where they are read.

Channel equalization (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019) leaves the function as it was but not the tensors in between. They are
compared with the reference's after the factors are taken out. A factor counts only if the weights
that read the channel undo it: one that nobody undoes is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator, Tensor
from edgekit.validation.explain.points import Trace
from edgekit.validation.explain.stepping import constants

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Weights = Mapping[str, list[Array | None]]

_PASSES_ON = {
    *("ADD", "PAD", "RELU", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "QUANTIZE", "RESHAPE"),
    "SPACE_TO_BATCH_ND",
}
"""Operators behind which a channel still has its factor."""
_MIXES = {"CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
"""Operators that sum over channels, and the place of their weights: (outputs, …, inputs)."""
_SAME = 0.1
"""Factors whose logarithms differ by less are the same, measured as they are on noisy tensors."""


def channel_factors(
    model: Model, candidate: Model, reference: Trace, observed: Trace
) -> dict[str, Array]:
    """The factors of the last axis of each tensor that was scaled on purpose.

    Args:
        model: the reference's graph.
        candidate: the candidate's.
        reference, observed: their tensors, of the same names.
    """
    import numpy as np

    mine, theirs = constants(model), constants(candidate)
    points, others = reference.named(), observed.named()
    found: dict[str, Array] = {}
    for operator in reversed(model.main.operators):  # readers first: depthwise ones need theirs
        for tensor in operator.outputs:
            name = tensor.name
            if name not in points or name not in others or len(points[name].shape) < 2:
                continue
            if points[name].shape != others[name].shape:
                continue
            measured = _measured(points[name], others[name], samples=observed.samples)
            if np.median(np.abs(np.log(measured))) < _SAME / 5 and (
                np.quantile(np.abs(np.log(measured)), 0.95) < _SAME
            ):
                continue
            undone = _undone(model, tensor, measured, mine, theirs, found)
            if undone is not None and np.abs(np.log(undone)).max() > _SAME / 5:
                found[name] = undone
    return found


def _measured(mine: Any, theirs: Any, *, samples: int) -> Array:
    """What each channel of the candidate is multiplied by; 1 where that is not clear."""
    import numpy as np

    channels = mine.shape[-1]
    dot, energy, other = (np.zeros(channels) for _ in range(3))
    for sample in range(samples):
        one = np.nan_to_num(mine.values(sample)).reshape(-1, channels)
        two = np.nan_to_num(theirs.values(sample)).reshape(-1, channels)
        dot += np.sum(one * two, axis=0)
        energy += np.sum(one * one, axis=0)
        other += np.sum(two * two, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        clear = dot > 0.9 * np.sqrt(energy * other)
        ratio = np.where(clear & (energy > 0), dot / energy, 1.0)
    return np.where(ratio > 0, ratio, 1.0)


def _undone(
    model: Model,
    tensor: Tensor,
    measured: Array,
    mine: Weights,
    theirs: Weights,
    found: Mapping[str, Array],
) -> Array | None:
    """The factors by the weights that undo them; ``None`` if some reader does not."""
    import numpy as np

    factors: Array | None = None
    for reader in _readers(model, tensor, set()):
        name = reader.outputs[0].name
        if name not in theirs or len(theirs[name]) < 2:
            return None
        one, two = mine[name][1], theirs[name][1]
        if one is None or two is None or one.size != two.size:
            return None
        if reader.name == "DEPTHWISE_CONV_2D":
            predicted = _of_depthwise(one, two, found.get(name))
        else:
            predicted = _of_mixing(one, two, measured)
        if predicted is None or predicted.size != measured.size:
            return None
        if np.median(np.abs(np.log(predicted / measured))) > _SAME:
            return None
        factors = predicted if factors is None or reader.name in _MIXES else factors
    return factors


def _readers(model: Model, tensor: Tensor, seen: set[int]) -> Iterator[Operator]:
    """The operators with weights that read a tensor, directly or behind those that pass it on."""
    for operator in model.main.consumers(tensor):
        if operator.name in _MIXES or operator.name == "DEPTHWISE_CONV_2D":
            yield operator
        elif operator.name in _PASSES_ON and operator.index not in seen:
            seen.add(operator.index)
            yield from _readers(model, operator.outputs[0], seen)


def _of_depthwise(one: Array, two: Array, behind: Array | None) -> Array | None:
    import numpy as np

    channels = one.shape[-1]
    one, two = one.reshape(-1, channels), two.reshape(-1, channels)
    energy = np.sum(one * one, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(energy > 0, np.sum(one * two, axis=0) / energy, 1.0)
    if (ratio <= 0).any():
        return None
    return np.asarray((1.0 if behind is None else behind) / ratio)


def _of_mixing(one: Array, two: Array, measured: Array) -> Array | None:
    """Factors of the columns by least squares, ``two ≈ rows · one / factors``.

    ``None`` where that explains the weights no better than rows alone do.
    """
    import numpy as np

    outputs, channels = one.shape[0], measured.size
    if (one.size // outputs) % channels:
        return None
    one, two = (values.reshape(outputs, -1, channels) for values in (one, two))
    power, product = np.sum(one * one, axis=1), np.sum(one * two, axis=1)

    def rows(columns: Array) -> Array:
        below = power @ (columns * columns)
        return np.asarray(np.where(below > 0, product @ columns / np.maximum(below, 1e-300), 1.0))

    def lost(columns: Array) -> float:
        explained = rows(columns)[:, None] * columns
        return float(
            np.sum(two * two) - np.sum(2 * explained * product - explained * explained * power)
        )

    columns: Array = 1 / measured
    for _ in range(10):
        scale = rows(columns)
        below = (scale * scale) @ power
        columns = np.where(below > 0, scale @ product / np.maximum(below, 1e-300), columns)
    if (columns <= 0).any() or lost(columns) > 0.25 * lost(np.ones(channels)):
        return None
    # Rows and columns share a constant that only the tensors themselves tell.
    return np.asarray(np.median(measured * columns) / columns)
