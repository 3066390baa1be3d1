"""Keypoints: object keypoint similarity and the share of correct ones, from maps or coordinates."""

from __future__ import annotations

from collections.abc import Sequence
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

ALPHA = 0.1
"""A keypoint is correct that lies within this part of the pose's longer side."""
SURE = 0.3
"""A keypoint counts whose score is at least this part of the reference's high ones."""
SEEN_OFTEN = 5
_COCO = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
"""COCO's deviations of its 17 keypoints, in thousandths of the object's size."""
_OTHER = 0.05


@dataclass(frozen=True, kw_only=True)
class KeypointMetric:
    """OKS and PCK against the reference's keypoints and against labels.

    Keypoints are the highest places of maps, or the coordinates that the output has. Labels are
    (K, 2) or (K, 3), the third one 0 where a keypoint is not labelled: for maps x and y in pixels
    of the model's input, else in the output's own unit and order.

    Attributes:
        axis: of a sample's three, where maps have their keypoints; ``None`` for coordinates.
        size: height and width of the model's picture, for maps.
        names: of the keypoints, for messages.
    """

    axis: int | None
    size: tuple[int, int] | None = None
    names: tuple[str, ...] = ()

    def measure(self, batch: Batch) -> Rows:
        """Per sample and keypoint: distances in parts of the pose's size, similarity, score.

        Raises:
            DataError: an output, or a label, that holds no keypoints.
        """
        import numpy as np

        same_shape(batch.reference[0], batch.candidate[0])
        mine, scores = self.points(batch.reference[0])
        theirs, _ = self.points(batch.candidate[0])
        everything = np.ones(mine.shape[:2], bool)
        rows = {"score": scores} | _named("agreement", _compare(mine, theirs, everything))
        truth, seen = self._labels(batch.labels, mine.shape[1])
        rows["seen"] = seen
        rows |= _named("candidate", _compare(truth, theirs, seen))
        return rows | _named("reference", _compare(truth, mine, seen))

    def points(self, stack: Array) -> tuple[Array, Array]:
        """Keypoints (B, K, 2) and their scores (B, K), all 1 where the output has none."""
        import numpy as np

        values = np.asarray(stack, np.float64)
        if self.axis is not None:
            return self._peaks(values)
        sizes = [size for size in values.shape[1:] if size != 1]
        last: int = sizes[-1] if len(sizes) == 2 else self._numbers(int(np.prod(sizes)))
        if last not in (2, 3) or len(sizes) > 2:
            raise DataError(
                f"An output of the shape {stack.shape[1:]} holds no keypoints.",
                cure="They are maps (K, height, width) or coordinates (K, 2) or (K, 3).",
            )
        table = values.reshape(len(values), -1, last)
        ones = np.ones(table.shape[:2])
        return table[..., :2], table[..., 2] if table.shape[2] == 3 else ones

    def _numbers(self, count: int) -> int:
        """How many numbers a keypoint has in a flat output: by the names, else two."""
        return 3 if self.names and count == 3 * len(self.names) else 2

    def _peaks(self, values: Array) -> tuple[Array, Array]:
        import numpy as np

        assert self.axis is not None
        sizes = list(values.shape[1:])
        while len(sizes) > 3 and 1 in sizes:
            sizes.remove(1)
        maps = np.moveaxis(values.reshape(len(values), *sizes), 1 + self.axis, 1)
        height, width = maps.shape[2:]
        flat = maps.reshape(*maps.shape[:2], -1)
        place = flat.argmax(axis=2)
        down, right = self.size or (height, width)
        x = (place % width + 0.5) * right / width - 0.5
        y = (place // width + 0.5) * down / height - 0.5
        return np.stack([x, y], axis=2), flat.max(axis=2)

    def _labels(self, labels: Sequence[Any], keypoints: int) -> tuple[Array, Array]:
        """Labelled places (B, K, 2), and which of them are."""
        import numpy as np

        places, seen = np.zeros((len(labels), keypoints, 2)), np.zeros((len(labels), keypoints))
        for row, label in enumerate(labels):
            if label is None:
                continue
            table = np.asarray(label, np.float64)
            if len(table) != keypoints or table.ndim != 2 or table.shape[-1] not in (2, 3):
                raise DataError(
                    f"A label has the shape {table.shape}, the output has {keypoints} keypoints.",
                    cure=f"Labels are ({keypoints}, 2) or ({keypoints}, 3): x, y and visible.",
                )
            places[row] = table[:, :2]
            seen[row] = table[:, 2] > 0 if len(table[0]) == 3 else 1
        return places, seen.astype(bool)

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Similarity and correct keypoints; each sample counts by what is seen of it."""
        import numpy as np

        scores = rows["score"]
        sure = scores >= SURE * max(0.0, float(np.quantile(scores, 0.95)))
        near = rows["agreement_distance"] <= ALPHA
        figures = [
            _mean("oks_to_reference", rows["agreement_oks"], sure, settings),
            _mean("pck_agreement", near, sure, settings),
        ]
        often = sure.sum(axis=0)
        lost = (often >= SEEN_OFTEN) & (2 * (near & sure).sum(axis=0) < often)
        figures.append(
            Score(
                name="keypoints_lost", value=float(lost.sum()), interval=None, samples=len(scores)
            )
        )
        if rows["seen"].any():
            figures += self._against_labels(rows, settings)
        details = {"lost": [self._name(one) for one in np.flatnonzero(lost).tolist()]}
        return MetricSummary(scores=tuple(figures), details=details)

    def _against_labels(self, rows: Rows, settings: Settings) -> list[Score]:
        seen = rows["seen"].astype(bool)
        near = {role: rows[f"{role}_distance"] <= ALPHA for role in ("candidate", "reference")}
        drop = near["reference"].astype(float) - near["candidate"]
        return [
            _mean("oks", rows["candidate_oks"], seen, settings),
            _mean("reference_oks", rows["reference_oks"], seen, settings),
            _mean("pck", near["candidate"], seen, settings),
            _mean("reference_pck", near["reference"], seen, settings),
            _mean("pck_drop", drop, seen, settings),
        ]

    def _name(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else f"keypoint {number}"


def _compare(wanted: Array, got: Array, seen: Array) -> tuple[Array, Array]:
    """Distances (B, K) in parts of the pose's longer side, and the similarities.

    PCK after Y. Yang and D. Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts",
    2013; OKS as COCO defines it, with the area of the wanted pose's box as the object's.
    """
    import numpy as np

    far = np.where(seen[..., None], wanted, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        low = np.fmin.reduce(far, axis=1)
        sides = np.nan_to_num(np.fmax.reduce(far, axis=1) - low)
        longer = sides.max(axis=1)
        distance = np.sqrt(((wanted - got) ** 2).sum(axis=2))
        parts = np.where(distance == 0, 0.0, distance / longer[:, None])
        # A pose in a line has no area: a tenth of its length is taken as its width.
        area = longer * np.maximum(sides.min(axis=1), 0.1 * longer)
        width = 2 * _deviations(wanted.shape[1])
        exponent = np.where(distance == 0, 0.0, distance**2 / (2 * area[:, None] * width**2))
    return np.nan_to_num(parts, nan=np.inf), np.exp(-np.nan_to_num(exponent, nan=np.inf))


def _deviations(keypoints: int) -> Array:
    import numpy as np

    return np.array(_COCO) / 1000 if keypoints == len(_COCO) else np.full(keypoints, _OTHER)


def _named(role: str, pair: tuple[Array, Array]) -> dict[str, Array]:
    return {f"{role}_distance": pair[0], f"{role}_oks": pair[1]}


def _mean(name: str, values: Array, counted: Array, settings: Settings) -> Score:
    """The mean over all keypoints that count, with the interval over samples."""
    import numpy as np

    table = np.stack([np.where(counted, values, 0.0).sum(axis=1), counted.sum(axis=1)], axis=1)

    def ratio(means: Array) -> Array:
        return np.asarray(means[:, 0] / means[:, 1].clip(1e-9))

    return Score(
        name=name,
        value=float(ratio(table.mean(axis=0, keepdims=True))[0]),
        interval=bootstrap(
            table,
            ratio,
            draws=settings.draws,
            confidence=settings.confidence,
            seed=settings.seed,
        ),
        samples=len(table),
    )
