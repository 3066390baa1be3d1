"""Classification: accuracy, agreement, the flips between two models, calibration."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
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
from edgekit.validation.statistics import bootstrap, mcnemar, paired_drop, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

ECE_BINS = 15
TOP_FLIPS = 20
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class ClassificationMetric:
    """Top-1, top-5, agreement, flips and expected calibration error of a vector of scores.

    Outputs are (B, C), or (B, …) with one axis longer than 1; labels are class numbers. Scores are
    taken as probabilities where the reference's add up to 1, else they go through a softmax. A
    sample with a NaN among its scores decides for no class, and leaves the calibration error NaN.
    """

    def measure(self, batch: Batch) -> Rows:
        """Per sample: label, both decisions, both ranks, both confidences."""
        import numpy as np

        reference = _scores(batch.reference[0])
        candidate = _scores(batch.candidate[0])
        same_shape(reference, candidate)
        classes = reference.shape[1]
        labels = np.array([-1 if label is None else label for label in batch.labels], np.int64)
        if len(outside := labels[(labels >= classes) | (labels < -1)]):
            raise DataError(
                f"The label {outside[0]} is not a class of the model, which has {classes} scores.",
                cure="Give the class names in the order of the scores with --labels.",
            )
        first = _decide(reference)
        probable = (reference >= 0).all(1) & (abs(reference.sum(1) - 1) <= _SUM_TOLERANCE)
        return {
            "label": labels,
            "reference_class": first,
            "candidate_class": _decide(candidate),
            "reference_rank": _rank(reference, labels),
            "candidate_rank": _rank(candidate, labels),
            "agreement_rank": _rank(candidate, first),
            "reference_confidence": _confidence(reference, probable),
            "candidate_confidence": _confidence(candidate, probable),
        }

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Agreement over all samples, accuracy over those with a label."""
        agrees = (rows["reference_class"] == rows["candidate_class"]) & (
            rows["reference_class"] >= 0
        )
        scores = [
            _share("top1_agreement", agrees, settings),
            _share("top5_agreement", _within(rows["agreement_rank"], 5), settings),
        ]
        details: dict[str, Any] = {"flips": flips(rows)}
        known = rows["label"] >= 0
        if known.any():
            labelled = {name: column[known] for name, column in rows.items()}
            scores += _accuracies(labelled, settings)
            scores += [_ece(labelled, role, settings) for role in ("candidate", "reference")]
            mine, theirs = labelled["reference_rank"] == 0, labelled["candidate_rank"] == 0
            test = mcnemar(int((mine & ~theirs).sum()), int((theirs & ~mine).sum()))
            details["mcnemar"] = asdict(test)
        return MetricSummary(scores=tuple(scores), details=details)


