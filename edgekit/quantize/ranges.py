"""Choosing, for each activation, which range of values the 256 steps of int8 shall cover.

A wide range clips nothing and has large steps, a narrow one has small steps and clips the rest.

========== =========================================================================================
minmax     clips nothing of the calibration set (Jacob et al., CVPR 2018)
percentile clips what lies outside the given percentile, at both ends
mse        the range with the least squared error over the histogram, rounding and clipping together
entropy    the range whose quantized histogram tells least apart from the true one
           (Kullback-Leibler; Migacz, "8-bit Inference with TensorRT", GTC 2017)
========== =========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from edgekit.errors import UsageError
from edgekit.quantize.observe import Histogram
from edgekit.tflite.model import Model
from edgekit.types import Ranges

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Method: TypeAlias = Literal["auto", "minmax", "percentile", "mse", "entropy"]

_STEPS = 255
_HARD_SWISH_ZERO = -3.0
_SHRINKS = 29
"""How many widths are tried at each end, from 30 % of the observed range to all of it."""


def parse_method(text: str) -> tuple[Method, float]:
    """``auto``, ``minmax``, ``mse``, ``entropy`` or ``percentile:99.99``.

    Returns:
        The method, and the percentile (99.99 where it does not apply).

    Raises:
        UsageError: another text.
    """
    name, colon, number = text.partition(":")
    try:
        percentile = float(number) if colon else 99.99
    except ValueError:
        percentile = -1.0
    known = ("auto", "minmax", "percentile", "mse", "entropy")
    if name not in known or (colon and name != "percentile") or not 50 < percentile <= 100:
        raise UsageError(
            f"--ranges {text!r} is not a method.",
            cure="One of auto, minmax, mse, entropy, percentile:99.99",
        )
    return cast(Method, name), percentile


def choose(
    histograms: Mapping[str, Histogram], method: Method, percentile: float = 99.99
) -> Ranges:
    """The range of every tensor by one method (``auto`` is decided by measuring, elsewhere)."""
    pick = {
        "minmax": _minmax,
        "percentile": lambda histogram: _percentile(histogram, percentile),
        "mse": _least_squares,
        "entropy": _least_divergence,
    }[method]
    return {name: pick(histogram) for name, histogram in histograms.items()}


def without_ignored(limits: Ranges, model: Model) -> Ranges:
    """The ranges without what all readers of a tensor map to the same value.

    HARD_SWISH makes zero of everything below −3, so steps that cover values down there are lost.
    Tensors with other readers too, and outputs of the model, keep their ranges.
    """
    graph = model.main
    kept = {tensor.index for tensor in graph.outputs}
    ignored: set[str] = set()
    for operator in graph.operators:
        for tensor in operator.inputs:
            if tensor is None or tensor.index in kept:
                continue
            if operator.name == "HARD_SWISH":
                ignored.add(tensor.name)
            else:
                kept.add(tensor.index)
    kept_names = {tensor.name for tensor in graph.tensors if tensor.index in kept}
    return {
        name: (max(low, _HARD_SWISH_ZERO), high)
        if name in ignored - kept_names and high > _HARD_SWISH_ZERO
        else (low, high)
        for name, (low, high) in limits.items()
    }


def stated(model: Model) -> Ranges:
    """The ranges that the file states, such as 0…255 of raw pixels: they are not up to choice."""
    found = ((tensor.name, tensor.stated_range) for tensor in model.main.tensors)
    return {name: limits for name, limits in found if limits is not None}


def _minmax(histogram: Histogram) -> tuple[float, float]:
    return histogram.low, histogram.high


def _percentile(histogram: Histogram, percentile: float) -> tuple[float, float]:
    import numpy as np

    share = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    outside = 1 - percentile / 100
    step = (histogram.high - histogram.low) / len(histogram.counts)
    low = histogram.low + step * int(np.searchsorted(share, outside, side="right"))
    high = histogram.low + step * (int(np.searchsorted(share, 1 - outside)) + 1)
    # Where most values are the same (zeros after RELU) both ends may fall together.
    return (low, min(high, histogram.high)) if high > low else _minmax(histogram)


def _least_squares(histogram: Histogram) -> tuple[float, float]:
    """Least E[(x − q(x))²]: step²/12 for what is inside, the squared distance for what is not."""
    import numpy as np

    lows, highs = _ends(histogram)
    values, counts = histogram.centres(), histogram.counts
    # Error of clipping at each candidate end alone; the two ends do not touch each other.
    below = np.array([np.sum(counts * np.minimum(values - end, 0) ** 2) for end in lows])
    above = np.array([np.sum(counts * np.maximum(values - end, 0) ** 2) for end in highs])
    steps = (np.maximum(highs, 0)[None] - np.minimum(lows, 0)[:, None]) / _STEPS
    error = below[:, None] + above[None] + counts.sum() * steps**2 / 12
    low, high = np.unravel_index(int(error.argmin()), error.shape)
    return float(lows[low]), float(highs[high])


def _least_divergence(histogram: Histogram) -> tuple[float, float]:
    """One threshold for both ends, as in TensorRT: the end nearer to zero is cut later."""
    import numpy as np

    best, chosen = np.inf, _minmax(histogram)
    farthest = max(-histogram.low, histogram.high)
    for threshold in farthest * np.linspace(1.0, 0.3, _SHRINKS):
        low, high = max(histogram.low, -threshold), min(histogram.high, threshold)
        divergence = _divergence(histogram, low, high) if low < high else np.inf
        if divergence < best:
            best, chosen = divergence, (float(low), float(high))
    return chosen


def _divergence(histogram: Histogram, low: float, high: float) -> float:
    """KL(true ‖ quantized) of the histogram clipped to a range and merged into 256 levels.

    What is clipped lies in the edge bins of the true distribution, where clipping puts it, but not
    in those of the quantized one: so it costs the more, the less there was at the edge before.
    """
    import numpy as np

    centres, counts = histogram.centres(), _without_zeros(histogram)
    inside = np.flatnonzero((centres >= low) & (centres <= high))
    if not len(inside):
        return float("inf")
    first, end = int(inside[0]), int(inside[-1]) + 1
    kept, true = counts[first:end], counts[first:end].copy()
    true[0] += counts[:first].sum()
    true[-1] += counts[end:].sum()
    step = max((high - low) / _STEPS, 1e-12)
    level = np.rint((centres[first:end] - low) / step).astype(int)
    mass = np.bincount(level, weights=kept, minlength=_STEPS + 1)
    wide = np.bincount(level, weights=kept > 0, minlength=_STEPS + 1)
    spread = np.where(kept > 0, mass[level] / np.maximum(wide[level], 1), 0)
    p, q = true / max(true.sum(), 1), spread / max(spread.sum(), 1)
    return float(np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-12) / np.maximum(q, 1e-9)), 0)))


def _without_zeros(histogram: Histogram) -> Array:
    """The counts, and in the bin that holds zero no more than beside it.

    int8 stores zero exactly, in any range. If the many zeros that RELU makes took part, merging
    their bin with others would seem a loss, and the range with the fewest bins per level would
    win.
    """
    counts = histogram.counts.copy()
    if histogram.low <= 0 <= histogram.high and histogram.low < histogram.high:
        share = -histogram.low / (histogram.high - histogram.low)
        place = min(int(share * len(counts)), len(counts) - 1)
        beside = counts[max(place - 1, 0) : place + 2].copy()
        beside[min(place, 1)] = 0
        counts[place] = min(counts[place], beside.max())
    return counts


def _ends(histogram: Histogram) -> tuple[Array, Array]:
    """Candidates for both ends; an end at zero (after RELU, say) stays where it is."""
    import numpy as np

    shares = np.linspace(0.3, 1.0, _SHRINKS)
    lows = histogram.low * shares if histogram.low < 0 else np.array([histogram.low])
    highs = histogram.high * shares if histogram.high > 0 else np.array([histogram.high])
    # Where all values have one sign, no end may pass the other.
    return lows[lows <= histogram.high], highs[highs >= histogram.low]
