"""Segmentation: intersection over union per class and on average, and pixel accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit.errors import DataError
from edgekit.validation.metrics.protocol import (
    Batch,
    MetricSummary,
    Rows,
    Score,
    Settings,
    join,
    owner,
)
from edgekit.validation.statistics import Statistic, bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

PlaneLayout: TypeAlias = Literal["NHWC", "NCHW", "map"]
"""Scores per pixel with the classes last or second, or a class number per pixel."""


@dataclass(frozen=True, kw_only=True)
class SegmentationMetric:
    """mIoU, IoU per class and pixel accuracy, against labels and against the reference.

    Labels are (H, W) class numbers in the geometry of the model's input; a smaller output is
    scaled up to them by repeating its nearest pixels. The rows are each picture's confusion matrix,
    of which only the entries that occur are kept.

    Attributes:
        classes: the number of classes.
        layout: of both outputs.
        ignore_index: pixels with this label do not count.
    """

    classes: int
    layout: PlaneLayout = "NHWC"
    ignore_index: int = 255

    def measure(self, batch: Batch) -> Rows:
        """Three sparse confusion matrices a picture: label or reference against prediction.

        Raises:
            DataError: an output that is not a plane of classes, or a label that is not a class.
        """
        import numpy as np

        reference = self._decide(batch.reference[0])
        candidate = self._decide(batch.candidate[0])
        parts = []
        for mine, theirs, label in zip(reference, candidate, batch.labels, strict=True):
            found = _sparse("agreement", confusion(mine, theirs, self.classes, None))
            for role, predicted in (("reference", mine), ("candidate", theirs)):
                matrix = np.zeros((self.classes, self.classes), np.int64)
                if label is not None:
                    scaled = _nearest(predicted, label.shape)
                    matrix = confusion(label, scaled, self.classes, self.ignore_index)
                found |= _sparse(role, matrix)
            parts.append(found)
        return join(parts)

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Figures of the pixels of all pictures together, intervals over pictures."""
        import numpy as np

        scores = [
            *self._figures({"agreement": rows}, ("miou_agreement", "pixel_agreement"), settings)
        ]
        details: dict[str, Any] = {}
        if rows["candidate_entries"].any():
            scores += self._labelled(rows, settings)
            for role in ("candidate", "reference"):
                total = self._total(rows, role)
                details[f"{role}_iou_by_class"] = [
                    None if np.isnan(one) else float(one) for one in iou(total)
                ]
                details[f"{role}_confusion"] = total.tolist()
        return MetricSummary(scores=tuple(scores), details=details)

    def _decide(self, output: Array) -> Array:
        """(B, H, W) class numbers."""
        import numpy as np

        axis = {"NHWC": 3, "NCHW": 1, "map": None}[self.layout]
        if axis is None:
            plane = output.squeeze(-1) if output.ndim == 4 and output.shape[-1] == 1 else output
            if plane.ndim == 3:
                return np.rint(plane).astype(np.int64)
        elif output.ndim == 4 and output.shape[axis] == self.classes:
            return np.asarray(output.argmax(axis))
        raise DataError(
            f"An output of the shape {output.shape} is not a {self.layout} plane of {self.classes} "
            "classes.",
            cure="Check the number of class names (--labels) and the output's layout.",
        )

    def _labelled(self, rows: Rows, settings: Settings) -> list[Score]:
        scores = []
        for role, prefix in (("candidate", ""), ("reference", "reference_")):
            names = (f"{prefix}miou", f"{prefix}pixel_accuracy")
            scores += self._figures({role: rows}, names, settings)
        both = {"reference": rows, "candidate": rows}
        return scores + self._figures(both, ("miou_drop", "pixel_accuracy_drop"), settings)

    def _figures(
        self, of: dict[str, Rows], names: tuple[str, str], settings: Settings
    ) -> list[Score]:
        """mIoU and pixel accuracy of one role, or of the first minus those of the second."""
        import numpy as np

        tables = [self._areas(rows, role) for role, rows in of.items()]
        seen = np.all([table[:, 1::2].any(axis=1) for table in tables], axis=0)
        values = np.concatenate(tables, axis=1)[seen].astype(np.float64)
        width = 2 * self.classes + 2
        statistics: tuple[Statistic, Statistic] = (_mean_iou, _pixel_share)
        scores = []
        for name, one in zip(names, statistics, strict=True):

            def figure(means: Array, one: Statistic = one) -> Array:
                first = one(means[:, :width])
                return first if len(tables) == 1 else first - one(means[:, width:])

            scores.append(
                Score(
                    name=name,
                    value=float(figure(values.mean(axis=0, keepdims=True))[0]),
                    interval=bootstrap(
                        values,
                        figure,
                        draws=settings.draws,
                        confidence=settings.confidence,
                        seed=settings.seed,
                    ),
                    samples=len(values),
                )
            )
        return scores

    def _areas(self, rows: Rows, role: str) -> Array:
        """(n, 2·classes + 2): intersection and union of each class, then right pixels and all."""
        import numpy as np

        counts = rows[f"{role}_entries"]
        picture, pixels = owner(counts), rows[f"{role}_pixels"]
        wanted, got = np.divmod(rows[f"{role}_entry"], self.classes)
        width = 2 * self.classes + 2
        areas = np.zeros(len(counts) * width)
        right = wanted == got
        for chosen, column in (
            (right, 2 * wanted),
            (slice(None), 2 * wanted + 1),
            (~right, 2 * got + 1),
            (right, np.full_like(wanted, width - 2)),
            (slice(None), np.full_like(wanted, width - 1)),
        ):
            place = picture[chosen] * width + column[chosen]
            areas += np.bincount(place, weights=pixels[chosen], minlength=len(areas))
        return areas.reshape(len(counts), width)

    def _total(self, rows: Rows, role: str) -> Array:
        import numpy as np

        matrix = np.zeros(self.classes**2, np.int64)
        np.add.at(matrix, rows[f"{role}_entry"], rows[f"{role}_pixels"])
        return matrix.reshape(self.classes, self.classes)


