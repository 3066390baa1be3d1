"""What the minimum and maximum of every tensor on every sample tell about a calibration set.

All of it is arithmetic on one small array, the extremes, of shape (samples, tensors, 2), which the
one observation run writes down. Copies of a sample count once: they say nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.quantize.observe import Histogram
from edgekit.types import Ranges

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

FEWEST = 8
"""With fewer different samples no statement is made about what is usual among them."""
_LIVE = 1e-6
"""A tensor whose range is never wider than this was never used."""
_FAR_Z = 3.5
"""Of the modified z-score; the limit that Iglewicz and Hoaglin recommend."""
_FAR, _VERY_FAR = 1.5, 4.0
"""Times as wide as without the sample: 0.6 bits lost, and 2 bits. Of 128 photographs in
EfficientNet-Lite0, the widest is at most 1.2 times as wide as the next in any tensor."""
_SHARE = 0.1
"""So many tensors make a finding about the set; it may also be chance in fewer."""
_MOST_OUTLIERS = 0.1
"""If more samples than this share stand out, the set is wide, and none of them is an outlier."""
_OUTSIDE, _SHIFTED = 1.25, 2.0


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """A sample that alone widens ranges.

    Attributes:
        index: of the sample.
        tensors: the share of tensors that it widens, 0 to 1.
        factor: how many times as wide it makes the one that suffers most.
    """

    index: int
    tensors: float
    factor: float


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """How far other samples are from those of the calibration set.

    Attributes:
        outside: the share of pairs of a tensor and another sample whose range is more than 1.25
            times as wide as that of the whole calibration set.
        shifted: the share of tensors whose median range differs by more than a factor of two.
        ratio: median range of the others by that of the calibration set, median over tensors
            that are shifted (over all if none is).
        found: whether that is more than chance.
    """

    outside: float
    shifted: float
    ratio: float
    found: bool


def stacked(histograms: Mapping[str, Histogram]) -> Array:
    """The extremes of all tensors, of shape (samples, tensors, 2)."""
    import numpy as np

    return np.stack([np.asarray(one.extremes) for one in histograms.values()], axis=1)


def widths(extremes: Array) -> Array:
    """The range that int8 must cover for each sample and tensor; it always includes zero.

    Returns:
        Of shape (samples, tensors).
    """
    import numpy as np

    return np.asarray(np.maximum(extremes[..., 1], 0) - np.minimum(extremes[..., 0], 0))


def different(extremes: Array) -> tuple[Array, Array]:
    """The rows that are not copies, in their order, and for each sample the place of its row."""
    import numpy as np

    flat = extremes.reshape(len(extremes), -1)
    _, first, inverse = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return extremes[first[order]], np.argsort(order)[inverse.reshape(-1)]


def find_outliers(extremes: Array) -> list[Outlier]:
    """The samples that alone set the ranges of many tensors, or of one by far.

    In a tensor a sample stands out whose log-range has a modified z-score above 3.5 (0.6745 times
    the distance to the median, by the median absolute deviation; Iglewicz and Hoaglin, "How to
    Detect and Handle Outliers", 1993) and is 1.5 times as wide as the widest that does not stand
    out. Median and deviation are not moved by the outliers themselves, so several are found
    together.

    Args:
        extremes: of shape (samples, tensors, 2). A copy of an outlier is one too.
    """
    import numpy as np

    rows, place = different(extremes)
    wide = widths(rows)
    wide = wide[:, wide.max(axis=0) > _LIVE]
    if len(rows) < FEWEST or not wide.size:
        return []
    logs = np.log(np.maximum(wide, _LIVE))
    distance = logs - np.median(logs, axis=0)
    spread = np.maximum(np.median(np.abs(distance), axis=0), 1e-9)
    usual = 0.6745 * distance <= _FAR_Z * spread
    widest = np.where(usual, wide, 0).max(axis=0)
    factors = np.where(usual, 1.0, wide / np.maximum(widest, _LIVE))
    far = factors >= _FAR
    fewest = max(2, _SHARE * wide.shape[1])
    named = (far.sum(axis=1) >= fewest) | (factors.max(axis=1) >= _VERY_FAR)
    if named.sum() > max(1, _MOST_OUTLIERS * len(rows)):
        return []
    return [
        Outlier(
            index=int(index),
            tensors=float(far[row].mean()),
            factor=float(factors[row].max()),
        )
        for index, row in enumerate(place)
        if named[row]
    ]


def growth(extremes: Array, *, draws: int = 32, seed: int = 0) -> dict[int, float]:
    """How wide the ranges of n samples are, as a share of those of all.

    Args:
        extremes: of shape (samples, tensors, 2).
        draws: so many random orders of the samples are averaged.
        seed: of the orders.

    Returns:
        For the number of different samples, its half, quarter … down to 4: the mean over the
        tensors that differ from sample to sample (a RELU6 that is full on each says nothing).
    """
    import numpy as np

    rows, _ = different(extremes)
    wide = widths(rows)
    wide = wide[:, (wide.max(axis=0) > _LIVE) & (wide.max(axis=0) > wide.min(axis=0))]
    counts = halvings(len(rows))
    if not wide.size:
        return dict.fromkeys(counts, 1.0)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(rows)) for _ in range(draws)]
    whole = wide.max(axis=0)
    return {
        count: float(np.mean([wide[order[:count]].max(axis=0) / whole for order in orders]))
        for count in counts
    }


def halvings(count: int, fewest: int = 4) -> list[int]:
    """``count``, its half, its quarter … as long as they are not below ``fewest``; rising."""
    found = [count]
    while found[-1] // 2 >= fewest:
        found.append(found[-1] // 2)
    return found[::-1]


def ranges_of(histograms: Mapping[str, Histogram], rows: Array, chosen: Ranges) -> Ranges:
    """The ranges that would have come from some of the samples.

    Args:
        histograms: of all samples.
        rows: the indices of some.
        chosen: the ranges from all. Where they are narrower than the minimum and maximum, those
            of the part are narrowed by the same share: its histogram alone is not known.
    """
    found = {}
    for name, (low, high) in chosen.items():
        histogram = histograms[name]
        assert histogram.extremes is not None
        part = histogram.extremes[rows]
        found[name] = (
            float(part[:, 0].min()) * (low / histogram.low if histogram.low else 1.0),
            float(part[:, 1].max()) * (high / histogram.high if histogram.high else 1.0),
        )
    return found


def compare(calibration: Array, others: Array) -> Unlike:
    """Whether other samples look like those of the calibration set.

    Of n samples from one source, a further one is outside the range of the others with a chance of
    1/(n + 1) whatever the distribution is; so a tenth above that is no chance. Medians are compared
    only where there are eight samples of each.

    Args:
        calibration: extremes, of shape (samples, tensors, 2).
        others: the same of other samples.
    """
    import numpy as np

    rows, _ = different(calibration)
    wide, other = widths(rows), widths(others)
    live = np.maximum(wide.max(axis=0), other.max(axis=0)) > _LIVE
    if not live.any():
        return Unlike(outside=0.0, shifted=0.0, ratio=1.0, found=False)
    wide, other = np.maximum(wide[:, live], _LIVE), np.maximum(other[:, live], _LIVE)
    outside = float(np.mean(other > _OUTSIDE * wide.max(axis=0)))
    ratios = np.median(other, axis=0) / np.median(wide, axis=0)
    moved = np.abs(np.log2(ratios)) > np.log2(_SHIFTED)
    shifted = float(moved.mean())
    enough = min(len(wide), len(other)) >= FEWEST
    return Unlike(
        outside=outside,
        shifted=shifted,
        ratio=float(np.median(ratios[moved] if moved.any() else ratios)),
        found=outside > _SHARE + 1 / (len(wide) + 1) or (enough and shifted > _SHARE),
    )
