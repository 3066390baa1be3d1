"""Advice on calibration: were the samples enough, or would more have helped?

========================== ========================================================================
calibration-few            too few samples to say anything
calibration-settled        more samples would not have helped
calibration-not-settled    more samples would help
calibration-fewer-better   half of the samples measure better than all
========================== ========================================================================
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import ConversionError
from edgekit.quantize import extremes
from edgekit.quantize.advice import CalibrationAdvice
from edgekit.quantize.judge import Judge
from edgekit.quantize.observe import Histogram
from edgekit.tflite.model import Model
from edgekit.types import Ranges

_GAIN_DB = _LOSS_DB = 0.5
"""What the last doubling of samples must add or cost to be worth a warning. Less is chance: from 24
held-out photographs and another draw of the samples, differences of 0.4 dB come and go."""
_GROWTH = 0.05
"""Ranges that the last doubling of samples widens by more than this had not settled."""


def settling(
    histograms: Mapping[str, Histogram],
    *,
    model: Model,
    chosen: Ranges,
    judge: Judge | None,
    learned: int,
    held: Sequence[int],
) -> CalibrationAdvice:
    """Whether more samples would have helped.

    With a judge the SQNR on held-out samples is measured with the ranges of a quarter, a half and
    all of the other samples. Without one, the growth of the ranges is all there is.

    Args:
        histograms: of the calibration samples in the prepared model.
        model: the prepared float model.
        chosen: its ranges.
        judge: measures on the held-out samples.
        learned: from how many the passes have learned.
        held: the places of the held-out samples.
    """
    array = extremes.stacked(histograms)
    count = len(extremes.different(array)[0])
    if count < extremes.FEWEST:
        return CalibrationAdvice(
            code="calibration-few",
            message=f"{count} different calibration samples are too few to tell whether their "
            "ranges are those of the app's inputs. Give 100.",
            warning=True,
            data={"samples": count},
        )
    grown = extremes.growth(array)
    data: dict[str, Any] = {"range_share": {n: round(share, 4) for n, share in grown.items()}}
    if judge is None:
        return _settled_by_growth(grown, data)
    try:
        curve = _curve(histograms, model, chosen, judge, held)
    except ConversionError:
        return _settled_by_growth(grown, data)
    if len(curve) < 2:
        return _settled_by_growth(grown, data)
    return _settled_by_curve(curve, data, len(array), more=learned < len(array) - len(held))


def _curve(
    histograms: Mapping[str, Histogram],
    model: Model,
    chosen: Ranges,
    judge: Judge,
    held: Sequence[int],
) -> dict[int, float]:
    """SQNR in dB by number of samples, none of them held out; each set contains the one before."""
    import numpy as np

    count = len(extremes.stacked(histograms))
    order = np.random.default_rng(0).permutation(np.setdiff1d(np.arange(count), held))
    return {
        count: judge.int8_db(model, extremes.ranges_of(histograms, order[:count], chosen))
        for count in extremes.halvings(len(order))[-3:]
    }


def _settled_by_growth(grown: Mapping[int, float], data: dict[str, Any]) -> CalibrationAdvice:
    half, whole = sorted(grown)[-2:]
    wider = 1 / grown[half] - 1
    said = f"the last doubling, from {half} to {whole}, widened them by {wider:.0%}"
    if wider > _GROWTH:
        return CalibrationAdvice(
            code="calibration-not-settled",
            message=f"The activation ranges were still growing: {said}. "
            f"Give more than {whole} samples.",
            warning=True,
            data=data,
        )
    return CalibrationAdvice(
        code="calibration-settled",
        message=f"The activation ranges were stable with {whole} samples: {said}.",
        warning=False,
        data=data,
    )


def _settled_by_curve(
    curve: Mapping[int, float], data: dict[str, Any], given: int, *, more: bool
) -> CalibrationAdvice:
    """``more`` tells whether there were more samples than the passes learn from."""
    data = {**data, "db": {count: round(value, 2) for count, value in curve.items()}}
    counts = sorted(curve)
    half, whole = counts[-2:]
    gains = [curve[more] - curve[fewer] for fewer, more in itertools.pairwise(counts)]
    measured = f"{half} give {curve[half]:.1f} dB, {whole} give {curve[whole]:.1f} dB"
    if gains[-1] < -_LOSS_DB:
        return CalibrationAdvice(
            code="calibration-fewer-better",
            message=f"Fewer samples measure better: {measured}. Some widen the ranges for the "
            "others; look for odd ones, or try --ranges mse.",
            warning=True,
            data=data,
        )
    if gains[-1] > _GAIN_DB:
        steady = min(gains) > _GAIN_DB
        said = (
            f"each doubling of samples still adds {min(gains):.1f} dB"
            if steady and len(gains) > 1
            else f"the last doubling added {gains[-1]:.1f} dB"
        )
        return CalibrationAdvice(
            code="calibration-not-settled",
            message=f"The activation ranges were still growing: {measured}; {said}. "
            f"Give more than {given}.",
            warning=True,
            data=data,
        )
    return CalibrationAdvice(
        code="calibration-settled",
        message=f"{whole} samples were enough ({measured} on the held-out ones)."
        if more
        else f"The activation ranges were stable with {whole} samples ({measured} on the held-out "
        "ones); the passes that learn would take more.",
        warning=False,
        data=data,
    )
