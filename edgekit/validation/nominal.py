"""How equal indices are: numbers that name things, of which only equal or not can be said.

Their share alone proves little: a map that is background for nine tenths is met by a file that
always says background. So it is held against what the reference's own answers to different samples
have in common, as a skill score: (agreement − still) / (1 − still). With p the shares of the values
at a place, still is Σ p², and a file that always says the same is right in at most max p of all
samples; its skill is therefore below 0.5 whatever the model is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.types import Interval
from edgekit.validation.statistics import bootstrap, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_MOST_KEPT = 65_536
"""So many values of the reference are kept, of at most so many samples:"""
_MOST_SAMPLES = 64
_BINS = 256
"""Values are counted in so many groups, by their remainder."""
_OFTEN, _OFTEN_SHARE = 5, 1e-3
"""A value is given often that is given so many times, and as so large a share of all."""


@dataclass(frozen=True, kw_only=True)
class Nominal:
    """How equal the indices of one output are.

    Attributes:
        agreement: share of equal values.
        skill: how much of what differs from sample to sample is met; ``None`` where nothing does.
        lost: values that the reference gives often, and the file never in the same place.
        interval: of the agreement, over the samples.
    """

    agreement: float
    skill: float | None
    lost: int
    interval: Interval | None


def equal(wanted: Array, got: Array) -> dict[str, Array]:
    """What one output adds, a row per sample: how many values there are and how many are equal.

    ``given`` and ``met`` are one row for all samples: the same by groups of values.

    Args:
        wanted: the reference's (B, …), whole numbers of any type.
        got: the candidate's, of the same shape; rounded, as it may be stored in steps.
    """
    import numpy as np

    mine, theirs = (np.asarray(one, np.float64).reshape(len(wanted), -1) for one in (wanted, got))
    same = np.rint(mine) == np.rint(theirs)
    group = np.nan_to_num(np.rint(mine)).astype(np.int64) % _BINS
    return {
        "equal": same.sum(axis=1),
        "count": np.full(len(mine), mine.shape[1]),
        "given": np.bincount(group.ravel(), minlength=_BINS)[None],
        "met": np.bincount(group[same], minlength=_BINS)[None],
    }


def drawn(stack: Array) -> dict[str, Array]:
    """A draw of the reference's answers (B, …), by random keys, which `merge_drawn` adds up."""
    import numpy as np

    values = np.ascontiguousarray(np.asarray(stack).reshape(len(stack), -1))
    random = np.random.default_rng(zlib.crc32(values.tobytes()))
    if values.shape[1] > _MOST_KEPT // 2:
        places = np.random.default_rng(0).choice(values.shape[1], _MOST_KEPT // 2, replace=False)
        values = values[:, np.sort(places)]
    return _fewest(random.random(len(values)), values)


def merge_drawn(one: Mapping[str, Array], two: Mapping[str, Array]) -> dict[str, Array]:
    """The `drawn` of two batches together."""
    import numpy as np

    return _fewest(*(np.concatenate([one[name], two[name]]) for name in ("key", "answer")))


def _fewest(keys: Array, answers: Array) -> dict[str, Array]:
    import numpy as np

    most = max(2, min(_MOST_SAMPLES, _MOST_KEPT // max(1, answers.shape[1])))
    chosen = np.argsort(keys, kind="stable")[:most]
    return {"key": keys[chosen], "answer": answers[chosen]}


def still_share(answers: Array) -> float:
    """How often two of the reference's answers (N, P) to different samples are equal."""
    import numpy as np

    count = len(answers)
    if count < 2 or not answers.shape[1]:
        return 1.0
    ordered = np.sort(np.rint(np.asarray(answers, np.float64)), axis=0)
    starts = np.vstack([np.ones((1, ordered.shape[1]), bool), ordered[1:] != ordered[:-1]])
    first = np.flatnonzero(starts.T.ravel())
    sizes = np.diff(np.append(first, ordered.size)).astype(np.float64)
    pairs = ordered.shape[1] * count * (count - 1)
    return float((sizes * (sizes - 1)).sum() / pairs)


def nominal(columns: Mapping[str, Array], answers: Array) -> Nominal:
    """The figures over all samples.

    Args:
        columns: the rows that `equal` gave.
        answers: what was `drawn` of the reference.
    """
    right, count = int(columns["equal"].sum()), int(columns["count"].sum())
    share = right / count if count else 1.0
    still = still_share(answers)
    given, met = columns["given"].sum(axis=0), columns["met"].sum(axis=0)
    often = given >= max(_OFTEN, _OFTEN_SHARE * count)
    if len(columns["count"]) == count:
        interval = wilson(right, count)
    else:
        interval = bootstrap(columns["equal"] / columns["count"].clip(1))
    return Nominal(
        agreement=share,
        skill=(share - still) / (1 - still) if still < 1 else None,
        lost=int((often & (met == 0)).sum()),
        interval=interval,
    )
