"""Detection: COCO mean average precision, of both models and of one against the other.

pycocotools matches detections with objects, picture by picture. Its matches are the rows; from them
the precision over all pictures is summed up here as pycocotools does it, but with a weight for each
picture, which makes the bootstrap over pictures affordable.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit.contract import Decoder
from edgekit.errors import SetupError
from edgekit.validation.metrics.boxes import Boxes, Detections
from edgekit.validation.metrics.decode import decode
from edgekit.validation.metrics.protocol import (
    Batch,
    MetricSummary,
    Rows,
    Score,
    Settings,
    join,
    owner,
)
from edgekit.validation.statistics import percentile_interval, resamples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

Role: TypeAlias = Literal["candidate", "reference", "agreement"]
ROLES: tuple[Role, ...] = ("candidate", "reference", "agreement")
THRESHOLDS = 10
"""IoU 0.50, 0.55 … 0.95."""
MAP_DRAWS = 500
CONFIDENT = 0.25
"""From this score on a detection of the reference counts as an object where labels are missing."""


@dataclass(frozen=True, kw_only=True)
class DetectionMetric:
    """map_50_95 and map_50 against labels, and against the reference's confident detections.

    Labels are `Boxes` in pixels of the model's input (`decode.boxes_to_input`).

    Attributes:
        names: of the model's outputs, in the contract's order.
        main: the output that the decoder was stated for.
        decoder: how outputs become boxes.
        size: height and width of the model's input.
        anchors: for ``ssd`` with anchors, see `decode.decode`.
    """

    names: tuple[str, ...]
    main: str
    decoder: Decoder
    size: tuple[int, int]
    anchors: Array | None = None

    def measure(self, batch: Batch) -> Rows:
        """Each detection with its class, score and the thresholds at which it found an object.

        Raises:
            DataError: outputs that are not of the decoder's format.
            SetupError: pycocotools is not installed.
        """
        parts: list[Rows] = []
        for place, label in enumerate(batch.labels):
            reference = self._detections(batch.reference, place)
            candidate = self._detections(batch.candidate, place)
            truth = label if label is not None else _nothing()
            found = {"labelled": _column([label is not None])}
            for role, detections, objects in (
                ("candidate", candidate, truth),
                ("reference", reference, truth),
                ("agreement", candidate, _as_objects(reference)),
            ):
                matched = match(detections, objects)
                found |= {f"{role}_{name}": column for name, column in matched.items()}
            parts.append(found)
        return join(parts)

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Average precision with intervals over pictures (at most `MAP_DRAWS` draws)."""
        labelled = rows["labelled"].astype(bool)
        scores = _agreement(rows, settings)
        details: dict[str, Any] = {}
        if labelled.any():
            scores += _against_labels(rows, labelled, settings)
            for role in ("candidate", "reference"):
                details[f"{role}_ap_by_class"] = by_class(rows, role, labelled)
        return MetricSummary(scores=tuple(scores), details=details)

    def _detections(self, outputs: Any, place: int) -> Detections:
        named = {name: output[place] for name, output in zip(self.names, outputs, strict=True)}
        found = decode(named, self.main, self.decoder, self.size, anchors=self.anchors)
        return found.with_area()


def match(detections: Detections, objects: Boxes) -> Rows:
    """What pycocotools finds for one picture: rows as of `DetectionMetric`, for one role.

    ``hit`` and ``ignored`` hold a bit per IoU threshold, the lowest for 0.50.
    """
    import numpy as np

    evaluated = _evaluate(detections, objects) if len(objects.boxes) + len(detections.boxes) else []
    bits = 1 << np.arange(THRESHOLDS)

    def joined(values: list[Any], kind: Any) -> Array:
        return np.concatenate([np.zeros(0), *values]).astype(kind)

    hits = joined([bits @ (one["dtMatches"] > 0) for one in evaluated], np.uint16)
    ignored = joined([bits @ one["dtIgnore"] for one in evaluated], np.uint16)
    counted = [[one["category_id"]] * int((one["gtIgnore"] == 0).sum()) for one in evaluated]
    classes = [[one["category_id"]] * len(one["dtScores"]) for one in evaluated]
    return {
        "detections": _column([len(hits)]),
        "class": joined(classes, np.int32),
        "score": joined([one["dtScores"] for one in evaluated], np.float64),
        "hit": hits,
        "ignored": ignored,
        "objects": _column([sum(map(len, counted))]),
        "object_class": joined(counted, np.int32),
    }