@dataclass(frozen=True, kw_only=True)
class DecisionMetric:
    """Top-1 and agreement of an output that is the decision itself: a class number per sample."""

    def measure(self, batch: Batch) -> Rows:
        """Per sample: label and both decisions.

        Raises:
            DataError: there is not one number per sample.
        """
        import numpy as np

        count = len(batch.labels)
        if batch.reference[0].size != count:
            raise DataError(
                f"An output of the shape {batch.reference[0].shape[1:]} is not a class number.",
                cure="State the right task of this output (--task).",
            )
        same_shape(batch.reference[0], batch.candidate[0])
        mine, theirs = (
            np.rint(outputs[0]).reshape(count).astype(np.int64)
            for outputs in (batch.reference, batch.candidate)
        )
        labels = np.array([-1 if label is None else label for label in batch.labels], np.int64)
        return {"label": labels, "reference_class": mine, "candidate_class": theirs}

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Agreement over all samples, accuracy over those with a label."""
        label, mine, theirs = rows["label"], rows["reference_class"], rows["candidate_class"]
        scores = [_share("top1_agreement", mine == theirs, settings)]
        known = label >= 0
        if known.any():
            hits = (mine == label)[known], (theirs == label)[known]
            scores += _top(1, *hits, settings)
        return MetricSummary(scores=tuple(scores), details={"flips": flips(rows)})


def flips(rows: Rows) -> dict[str, Any]:
    """Which decisions changed: how often from which class to which, and whether for the better.

    The ``pairs`` come most frequent first, at most `TOP_FLIPS` of them.
    """
    label, mine, theirs = rows["label"], rows["reference_class"], rows["candidate_class"]
    changed = mine != theirs
    pairs = Counter(zip(mine[changed].tolist(), theirs[changed].tolist(), strict=True))
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    known = changed & (label >= 0)
    lost, won = known & (mine == label), known & (theirs == label)
    return {
        "count": int(changed.sum()),
        "right_to_wrong": int(lost.sum()),
        "wrong_to_right": int(won.sum()),
        "wrong_to_wrong": int((known & ~lost & ~won).sum()),
        "pairs": [
            {"reference": int(a), "candidate": int(b), "count": count}
            for (a, b), count in ordered[:TOP_FLIPS]
        ],
    }


def calibration_gaps(confidence: Array, hit: Array, bins: int = ECE_BINS) -> Array:
    """(n, bins): hit minus confidence in the bin that each confidence in [0, 1] falls into.

    The expected calibration error is the sum of the absolute column means. Bins are
    ((m - 1) / bins, m / bins]. Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration
    of Modern Neural Networks", 2017.
    """
    import numpy as np

    place = np.nan_to_num(np.ceil(confidence * bins) - 1).astype(int).clip(0, bins - 1)
    gaps = np.zeros((len(hit), bins))
    gaps[np.arange(len(hit)), place] = hit - confidence
    return gaps


def _accuracies(rows: Rows, settings: Settings) -> list[Score]:
    scores = []
    for k in (1, 5):
        theirs, mine = _within(rows["candidate_rank"], k), _within(rows["reference_rank"], k)
        scores += _top(k, mine, theirs, settings)
    return scores


def _top(k: int, mine: Array, theirs: Array, settings: Settings) -> list[Score]:
    """How often both are right, and the difference."""
    drop = paired_drop(
        mine, theirs, draws=settings.draws, confidence=settings.confidence, seed=settings.seed
    )
    return [
        _share(f"top{k}_accuracy", theirs, settings),
        _share(f"reference_top{k}_accuracy", mine, settings),
        Score(
            name=f"top{k}_drop",
            value=float(mine.mean() - theirs.mean()),
            interval=drop,
            samples=len(mine),
        ),
    ]


def _ece(rows: Rows, role: str, settings: Settings) -> Score:
    gaps = calibration_gaps(rows[f"{role}_confidence"], rows[f"{role}_rank"] == 0)
    return Score(
        name="ece" if role == "candidate" else "reference_ece",
        value=float(abs(gaps.mean(0)).sum()),
        interval=bootstrap(
            gaps,
            lambda means: abs(means).sum(axis=1),
            draws=settings.draws,
            confidence=settings.confidence,
            seed=settings.seed,
        ),
        samples=len(gaps),
    )


def _share(name: str, hits: Array, settings: Settings) -> Score:
    found = int(hits.sum())
    interval = wilson(found, len(hits), confidence=settings.confidence)
    return Score(name=name, value=found / len(hits), interval=interval, samples=len(hits))


def _within(rank: Array, k: int) -> Array:
    within: Array = (rank >= 0) & (rank < k)
    return within


def _scores(output: Array) -> Array:
    """(B, C) in double precision."""
    import numpy as np

    if output.ndim < 2 or max(output.shape[1:]) != int(np.prod(output.shape[1:])):
        raise DataError(
            f"An output of the shape {output.shape} is not a vector of scores per sample.",
            cure="State the right task of this output (--task).",
        )
    flat = output.reshape(len(output), -1).astype(np.float64)
    if flat.shape[1] < 2:
        raise DataError(
            "The output has one score per sample; a classification needs at least two.",
            cure="Use --task regression, or export the model with a score for each class.",
        )
    return flat


def _decide(scores: Array) -> Array:
    """The class with the highest score, the first of equal ones; -1 where a score is NaN."""
    import numpy as np

    return np.where(np.isnan(scores).any(1), -1, scores.argmax(1))


def _rank(scores: Array, classes: Array) -> Array:
    """How many classes come before the given one; -1 where it is not known or a score is NaN."""
    import numpy as np

    mine = np.take_along_axis(scores, classes.clip(0)[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < classes[:, None]
    rank = ((scores > mine) | ((scores == mine) & earlier)).sum(1)
    return np.where((classes < 0) | np.isnan(scores).any(1), -1, rank)


def _confidence(scores: Array, probable: Array) -> Array:
    """The probability of the decision, NaN where a score is NaN."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        softmax = 1 / np.exp(scores - scores.max(1, keepdims=True)).sum(1)
    return np.asarray(np.where(probable, scores.max(1).clip(0, 1), softmax))
