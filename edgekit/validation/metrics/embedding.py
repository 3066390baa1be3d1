"""Embeddings: cosine similarity, and whether neighbours stay neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.validation.metrics.protocol import (
    Batch,
    MetricSummary,
    Rows,
    Score,
    Settings,
    same_shape,
)
from edgekit.validation.statistics import bootstrap, paired_drop, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

GALLERY = 4_000
"""At most so many embeddings are kept for the search of neighbours."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingMetric:
    """Mean cosine with the reference, recall at 1 and 5, and agreement of nearest neighbours.

    Recall at k is the share of kept samples that have one of their own label among the k most
    similar others. Labels are class numbers. Similarity is the cosine.

    Attributes:
        samples: how many samples the data set has; with more than `GALLERY` every second, third …
            takes part in the search, so that memory stays bounded.
    """

    samples: int = 0

    def measure(self, batch: Batch) -> Rows:
        """Per sample the cosine; for those in the gallery both embeddings, of length 1."""
        import numpy as np

        count = len(batch.labels)
        reference, candidate = (
            _unit(np.asarray(outputs[0], np.float64).reshape(count, -1))
            for outputs in (batch.reference, batch.candidate)
        )
        same_shape(reference, candidate)
        kept = np.asarray(batch.index) % max(1, -(-self.samples // GALLERY)) == 0
        labels = np.array([-1 if label is None else label for label in batch.labels], np.int64)
        return {
            "cosine": (reference * candidate).sum(axis=1),
            "label": labels[kept],
            "reference": reference[kept].astype(np.float32),
            "candidate": candidate[kept].astype(np.float32),
        }

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Recall only over samples with a label, of which another one is there too."""
        import numpy as np

        cosine = rows["cosine"]
        interval = bootstrap(
            cosine, draws=settings.draws, confidence=settings.confidence, seed=settings.seed
        )
        scores = [
            Score(
                name="mean_cosine",
                value=float(cosine.mean()),
                interval=interval,
                samples=len(cosine),
            )
        ]
        label = rows["label"]
        if len(label) > 1:
            near = {role: neighbours(rows[role], 5) for role in ("reference", "candidate")}
            same = near["reference"][:, 0] == near["candidate"][:, 0]
            scores.append(_share("neighbour_agreement", same, settings))
            values, counts = np.unique(label[label >= 0], return_counts=True)
            asked = np.isin(label, values[counts > 1])
            if asked.any():
                scores += _recalls(label, near, asked, settings)
        return MetricSummary(scores=tuple(scores), details={"gallery": len(label)})


def neighbours(units: Array, k: int) -> Array:
    """(n, up to k): the most similar others of each row of (n, d), best first; -1 beside a NaN."""
    import numpy as np

    k = min(k, len(units) - 1)
    found = []
    for start in range(0, len(units), 512):
        similar = units[start : start + 512] @ units.T
        own = np.arange(len(similar))
        broken = np.isnan(similar).all(axis=1)
        similar = np.where(np.isnan(similar), -np.inf, similar)
        similar[own, own + start] = -np.inf
        order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        found.append(np.where(broken[:, None], -1, order))
    return np.concatenate(found)


def _recalls(label: Array, near: dict[str, Array], asked: Array, settings: Settings) -> list[Score]:
    import numpy as np

    scores = []
    for k in (1, 5):
        mine, theirs = (
            ((label[near[role][:, :k]] == label[:, None]) & (near[role][:, :k] >= 0)).any(axis=1)[
                asked
            ]
            for role in ("reference", "candidate")
        )
        scores += [
            _share(f"recall_at_{k}", theirs, settings),
            _share(f"reference_recall_at_{k}", mine, settings),
            Score(
                name=f"recall_at_{k}_drop",
                value=float(np.mean(mine) - np.mean(theirs)),
                interval=paired_drop(
                    mine,
                    theirs,
                    draws=settings.draws,
                    confidence=settings.confidence,
                    seed=settings.seed,
                ),
                samples=len(mine),
            ),
        ]
    return scores


def _share(name: str, hits: Array, settings: Settings) -> Score:
    found = int(hits.sum())
    interval = wilson(found, len(hits), confidence=settings.confidence)
    return Score(name=name, value=found / len(hits), interval=interval, samples=len(hits))


def _unit(vectors: Array) -> Array:
    """Rows of length 1; a row of zeros stays one."""
    import numpy as np

    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length == 0, 1, length))
