"""How one tensor relates to another that it should be equal to: turned, reversed, affine."""

from __future__ import annotations

import math
from itertools import permutations
from typing import TYPE_CHECKING, Any

from edgekit.closeness import sqnr_db
from edgekit.validation.explain.split import energy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_FEWEST_VALUES = 8
"""A channel is called constant only where it was seen so often."""
CLEAR_DB = 10.0
"""A way of looking at a tensor explains a difference if it gains at least so much."""


def db(reference: Array, candidate: Array) -> float:
    """The SQNR of one array, in decibels."""
    return sqnr_db(energy(reference), energy(candidate - reference))


def turned(reference: Array, candidate: Array) -> tuple[int, ...] | None:
    """The order of axes in which the reference equals the candidate, ``None`` for its own.

    Axis 0 is the samples' and stays. The turned tensor may have another shape: its values are then
    laid into the candidate's, as a wrong RESHAPE does.
    """
    if reference.size != candidate.size or not 2 < reference.ndim <= 6:
        return None
    identity = tuple(range(1, reference.ndim))
    as_it_is = db(reference.reshape(candidate.shape), candidate)
    best = max(
        (
            (db(reference.transpose(0, *order).reshape(candidate.shape), candidate), order)
            for order in permutations(identity)
            if order != identity and _moves(reference, order)
        ),
        default=(-math.inf, identity),
    )
    return (0, *best[1]) if best[0] >= max(as_it_is, 0.0) + CLEAR_DB else None


def _moves(reference: Array, order: tuple[int, ...]) -> bool:
    """Whether the order changes more than where axes of length 1 stand."""
    long = [axis for axis in order if reference.shape[axis] > 1]
    return long != sorted(long)


def reversed_channels(reference: Array, candidate: Array, axis: int = -1) -> bool:
    """Whether the candidate's channels come in the opposite order."""
    import numpy as np

    if reference.shape != candidate.shape or reference.shape[axis] < 2:
        return False
    flipped = db(np.flip(reference, axis), candidate)
    return flipped >= max(db(reference, candidate), 0.0) + CLEAR_DB


def at_the_border(reference: Array, candidate: Array, width: int = 1) -> bool:
    """Whether two NHWC tensors differ in the outermost rows and columns, and hardly elsewhere."""
    if reference.ndim != 4 or reference.shape != candidate.shape:
        return False
    if min(reference.shape[1:3]) < 4 * width:
        return False
    inside = (slice(None), slice(width, -width), slice(width, -width))
    return db(reference[inside], candidate[inside]) >= db(reference, candidate) + CLEAR_DB


def affine(reference: Array, candidate: Array, axis: int = -1) -> tuple[Array, Array] | None:
    """``candidate = a · reference + b`` per channel by least squares; ``None`` if it is not so."""
    import numpy as np

    if reference.shape != candidate.shape:
        return None
    one = np.moveaxis(reference, axis, -1).reshape(-1, reference.shape[axis])
    two = np.moveaxis(candidate, axis, -1).reshape(-1, reference.shape[axis])
    centred = one - one.mean(axis=0)
    power = np.sum(centred * centred, axis=0)
    gain = np.where(power > 0, np.sum(centred * two, axis=0) / np.maximum(power, 1e-300), 1.0)
    offset = two.mean(axis=0) - gain * one.mean(axis=0)
    explained = db(two, gain * one + offset)
    return (gain, offset) if explained >= max(db(one, two), 10.0) + CLEAR_DB else None


def activation(reference: Array, candidate: Array) -> str:
    """Which clamp makes the candidate equal the reference (or the other way round), or nothing."""
    import numpy as np

    clamps = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
    if reference.shape != candidate.shape:
        return ""
    as_it_is = max(db(reference, candidate), 0.0)
    for name, (low, high) in clamps.items():
        if db(reference, np.clip(candidate, low, high)) >= as_it_is + CLEAR_DB:
            return f"{name} is missing"
        if db(np.clip(reference, low, high), candidate) >= as_it_is + CLEAR_DB:
            return f"{name} is one too many"
    return ""


def lost_channels(reference: Array, candidate: Array) -> tuple[int, float]:
    """Constant channels (last axis) that vary in the reference, and their share of the error."""
    import numpy as np

    if reference.shape != candidate.shape or reference.ndim < 2:
        return 0, 0.0
    one = reference.reshape(-1, reference.shape[-1])
    two = candidate.reshape(-1, reference.shape[-1])
    if len(one) < _FEWEST_VALUES:
        return 0, 0.0
    error = np.sum(np.square(one - two), axis=0)
    dead = (np.ptp(two, axis=0) == 0) & (np.ptp(one, axis=0) > 0)
    return int(dead.sum()), float(error[dead].sum() / (error.sum() or 1.0))
