"""Boxes: conversions, overlap, and non-maximum suppression by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.contract import BoxFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Labelled objects of one picture.

    Attributes:
        boxes: (n, 4) corners x1, y1, x2, y2 in pixels, edges not rounded.
        classes: (n,) class numbers of the model.
        crowd: (n,) whether a box stands for many objects; such are neither found nor missed.
    """

    boxes: Array
    classes: Array
    crowd: Array


@dataclass(frozen=True, kw_only=True)
class Detections:
    """What a detector found in one picture, best first: boxes as in `Boxes`, and scores (n,)."""

    boxes: Array
    scores: Array
    classes: Array

    def with_area(self) -> Detections:
        """Those whose boxes have an area: one without overlaps nothing, not even itself."""
        wide = (self.boxes[:, 2] > self.boxes[:, 0]) & (self.boxes[:, 3] > self.boxes[:, 1])
        return Detections(
            boxes=self.boxes[wide], scores=self.scores[wide], classes=self.classes[wide]
        )


def to_corners(boxes: Array, box: BoxFormat) -> Array:
    """(n, 4) in one of four notations → corners x1, y1, x2, y2."""
    import numpy as np

    a, b, c, d = boxes.T
    match box:
        case "xyxy":
            corners = (a, b, c, d)
        case "yxyx":
            corners = (b, a, d, c)
        case "xywh":
            corners = (a, b, a + c, b + d)
        case "cxcywh":
            corners = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    return np.stack(corners, axis=1)


def from_corners(boxes: Array, box: BoxFormat) -> Array:
    """The inverse of `to_corners`."""
    import numpy as np

    x1, y1, x2, y2 = boxes.T
    match box:
        case "xyxy":
            values = (x1, y1, x2, y2)
        case "yxyx":
            values = (y1, x1, y2, x2)
        case "xywh":
            values = (x1, y1, x2 - x1, y2 - y1)
        case "cxcywh":
            values = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return np.stack(values, axis=1)


def overlaps(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box (4,) with each of (n, 4), all as corners."""
    import numpy as np

    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = (high - low).clip(0).prod(axis=1)
    area = (box[2:] - box[:2]).clip(0).prod() + (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    union = area - shared
    none = np.zeros(len(boxes))
    return np.asarray(np.divide(shared, union, out=none, where=union > 0))


def suppress(boxes: Array, scores: Array, classes: Array, *, iou: float, at_most: int) -> Array:
    """Greedy non-maximum suppression within each class: the indices that stay, best first.

    A box goes when one of its class with a higher score overlaps it by more than ``iou``.
    """
    import numpy as np

    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < at_most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        same = classes[left] == classes[best]
        left = left[~(same & (overlaps(boxes[best], boxes[left]) > iou))]
    return np.array(kept, int)
