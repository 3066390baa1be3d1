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
from edgekit.quantize.observe import Histogram, Ranges

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Method: TypeAlias = Literal["auto", "minmax", "percentile", "mse", "entropy"]

_STEPS = 255
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
            f"--ranges {text!r} is no method.",
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
    import numpy as np

    best, chosen = np.inf, _minmax(histogram)
    lows, highs = _ends(histogram)
    # Both ends shrink together: a search over pairs gains nothing. The widest come last.
    for back in range(max(len(lows), len(highs))):
        low, high = (
            float(lows[max(-1 - back, -len(lows))]),
            float(highs[max(-1 - back, -len(highs))]),
        )
        divergence = _divergence(histogram, low, high)
        if divergence < best:
            best, chosen = divergence, (low, high)
    return chosen


def _divergence(histogram: Histogram, low: float, high: float) -> float:
    """KL(true ‖ quantized) of the histogram clipped to a range and merged into 256 levels."""
    import numpy as np

    values = np.clip(histogram.centres(), low, high)
    level = np.rint((values - low) / max((high - low) / _STEPS, 1e-12)).astype(int)
    true = histogram.counts
    inside = (histogram.centres() >= low) & (histogram.centres() <= high)
    mass = np.bincount(level, weights=true, minlength=_STEPS + 1)
    wide = np.bincount(level, weights=(true > 0) & inside, minlength=_STEPS + 1)
    spread = np.where((true > 0) & inside, mass[level] / np.maximum(wide[level], 1), 0)
    p, q = true / max(true.sum(), 1), spread / max(spread.sum(), 1)
    return float(np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-12) / np.maximum(q, 1e-9)), 0)))


def _ends(histogram: Histogram) -> tuple[Array, Array]:
    """Candidates for both ends; an end at zero (after RELU, say) stays where it is."""
    import numpy as np

    shares = np.linspace(0.3, 1.0, _SHRINKS)
    lows = histogram.low * shares if histogram.low < 0 else np.array([histogram.low])
    highs = histogram.high * shares if histogram.high > 0 else np.array([histogram.high])
    # Where all values have one sign, no end may pass the other.
    return lows[lows <= histogram.high], highs[highs >= histogram.low]