def _evaluate(detections: Detections, objects: Boxes) -> list[Any]:
    """pycocotools' per-class results of one picture, over all sizes of objects."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise SetupError(
            "Average precision needs pycocotools, which is not installed.",
            cure="pip install 'edgekit-tflite[validate]'",
        ) from error
    crowd = objects.crowd.astype(int).tolist()
    truth = _annotations(objects.boxes, objects.classes)
    for entry, is_crowd in zip(truth, crowd, strict=True):
        entry["iscrowd"] = is_crowd
    found = _annotations(detections.boxes, detections.classes)
    for entry, score in zip(found, detections.scores.tolist(), strict=True):
        entry |= {"score": score, "iscrowd": 0}
    categories = [{"id": c} for c in {entry["category_id"] for entry in truth + found}]
    stores = []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints how far it is
        for annotations in (truth, found):
            store = COCO()
            store.dataset = {
                "images": [{"id": 0}],
                "annotations": annotations,
                "categories": categories,
            }
            store.createIndex()
            stores.append(store)
        evaluation = COCOeval(*stores, "bbox")
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
    return [one for one in evaluation.evalImgs if one is not None]


def _annotations(boxes: Array, classes: Array) -> list[dict[str, Any]]:
    return [
        {
            "id": number,  # from 1: pycocotools takes 0 for "not matched"
            "image_id": 0,
            "category_id": int(kind),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
        }
        for number, ((x1, y1, x2, y2), kind) in enumerate(
            zip(boxes.tolist(), classes, strict=True), start=1
        )
    ]


# ------------------------------------------------------------------------- precision


def average_precision(rows: Rows, role: Role, keep: Array) -> Callable[[Array], Array]:
    """A function from weights of pictures (draws, n) to average precision (draws, 10, classes).

    At 101 levels of recall, NaN for a class without objects. A weight of 2 counts a picture twice.
    Source: the accumulation of pycocotools' COCOeval, and T.-Y. Lin et al., "Microsoft COCO", 2014.

    Args:
        rows: those of `DetectionMetric`.
        role: whose detections, against what.
        keep: (n,) the pictures that take part.
    """
    import numpy as np

    shown = owner(rows[f"{role}_detections"])
    score, kind = rows[f"{role}_score"], rows[f"{role}_class"]
    order = np.lexsort((np.arange(len(score)), -score))
    order = order[keep[shown[order]]]
    place, object_kind = owner(rows[f"{role}_objects"]), rows[f"{role}_object_class"]
    here = keep[place]
    place, object_kind = place[here], object_kind[here]
    groups = []
    for one in np.unique(object_kind):
        mine = order[kind[order] == one]
        groups.append(
            (
                place[object_kind == one],
                shown[mine],
                _bits(rows[f"{role}_hit"][mine]),
                _bits(rows[f"{role}_ignored"][mine]),
            )
        )

    def evaluate(weights: Array) -> Array:
        parts = [_class_precision(weights, *group) for group in groups]
        return np.stack(parts, axis=2) if parts else np.full((len(weights), THRESHOLDS, 1), np.nan)

    return evaluate


def by_class(rows: Rows, role: Role, keep: Array) -> dict[int, float]:
    """Average precision over IoU 0.50 to 0.95 for each class that has objects."""
    import numpy as np

    found = average_precision(rows, role, keep)(np.ones((1, len(keep)))).mean(axis=1)[0]
    here = keep[owner(rows[f"{role}_objects"])]
    classes = np.unique(rows[f"{role}_object_class"][here])
    return dict(zip(classes.tolist(), found.tolist(), strict=False)) if len(classes) else {}


def _class_precision(
    weights: Array, objects: Array, shown: Array, hits: Array, ignored: Array
) -> Array:
    """(draws, 10) for one class, from its detections in the order of their scores."""
    import numpy as np

    levels = np.linspace(0, 1, 101)
    wanted = weights[:, objects].sum(axis=1, dtype=np.float64)
    result = np.zeros((len(weights), THRESHOLDS))
    mine = weights.take(shown, axis=1)
    passed = None if ignored.any() else np.cumsum(mine, axis=1)
    for threshold in range(THRESHOLDS):
        counted = ~ignored[threshold]
        right = np.flatnonzero(hits[threshold] & counted)
        if not len(right):
            continue
        # Precision is read at hits only: between them it falls, and the envelope takes the best
        # that comes at the same or a higher recall.
        total = np.cumsum(mine * counted, axis=1) if passed is None else passed
        true = np.cumsum(mine.take(right, axis=1), axis=1, dtype=np.float64)
        precision = true / (total.take(right, axis=1) + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = true / np.maximum(wanted, 1e-9)[:, None]
        nearest = np.rint(recall * 100).astype(np.intp)
        reached = nearest + (levels[nearest] <= recall)  # how many levels are at most the recall
        steps = np.diff(reached, axis=1, prepend=0)
        result[:, threshold] = np.einsum("ij,ij->i", precision, steps) / len(levels)
    result[wanted == 0] = np.nan
    return result


def _agreement(rows: Rows, settings: Settings) -> list[Score]:
    import numpy as np

    everything = np.ones(len(rows["labelled"]), bool)
    function = average_precision(rows, "agreement", everything)
    return _scores(
        lambda weights: _two(function(weights)),
        ("map_agreement", "map_50_agreement"),
        everything,
        settings,
    )


def _against_labels(rows: Rows, labelled: Array, settings: Settings) -> list[Score]:
    import numpy as np

    candidate = average_precision(rows, "candidate", labelled)
    reference = average_precision(rows, "reference", labelled)

    def figures(weights: Array) -> Array:
        theirs, mine = _two(candidate(weights)), _two(reference(weights))
        return np.concatenate([theirs, mine, mine - theirs], axis=1)

    names = ("map_50_95", "map_50", "reference_map_50_95", "reference_map_50")
    return _scores(figures, (*names, "map_drop", "map_50_drop"), labelled, settings)


def _scores(
    figures: Callable[[Array], Array], names: tuple[str, ...], keep: Array, settings: Settings
) -> list[Score]:
    """Figures of all pictures that are kept, and their intervals over draws of those pictures."""
    import numpy as np

    places = np.flatnonzero(keep)

    def spread(weights: Array) -> Array:
        full = np.zeros((len(weights), len(keep)), np.float32)
        full[:, places] = weights
        return figures(full)

    point = spread(np.ones((1, len(places))))[0]
    drawn = None
    if len(places) > 1 and np.isfinite(point).all():
        draws = min(settings.draws, MAP_DRAWS)
        drawn = np.concatenate(
            [
                spread(part)
                for some in resamples(len(places), draws=draws, seed=settings.seed)
                for part in np.array_split(some, -(-len(some) // 50))
            ]
        )
    return [
        Score(
            name=name,
            value=float(point[index]),
            interval=None
            if drawn is None
            else percentile_interval(
                drawn[:, index], float(point[index]), confidence=settings.confidence
            ),
            samples=len(places),
        )
        for index, name in enumerate(names)
        if np.isfinite(point[index])
    ]


def _two(precision: Array) -> Array:
    """(draws, 10, classes) → (draws, 2): over all thresholds, and at IoU 0.50 alone."""
    import numpy as np

    there = np.isfinite(precision[:, 0])  # a class has objects at all thresholds or at none
    count = there.sum(axis=1).astype(np.float64)
    count[count == 0] = np.nan
    known = np.nan_to_num(precision)
    both = np.stack([known.mean(axis=1).sum(axis=1), known[:, 0].sum(axis=1)], axis=1)
    return np.asarray(both / count[:, None])


def _bits(values: Array) -> Array:
    """(n,) sets of thresholds → (10, n) booleans."""
    import numpy as np

    return ((values[None, :] >> np.arange(THRESHOLDS)[:, None]) & 1).astype(bool)


def _as_objects(detections: Detections) -> Boxes:
    sure = detections.scores >= CONFIDENT
    boxes, classes = detections.boxes[sure], detections.classes[sure]
    return Boxes(boxes=boxes, classes=classes, crowd=sure[sure] & False)


def _nothing() -> Boxes:
    import numpy as np

    return Boxes(boxes=np.zeros((0, 4)), classes=np.zeros(0, int), crowd=np.zeros(0, bool))


def _column(values: list[Any]) -> Array:
    import numpy as np

    return np.array(values, np.int64)
