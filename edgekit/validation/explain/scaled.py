"""Channels that a quantizer multiplied on purpose, and divided again where they are read.

Channel equalization (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019) leaves the function as it was but not the tensors in between. They are
compared with the reference's after the factors are taken out. A factor counts only if the weights
that read the channel undo it: one that nobody undoes is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator, Tensor
from edgekit.validation.explain.points import Point, Trace
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
_STRANGE = 0.1
"""The share of the weights' energy that int8 and its preparation leave far below."""
_EXACT = 1e-9
"""The share of the weights' energy that is left where they are the same 32-bit floats."""


def channel_factors(
    model: Model,
    candidate: Model,
    references: Sequence[Trace],
    observed: Trace,
    known: Mapping[str, Array],
) -> dict[str, Array]:
    """The factors of the last axis of each tensor that was scaled on purpose.

    Args:
        model: the reference's graph.
        candidate: the candidate's.
        references: what the tensors should be: the reference's own, and what its operators make of
            the candidate's tensors, which an earlier fault does not spoil.
        observed: the candidate's tensors.
        known: factors that were found before; they are part of the result.
    """
    mine, theirs = constants(model), constants(candidate)
    others, found = observed.named(), dict(known)
    for operator in reversed(model.main.operators):  # readers first: depthwise ones need theirs
        for tensor in operator.outputs:
            name = tensor.name
            if name in found or name not in others or len(others[name].shape) < 2:
                continue
            # Steps are the better measure, but a depthwise one passes its input's factors on.
            ordered = references if operator.name == "DEPTHWISE_CONV_2D" else references[::-1]
            for reference in (trace.named().get(name) for trace in ordered):
                if reference is None or reference.shape != others[name].shape:
                    continue
                measured = _measured(reference, others[name], samples=observed.samples)
                if _is_one(measured):  # or spoiled so much that nothing shows
                    continue
                before = _before(operator, references[0].named(), others, observed.samples, found)
                undone = _undone(model, tensor, measured, mine, theirs, found, before)
                if undone is not None and not _is_one(undone):
                    found[name] = undone
                    break
    return _joined(model, found)


def _joined(model: Model, found: dict[str, Array]) -> dict[str, Array]:
    """Operators that pass channels on have the same factors on all sides; known ones spread."""
    while True:
        before = len(found)
        for operator in model.main.operators:
            if operator.name not in _PASSES_ON - {"RESHAPE"}:
                continue
            tensors = [t for t in (*operator.inputs, *operator.outputs) if t is not None]
            sides = [t for t in tensors if t.shape and t.shape[-1] == tensors[-1].shape[-1]]
            names = [t.name for t in sides if not t.is_constant]
            known = next((found[name] for name in names if name in found), None)
            if known is not None:
                found |= {name: known for name in names if name not in found}
        if len(found) == before:
            return found


def _before(
    operator: Operator,
    mine: Mapping[str, Point],
    theirs: Mapping[str, Point],
    samples: int,
    found: Mapping[str, Array],
) -> Array | None:
    """The factors of what an operator reads first, as far as they are known or can be seen."""
    name = operator.inputs[0].name if operator.inputs and operator.inputs[0] else ""
    if name in found:
        return found[name]
    if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape:
        return None
    return _measured(mine[name], theirs[name], samples=samples) if mine[name].shape else None


def _is_one(factors: Array) -> bool:
    """Whether factors differ from 1 by no more than noise makes them differ."""
    import numpy as np

    logarithms = np.abs(np.log(factors))
    return bool(np.median(logarithms) < _SAME / 5 and np.quantile(logarithms, 0.95) < _SAME)


