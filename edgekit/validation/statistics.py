"""How sure a figure is: intervals and tests for what was measured on a sample of the data.

A reference and a candidate see the same samples, so their difference is judged in pairs: what makes
a sample hard for both cancels out. Everything is deterministic by its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

Statistic: TypeAlias = "Callable[[Array], Array]"
"""Column means (draws, k) to a figure for each draw (draws,)."""

DRAWS = 10_000
CONFIDENCE = 0.95
FEW_DISCORDANT = 25
"""Below so many discordant pairs McNemar's test is exact, and the bootstrap has too little to draw
from: without a single one it would say that the drop is zero for certain."""

_EXACT_UP_TO = 2_000
_CHUNK = 1_000_000
_FEW_VALUES = 64
# Poisson(1) in 256 parts, so that a random byte gives a count. Its mean and its variance are 1
# exactly, its third moment 4.98 instead of 5.
_POISSON_IN_256 = bytes(
    count for count, parts in enumerate((94, 95, 46, 16, 4, 1)) for _ in range(parts)
)


# ------------------------------------------------------------------------- proportions


def wilson(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Interval | None:
    """The score interval of a proportion; ``None`` for fewer than two samples.

    Unlike the bootstrap it does not claim certainty where every sample is a success. Source: E. B.
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    if n < 2:
        return None
    z = _z(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(
        low=0.0 if successes == 0 else max(0.0, centre - half),
        high=1.0 if successes == n else min(1.0, centre + half),
        confidence=confidence,
        method="Wilson",
    )


def paired_drop(
    reference: Array,
    candidate: Array,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval | None:
    """The interval of mean(reference) − mean(candidate) for hits (0 or 1) on the same n samples.

    The paired bootstrap, or with fewer than `FEW_DISCORDANT` discordant pairs the adjusted Wald
    interval of D. G. Bonett and R. M. Price, "Adjusted Wald Confidence Interval for a Difference of
    Binomial Proportions Based on Paired Data", 2012. ``None`` for fewer than two samples.
    """
    import numpy as np

    n = len(reference)
    if n < 2:
        return None
    difference = np.asarray(reference, np.float64) - np.asarray(candidate, np.float64)
    lost, won = int((difference > 0).sum()), int((difference < 0).sum())
    if lost + won >= FEW_DISCORDANT:
        return bootstrap(difference, draws=draws, confidence=confidence, seed=seed)
    p_lost, p_won = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    middle = p_lost - p_won
    half = _z(confidence) * math.sqrt((p_lost + p_won - middle * middle) / (n + 2))
    return Interval(
        low=max(-1.0, middle - half),
        high=min(1.0, middle + half),
        confidence=confidence,
        method="Bonett-Price",
    )


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Whether two classifiers err equally often on the same samples.

    Attributes:
        only_reference: samples that only the reference had right.
        only_candidate: samples that only the candidate had right.
        p_value: how likely so uneven a split is if both err equally often.
        exact: by the binomial distribution instead of the chi-square approximation.
    """

    only_reference: int
    only_candidate: int
    p_value: float
    exact: bool


def mcnemar(only_reference: int, only_candidate: int) -> McNemar:
    """McNemar's test on the discordant pairs of two classifiers.

    Exact for fewer than `FEW_DISCORDANT` pairs, else chi-square with one degree of freedom and
    Edwards' continuity correction. Sources: Q. McNemar, "Note on the Sampling Error of the
    Difference Between Correlated Proportions or Percentages", 1947; A. L. Edwards, 1948.
    """
    n = only_reference + only_candidate
    exact = n < FEW_DISCORDANT
    if exact:
        tail = sum(math.comb(n, k) for k in range(min(only_reference, only_candidate) + 1))
        p_value = min(1.0, 2 * tail / 2**n)
    else:
        distance = max(0, abs(only_reference - only_candidate) - 1)
        p_value = math.erfc(math.sqrt(distance * distance / n / 2))
    return McNemar(
        only_reference=only_reference,
        only_candidate=only_candidate,
        p_value=p_value,
        exact=exact,
    )


# ------------------------------------------------------------------------- the bootstrap


def bootstrap(
    values: Array,
    statistic: Statistic | None = None,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval | None:
    """The percentile interval of a function of means over samples, by the bootstrap.

    For a paired difference, give the columns of both models in one array: each draw takes the same
    samples of both. Source: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", 1993.

    Args:
        values: (n,) or (n, k), a row per sample.
        statistic: column means (draws, k) to figures (draws,); the first column itself by default.
        draws: how many times the samples are drawn anew.
        confidence: of the interval.
        seed: decides the draws; equal seeds draw the same samples.

    Returns:
        ``None`` for fewer than two samples, or where a value is not finite.
    """
    import numpy as np

    table = np.asarray(values, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if len(table) < 2 or not np.isfinite(table).all():
        return None
    figure = statistic or (lambda means: means[:, 0])
    point = float(figure(table.mean(axis=0, keepdims=True))[0])
    drawn = figure(resampled_means(table, draws=draws, seed=seed))
    return percentile_interval(drawn, point, confidence=confidence)


def percentile_interval(
    drawn: Array, point: float, *, confidence: float = CONFIDENCE
) -> Interval | None:
    """The middle ``confidence`` of the bootstrap's figures, widened where it misses the point.

    A biased figure, such as a calibration error, can lie beside all of its draws; an interval that
    does not hold the figure that it belongs to would only confuse. Draws where the figure does not
    exist (NaN) are left out; ``None`` if there are no others, or if the point itself is none.
    """
    import numpy as np

    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or not math.isfinite(point):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(
        low=min(float(low), point),
        high=max(float(high), point),
        confidence=confidence,
        method="paired bootstrap",
    )


def resampled_means(values: Array, *, draws: int = DRAWS, seed: int = 0) -> Array:
    """Column means (draws, k) of an array (n, k) whose rows were drawn anew, with replacement.

    Takes a few megabytes beside the values, whatever n is.
    """
    import numpy as np

    n, columns = values.shape
    if columns == 1:
        distinct, often = np.unique(values[:, 0], return_counts=True)
        if len(distinct) <= _FEW_VALUES:  # -1, 0 and 1: how often each is drawn is multinomial
            counts = np.random.default_rng(seed).multinomial(n, often / n, size=draws)
            return np.asarray((counts @ distinct / n)[:, None])
    # Means are subtracted first, so that single precision is spent on what varies; but not where
    # zeros are, since a draw of nothing but zeros must give zero (a class that is in no picture).
    centre = np.where((values == 0).any(axis=0), 0.0, values.mean(axis=0))
    table = np.ones((n, columns + 1), np.float32)
    table[:, :columns] = values - centre
    sums = np.concatenate([weights @ table for weights in resamples(n, draws=draws, seed=seed)])
    return np.asarray(sums[:, :columns].astype(np.float64) / sums[:, columns:] + centre)


def resamples(n: int, *, draws: int = DRAWS, seed: int = 0) -> Iterator[Array]:
    """How often each of n samples is in each draw: float32 arrays (some draws, n), one at a time.

    Multinomial up to 2,000 samples. Beyond that each count is Poisson(1) by itself, which is twenty
    times as fast and gives the same intervals when figures are divided by the sum of the weights.
    Source: J. A. Hanley and B. MacGibbon, "Creating Non-parametric Bootstrap Samples Using Poisson
    Frequencies", 2006.
    """
    import numpy as np

    rng = np.random.Generator(np.random.SFC64(seed))
    step = max(1, min(draws, _CHUNK // n))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        if n <= _EXACT_UP_TO:
            picks = rng.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
            counts = np.bincount(picks.ravel(), minlength=size * n)
        else:
            words = rng.integers(0, 2**64, size=-(-size * n // 8), dtype=np.uint64)
            drawn = words.tobytes()[: size * n].translate(_POISSON_IN_256)
            counts = np.frombuffer(drawn, np.uint8)
        yield counts.reshape(size, n).astype(np.float32)


# ------------------------------------------------------------------------- in words


def with_margin(point: float, interval: Interval | None, *, percent: bool = False) -> str:
    """``0.4 % ± 0.3 %``, or the bare figure where there is no interval."""
    factor, unit = (100, " %") if percent else (1, "")
    digits = 1 if percent else 3
    text = f"{point * factor:.{digits}f}{unit}"
    if interval is None:
        return text
    return f"{text} ± {interval.margin(point) * factor:.{digits}f}{unit}"


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
