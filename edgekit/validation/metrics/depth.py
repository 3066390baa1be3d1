"""Depth maps: relative error and the share of places that are nearly right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.errors import DataError
from edgekit.validation.metrics.protocol import (
    Batch,
    MetricSummary,
    Rows,
    Score,
    Settings,
    same_shape,
)
from edgekit.validation.statistics import bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

DELTA = 1.25
_FAR = 0.01
"""Depths below this part of a map's largest count as not known: so does 0 in most data."""
_ROLES = ("agreement", "candidate", "reference", "candidate_aligned", "reference_aligned")


@dataclass(frozen=True, kw_only=True)
class DepthMetric:
    """Absolute relative error and δ < 1.25, against the reference and against labels.

    Labels are maps of the output's size; what is not positive in them is not known. Against labels
    there are the same figures ``_aligned``: each map times the median of label over depth, since
    many models know depths up to a factor only. Sources: D. Eigen, C. Puhrsch, R. Fergus, "Depth
    Map Prediction from a Single Image", 2014; T. Zhou et al., "Unsupervised Learning of Depth and
    Ego-Motion from Video", 2017, for the median.
    """

    def measure(self, batch: Batch) -> Rows:
        """Per sample: the mean relative error and the share within δ of each pair.

        Raises:
            DataError: a label of another size.
        """
        import numpy as np

        mine, theirs = (
            np.asarray(outputs[0], np.float64).reshape(len(batch.labels), -1)
            for outputs in (batch.reference, batch.candidate)
        )
        same_shape(mine, theirs)
        rows: dict[str, list[tuple[float, float]]] = {role: [] for role in _ROLES}
        for one, other, label in zip(mine, theirs, batch.labels, strict=True):
            rows["agreement"].append(_errors(one, other))
            truth = np.full(one.size, np.nan) if label is None else _flat(label, one.size)
            for role, got in (("candidate", other), ("reference", one)):
                rows[role].append(_errors(truth, got))
                rows[f"{role}_aligned"].append(_errors(truth, _aligned(truth, got)))
        known = np.array([label is not None for label in batch.labels], bool)
        positive = np.array([_known(one).mean() for one in mine])
        table = {role: np.array(pairs) for role, pairs in rows.items()}
        return {"labelled": known, "positive": positive} | table

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Means over the samples, and the reference's share minus the candidate's."""
        import numpy as np

        columns: list[tuple[str, Array]] = [
            ("absrel_to_reference", rows["agreement"][:, 0]),
            ("delta1_agreement", rows["agreement"][:, 1]),
        ]
        known = rows["labelled"].astype(bool)
        for end in ("", "_aligned") if known.any() else ():
            theirs, mine = (rows[f"{role}{end}"][known] for role in ("candidate", "reference"))
            columns += [
                (f"absrel{end}", theirs[:, 0]),
                (f"reference_absrel{end}", mine[:, 0]),
                (f"delta1{end}", theirs[:, 1]),
                (f"reference_delta1{end}", mine[:, 1]),
                (f"delta1{end}_drop", mine[:, 1] - theirs[:, 1]),
            ]
        missing = []
        if float(np.mean(rows["positive"])) < 0.5:
            missing.append("More than half of the reference's depths are not positive.")
        scores = tuple(
            _score(name, values[~np.isnan(values)], settings)
            for name, values in columns
            if not np.isnan(values).all()
        )
        return MetricSummary(scores=scores, missing=tuple(missing))


def _score(name: str, values: Array, settings: Settings) -> Score:
    interval = bootstrap(
        values, draws=settings.draws, confidence=settings.confidence, seed=settings.seed
    )
    return Score(name=name, value=float(values.mean()), interval=interval, samples=len(values))


def _flat(label: Any, size: int) -> Array:
    import numpy as np

    values = np.asarray(label, np.float64).ravel()
    if values.size != size:
        raise DataError(
            f"A label has {values.size} depths, the output {size}.",
            cure="Give maps of the output's size.",
        )
    return values


def _known(wanted: Array) -> Array:
    import numpy as np

    finite = np.isfinite(wanted)
    largest = float(wanted.max(initial=0.0, where=finite))
    known: Array = finite & (wanted > _FAR * largest)
    return known


def _errors(wanted: Array, got: Array) -> tuple[float, float]:
    """The mean of |got − wanted| / wanted, and the share within a factor of δ; NaN of nothing."""
    import numpy as np

    known = _known(wanted)
    if not known.any():
        return np.nan, np.nan
    one, other = wanted[known], got[known]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(other > 0, np.maximum(one / other, other / one), np.inf)
    return float(np.mean(abs(other - one) / one)), float(np.mean(ratio < DELTA))


def _aligned(wanted: Array, got: Array) -> Array:
    """Depths times the median of wanted over got."""
    import numpy as np

    known = _known(wanted) & (got > 0)
    if not known.any():
        return got
    scaled: Array = got * float(np.median(wanted[known] / got[known]))
    return scaled