def _measured(mine: Point, theirs: Point, *, samples: int) -> Array:
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
    before: Array | None,
) -> Array | None:
    """The factors by the weights that undo them; ``None`` if some reader does not.

    Readers whose weights are not the reference's in any scaling cannot tell. Where none can, the
    weights that make the tensor must have the factors themselves.
    """
    factors: Array | None = None
    cannot_tell = False
    for reader in _readers(model, tensor, set()):
        pair = _weights(reader, mine, theirs)
        if pair is None:
            return None
        if not _is_rescaled(reader, *pair):
            cannot_tell = True
            continue
        if reader.name == "DEPTHWISE_CONV_2D":
            predicted = _of_depthwise(*pair, found.get(reader.outputs[0].name))
        else:
            predicted = _of_mixing(*pair, measured)
        if predicted is None or not _agree(predicted, measured):
            return None
        factors = predicted if factors is None or reader.name in _MIXES else factors
    if factors is not None or not cannot_tell:
        return factors
    maker = model.main.producer(tensor)
    pair = _weights(maker, mine, theirs) if maker is not None else None
    if maker is None or pair is None or not _is_rescaled(maker, *pair):
        return None
    made = _row_scales(maker, *pair)
    if maker.name == "DEPTHWISE_CONV_2D" and before is not None and before.size == made.size:
        made = made * before
    return made if _agree(made, measured) else None


def _weights(operator: Operator, mine: Weights, theirs: Weights) -> tuple[Array, Array] | None:
    """The weights of an operator in the reference and in the candidate."""
    name = operator.outputs[0].name
    if operator.name not in {*_MIXES, "DEPTHWISE_CONV_2D"} or len(theirs.get(name, ())) < 2:
        return None
    one, two = mine[name][1], theirs[name][1]
    if one is None or two is None or one.size != two.size:
        return None
    return one, two.reshape(one.shape)


def _row_scales(operator: Operator, one: Array, two: Array) -> Array:
    """By what the weights of each output channel are multiplied, by least squares."""
    import numpy as np

    axis = one.ndim - 1 if operator.name == "DEPTHWISE_CONV_2D" else 0
    rest = tuple(other for other in range(one.ndim) if other != axis)
    power = np.sum(one * one, axis=rest)
    ratio = np.sum(one * two, axis=rest) / np.maximum(power, 1e-300)
    return np.where((power > 0) & (ratio > 0), ratio, 1.0)


def _is_rescaled(operator: Operator, one: Array, two: Array) -> bool:
    """Whether weights are the reference's but for factors of rows and columns."""
    import numpy as np

    if operator.name == "DEPTHWISE_CONV_2D":
        fitted = one * _row_scales(operator, one, two)
    else:
        flat, other = one.reshape(one.shape[0], -1), two.reshape(one.shape[0], -1)
        columns = np.ones(flat.shape[1])
        for _ in range(5):
            rows = _least(other * columns * flat, np.square(flat * columns), axis=1)
            columns = _least(other * rows[:, None] * flat, np.square(flat * rows[:, None]), axis=0)
        fitted = (flat * rows[:, None] * columns).reshape(one.shape)
    error = float(np.sum(np.square(two - fitted)))
    return error <= _STRANGE * float(np.sum(two * two))


def _least(product: Array, power: Array, axis: int) -> Array:
    import numpy as np

    below = power.sum(axis=axis)
    return np.where(below > 0, product.sum(axis=axis) / np.maximum(below, 1e-300), 1.0)


def _agree(one: Array, two: Array) -> bool:
    import numpy as np

    return one.size == two.size and bool(np.median(np.abs(np.log(one / two))) <= _SAME)


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

    if lost(np.ones(channels)) <= _EXACT * float(np.sum(two * two)):
        return None  # the very same weights undo nothing
    columns: Array = 1 / measured
    for _ in range(10):
        scale = rows(columns)
        below = (scale * scale) @ power
        columns = np.where(below > 0, scale @ product / np.maximum(below, 1e-300), columns)
    if (columns <= 0).any() or lost(columns) > 0.25 * lost(np.ones(channels)):
        return None
    # Rows and columns share a constant that only the tensors themselves tell.
    return np.asarray(np.median(measured * columns) / columns)