def confusion(label: Array, predicted: Array, classes: int, ignore_index: int | None) -> Array:
    """(classes, classes) counts of pixels: rows are the label, columns the prediction.

    Raises:
        DataError: a label or a prediction that is neither a class nor to be ignored.
    """
    import numpy as np

    wanted, got = np.asarray(label, np.int64).ravel(), np.asarray(predicted, np.int64).ravel()
    if ignore_index is not None:
        counted = wanted != ignore_index
        wanted, got = wanted[counted], got[counted]
    for what, values in (("label", wanted), ("prediction", got)):
        outside = values[(values < 0) | (values >= classes)]
        if len(outside):
            raise DataError(
                f"A pixel's {what} is {outside[0]}; the model has {classes} classes.",
                cure="Check the masks, the class names (--labels) and the ignored value.",
            )
    counts = np.bincount(wanted * classes + got, minlength=classes**2)
    return np.asarray(counts.reshape(classes, classes))


def iou(matrix: Array) -> Array:
    """Intersection over union of each class of a confusion matrix; NaN for one that is nowhere."""
    import numpy as np

    shared = np.diag(matrix).astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - shared
    absent = np.full(len(matrix), np.nan)
    return np.asarray(np.divide(shared, union, out=absent, where=union > 0))


def _mean_iou(means: Array) -> Array:
    """Areas (draws, 2·classes + 2) → the mean over the classes that are anywhere (draws,)."""
    import numpy as np

    shared, union = means[:, 0:-2:2], means[:, 1:-2:2]
    there = union > 0
    ratio = np.divide(shared, union, out=np.zeros_like(shared), where=there)
    count = there.sum(axis=1)
    none = np.full(len(means), np.nan)
    return np.asarray(np.divide(ratio.sum(axis=1), count, out=none, where=count > 0))


def _pixel_share(means: Array) -> Array:
    import numpy as np

    return np.asarray(means[:, -2] / means[:, -1])


def _sparse(role: str, matrix: Array) -> dict[str, Array]:
    import numpy as np

    flat = matrix.ravel()
    used = np.flatnonzero(flat)
    return {
        f"{role}_entries": np.array([len(used)]),
        f"{role}_entry": used.astype(np.int32),
        f"{role}_pixels": flat[used],
    }


def _nearest(plane: Array, shape: tuple[int, int]) -> Array:
    """A plane scaled by repeating its nearest pixels."""
    import numpy as np

    rows, columns = (
        (np.arange(new) * old // new) for new, old in zip(shape, plane.shape, strict=True)
    )
    return np.asarray(plane[rows[:, None], columns])
