"""Advice on calibration: which samples are odd, and what is done about them.

Everything rests on the extremes that the observation run writes down anyway
(`edgekit.quantize.extremes`). Whether the samples were enough is asked in
`edgekit.quantize.settling`. The codes are stable:

========================== ========================================================================
calibration-constant       at least half of the samples are of one single value or colour
calibration-identical      all samples are the same
calibration-outlier        samples that alone widen ranges; left out only where that measures better
calibration-unlike-parity  the samples to compare on look different
========================== ========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, DataError
from edgekit.quantize import extremes, ranges
from edgekit.quantize.judge import Judge
from edgekit.quantize.observe import (
    Histogram,
    SampleFeed,
    choose_samples,
    count_samples,
    observe,
    samples,
)
from edgekit.tflite.model import Model

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_BETTER_DB = 0.1
"""Leaving samples out must gain so much: what they show may well come again."""
_MOST_TO_COMPARE = 16


@dataclass(frozen=True, kw_only=True)
class CalibrationAdvice:
    """A finding about the calibration data.

    Attributes:
        code: a stable name, see the table above.
        message: a sentence; ``{samples}`` in it stands for the names of ``samples``.
        warning: whether the user should do something.
        samples: indices into the calibration samples.
        data: the figures behind the sentence.
    """

    code: str
    message: str
    warning: bool
    samples: tuple[int, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Screened:
    """The samples to go on with, what was observed on them, and what was found."""

    feeds: Sequence[SampleFeed]
    histograms: dict[str, Histogram]
    advice: tuple[CalibrationAdvice, ...] = ()

    @property
    def degenerate(self) -> bool:
        """Whether the samples say nothing, so that there is nothing to say about their number."""
        codes = {"calibration-constant", "calibration-identical"}
        return any(one.code in codes for one in self.advice)


def screen(
    model: Model,
    feeds: Sequence[SampleFeed],
    *,
    held_out: Callable[[Sequence[SampleFeed]], Sequence[SampleFeed]] | None,
    progress: Callable[[float, str], None],
) -> Screened:
    """Observe the calibration samples, name the odd ones, and leave them out where that helps.

    Args:
        model: the float model.
        feeds: the calibration samples.
        held_out: picks samples to judge by; ``None`` to leave nothing out.
        progress: told the fraction done.

    Raises:
        DataError: the samples lead to NaN or infinite values.
    """
    histograms = observe(model, feeds, progress=progress)
    advice = _degenerate(feeds, histograms)
    outliers = extremes.find_outliers(extremes.stacked(histograms))
    if not outliers:
        return Screened(feeds=feeds, histograms=histograms, advice=advice)
    found = Screened(
        feeds=feeds, histograms=histograms, advice=(*advice, _outlier_advice(outliers))
    )
    if held_out is None or count_samples(feeds) - len(outliers) < extremes.FEWEST:
        return found
    clean = without(feeds, [outlier.index for outlier in outliers])
    try:
        judge = Judge(model, held_out(clean))
        kept, gone = _with_and_without(model, judge, histograms, outliers)
    except ConversionError:
        return found
    better = gone > kept + _BETTER_DB
    advice = (*advice, _outlier_advice(outliers, kept, gone, better=better))
    if not better:
        return replace(found, advice=advice)
    histograms = observe(model, clean, progress=progress)
    return Screened(feeds=clean, histograms=histograms, advice=advice)


def _with_and_without(
    model: Model,
    judge: Judge,
    histograms: Mapping[str, Histogram],
    outliers: Sequence[extremes.Outlier],
) -> tuple[float, float]:
    """The SQNR in dB with minimum and maximum of all samples, and of all but the outliers."""
    import numpy as np

    whole = ranges.choose(histograms, "minmax")
    count = len(extremes.stacked(histograms))
    rows = np.setdiff1d(np.arange(count), [outlier.index for outlier in outliers])
    part = extremes.ranges_of(histograms, rows, whole)
    return judge.int8_db(model, whole), judge.int8_db(model, part)


def _outlier_advice(
    outliers: Sequence[extremes.Outlier],
    kept: float | None = None,
    gone: float | None = None,
    *,
    better: bool = False,
) -> CalibrationAdvice:
    worst = max(outlier.factor for outlier in outliers)
    tensors = max(outlier.tensors for outlier in outliers)
    does = "stands" if len(outliers) == 1 else "stand"
    message = (
        f"{{samples}} {does} out: up to {worst:.3g} times the range of all other samples, "
        f"in {tensors:.0%} of the tensors"
    )
    if kept is None or gone is None:
        message += ". Kept, since nothing was measured; look whether they belong to the data."
    elif better:
        message += (
            f". Left out of calibration: the other samples keep {gone:.1f} dB without and "
            f"{kept:.1f} dB with. Look whether the app will see such inputs; if so, give more."
        )
    else:
        message += (
            f". Kept: leaving out does not measure better ({gone:.1f} dB without, {kept:.1f} with)."
        )
    data: dict[str, Any] = {
        "factors": [round(outlier.factor, 3) for outlier in outliers],
        "tensors": [round(outlier.tensors, 3) for outlier in outliers],
        "left_out": better,
    }
    if kept is not None and gone is not None:
        data |= {"db_with": round(kept, 2), "db_without": round(gone, 2)}
    return CalibrationAdvice(
        code="calibration-outlier",
        message=message,
        warning=True,
        samples=tuple(outlier.index for outlier in outliers),
        data=data,
    )


def without(feeds: Sequence[SampleFeed], places: Sequence[int]) -> list[SampleFeed]:
    """The same feeds without some samples."""
    left = set(range(count_samples(feeds))) - set(places)
    return choose_samples(feeds, sorted(left))


def _degenerate(
    feeds: Sequence[SampleFeed], histograms: Mapping[str, Histogram]
) -> tuple[CalibrationAdvice, ...]:
    """Samples that say nothing."""
    count = count_samples(feeds)
    found = []
    constant = tuple(i for i, values in enumerate(samples(feeds)) if all(map(_constant, values)))
    if 2 * len(constant) >= count:
        found.append(
            CalibrationAdvice(
                code="calibration-constant",
                message=f"{len(constant)} of {count} calibration samples are of one single colour "
                "({samples}): their ranges are not those of real inputs, and the int8 file will be "
                "wrong on them. Calibrate with inputs that the app will really see.",
                warning=True,
                samples=constant,
                data={"constant": len(constant), "samples": count},
            )
        )
    if count > 1 and len(extremes.different(extremes.stacked(histograms))[0]) == 1:
        found.append(
            CalibrationAdvice(
                code="calibration-identical",
                message=f"All {count} calibration samples are the same: ranges come from a single "
                "one. Calibrate with inputs that differ as those of the app will.",
                warning=True,
                data={"samples": count},
            )
        )
    return tuple(found)


def _constant(value: Array) -> bool:
    """Whether an input is one value, or a picture has one value per channel."""
    import numpy as np

    if value.size < 2 or value.dtype.kind not in "fiu":
        return value.size < 2
    if value.ndim < 4:
        return bool((value == value.flat[0]).all())
    channels = value.ndim - 1 if value.shape[-1] <= value.shape[1] else 1
    flat = np.moveaxis(value, channels, 0).reshape(value.shape[channels], -1)
    return bool((flat == flat[:, :1]).all())


def unlike(
    model: Model, histograms: Mapping[str, Histogram], parity: Sequence[SampleFeed]
) -> tuple[CalibrationAdvice, ...]:
    """A warning if the samples to compare on look different from those to calibrate with.

    Args:
        model: the float model that was observed.
        histograms: of the calibration samples in it.
        parity: the samples to compare on; at most 16 of them are run, and nothing is made of
            them but this advice.
    """
    few = choose_samples(parity, range(min(_MOST_TO_COMPARE, count_samples(parity))))
    try:
        seen = observe(model, few, bins=16, progress=lambda *_: None)
    except DataError:  # NaN or infinite values: the comparison itself will tell
        return ()
    result = extremes.compare(extremes.stacked(histograms), extremes.stacked(seen))
    if not result.found:
        return ()
    if result.outside > result.shifted:
        said = f"in {result.outside:.0%} of all cases their values reach far outside the ranges"
    else:
        said = (
            f"in {result.shifted:.0%} of the tensors their typical range is {result.ratio:.2g} "
            "times that of calibration"
        )
    return (
        CalibrationAdvice(
            code="calibration-unlike-parity",
            message=f"The samples to compare on do not look like those of calibration: {said}. "
            "Take both from what the app will see, with the same preprocessing.",
            warning=True,
            data={
                "outside": round(result.outside, 4),
                "shifted": round(result.shifted, 4),
                "ratio": round(result.ratio, 4),
            },
        ),
    )
