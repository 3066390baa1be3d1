"""Whether a model is fed as it was trained: the reference under the stated contract and others.

A file that equals its reference is worthless where the reference itself is fed wrongly (BGR for
RGB, 0…1 for 0…255, another mean), and no comparison of the two can tell. So the reference is run
once more on some of the samples, as likely slips would feed it, and another contract has to be
*clearly* better before anything is said: by the labels where there are any, else by how sharp its
decisions are and how well they hold when the picture is flipped or cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.types import Interval
from edgekit.validation.probe_graph import GraphSlip
from edgekit.validation.statistics import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

ALPHA = 0.005
"""How often chance may call a contract better that is not, over all alternatives together."""
GAIN = 0.1
"""So much higher an accuracy has to be, beside being no chance."""
SURE = 0.01
"""The same for each of the two tests without labels, of which both must hold."""
STEADIER = 0.15
"""So much steadier, in shares of views that decide alike, beside being no chance."""
FEWEST = 12
"""With fewer samples no difference could be told from chance."""
FEWEST_CLASSES = 4
"""Sharpness says nothing about fewer classes."""
_CERTAIN = 1e-12
_WRONGLY = "The model is probably fed wrongly"


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """Another contract: in words ("with BGR channel order"), and what states it."""

    words: str
    option: str


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What the reference says under another contract, on the same samples as under the stated one.

    Attributes:
        samples: how many; those with a label where there are labels.
        accuracy, stated_accuracy: shares of right answers, ``None`` without labels.
        sharpness, stated_sharpness: median margin of the first class before the second, in standard
            deviations of a sample's scores.
        steadiness, stated_steadiness: how much likelier two views of one picture decide alike than
            views of two pictures do; ``None`` with labels, or where it was not looked at.
        p_value: how likely chance alone makes it look so much better; 1 where it looks no better.
        better: whether it is clearly better.
    """

    alternative: Alternative
    samples: int
    accuracy: float | None = None
    stated_accuracy: float | None = None
    sharpness: float | None = None
    stated_sharpness: float | None = None
    steadiness: float | None = None
    stated_steadiness: float | None = None
    p_value: float = 1.0
    better: bool = False


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often the reference is right, beside what chance would give.

    Attributes:
        value: of the samples with a label, the share it decides as the label says.
        chance: what decisions that know nothing of the sample would have, with the same classes
            chosen and labelled as often.
    """

    value: float
    samples: int
    interval: Interval | None
    chance: float

    @property
    def is_chance(self) -> bool:
        """Whether enough samples say that the reference is not a better than chance."""
        few = self.samples < FEWEST or self.chance > 0.5
        return not few and self.interval is not None and self.interval.low <= self.chance


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What is known of how the reference is fed.

    Attributes:
        accuracy: of the reference, where labels are known.
        tried: the other contracts.
        found: the one that is clearly better.
        graph: what the graph does by itself, where the contract contradicts it.
        why: nothing was tried, because …
        accepted: the user says that the contract is meant.
    """

    accuracy: Accuracy | None = None
    tried: tuple[Tried, ...] = ()
    found: Tried | None = None
    graph: GraphSlip | None = None
    why: str = ""
    accepted: bool = False

    @property
    def slips(self) -> tuple[str, ...]:
        """What is wrong, a sentence each, with what would state it right."""
        said = []
        if self.graph is not None:
            said.append(f"{_WRONGLY}: {self.graph.sentence}; {_way(self.graph.option)}")
        if self.found is not None:
            said.append(f"{sentence(self.found)}; {_way(self.found.alternative.option)}")
        if not said and self.accuracy is not None and self.accuracy.is_chance:
            one = self.accuracy
            said.append(
                f"The reference is right on {one.value:.1%} of {one.samples} samples, which is no "
                f"better than chance ({one.chance:.1%}): it is untrained, fed wrongly, or the "
                "labels are others; --accept-contract if that is meant."
            )
        return tuple(said)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The slips that fail a verdict: all, unless the contract is accepted."""
        return () if self.accepted else self.slips


def _way(option: str) -> str:
    state = f"state {option}" if option.startswith("-") else option
    return f"{state}, or --accept-contract if the contract is meant."


def accuracy(decided: Array, labels: Array) -> Accuracy | None:
    """The accuracy of decisions, ``None`` where no sample has a label.

    Chance is the agreement that independent ratings with the same marginals have (J. Cohen, "A
    Coefficient of Agreement for Nominal Scales", 1960).

    Args:
        decided: the class of each sample, (n,).
        labels: its labelled class, (n,); negative where there is none.
    """
    import numpy as np

    known = labels >= 0
    decided, labels = decided[known], labels[known]
    n = len(labels)
    if not n:
        return None
    hits = int((decided == labels).sum())
    classes = np.union1d(decided, labels)
    chance = sum(float((decided == one).mean() * (labels == one).mean()) for one in classes)
    return Accuracy(value=hits / n, samples=n, interval=wilson(hits, n), chance=chance)


def by_labels(
    alternative: Alternative, stated: Array, other: Array, labels: Array, *, trials: int
) -> Tried:
    """Compare two contracts by their right answers.

    McNemar's test, exact and one-sided: of the samples that one contract alone has right, are more
    than half the other's? Its p-value is multiplied by the number of alternatives (Bonferroni).

    Args:
        alternative: the other contract.
        stated: decided classes under the stated contract, (n,).
        other: under the other one.
        labels: the right ones, all known.
        trials: how many alternatives are tried.
    """
    mine, theirs = stated == labels, other == labels
    p_value = min(1.0, trials * sign_test(theirs.astype(int) - mine.astype(int)))
    gain = float(theirs.mean() - mine.mean())
    return Tried(
        alternative=alternative,
        samples=len(labels),
        accuracy=float(theirs.mean()),
        stated_accuracy=float(mine.mean()),
        p_value=p_value,
        better=p_value <= ALPHA and gain >= GAIN,
    )


def by_sharpness(alternative: Alternative, stated: Array, other: Array, *, trials: int) -> Tried:
    """Compare two contracts without labels, by views of the same pictures.

    Larger values alone make any network surer, and one that always says the same is steady: so
    sharpness is measured in the spread of a sample's own scores, and steadiness as the agreement of
    two views of a picture less that of views of two pictures. An alternative has to be better in
    both, each by a sign test over the samples.

    Args:
        alternative: the other contract.
        stated: scores under the stated contract, (views, n, classes).
        other: under the other one.
        trials: how many alternatives are tried.
    """
    import numpy as np

    mine, theirs = sharpness(stated[0]), sharpness(other[0])
    steady, theirs_steady = steadiness(stated), steadiness(other)
    tests = (sign_test(theirs - mine), sign_test(theirs_steady - steady))
    p_value = min(1.0, trials * max(tests))
    gain = float(theirs_steady.mean() - steady.mean())
    return Tried(
        alternative=alternative,
        samples=stated.shape[1],
        sharpness=float(np.median(theirs)),
        stated_sharpness=float(np.median(mine)),
        steadiness=float(theirs_steady.mean()),
        stated_steadiness=float(steady.mean()),
        p_value=p_value,
        better=p_value <= SURE and gain >= STEADIER,
    )


def sign_test(differences: Array) -> float:
    """How likely so many differences are positive if either sign is as likely; ties say nothing.

    Source: W. J. Dixon and A. M. Mood, "The Statistical Sign Test", 1946.
    """
    n = int((differences != 0).sum())
    positive = int((differences > 0).sum())
    return float(sum(math.comb(n, k) for k in range(positive, n + 1)) / 2**n)


def sharpness(scores: Array) -> Array:
    """The margin of each sample's first class before its second, (n,).

    In standard deviations of the sample's own scores (logits, or logarithms of probabilities), so
    that a factor on all of them changes nothing.

    Args:
        scores: logits or probabilities, (n, classes).
    """
    import numpy as np

    logits = as_logits(scores)
    first = np.partition(logits, -2, axis=1)[:, -2:]
    spread = logits.std(axis=1)
    margin = first[:, 1] - first[:, 0]
    return np.asarray(np.divide(margin, spread, out=np.zeros_like(margin), where=spread > 0))


def as_logits(scores: Array) -> Array:
    """Scores as float64; logarithms where they are probabilities that add up to 1."""
    import numpy as np

    values = np.asarray(scores, np.float64)
    if (values >= 0).all() and np.allclose(values.sum(axis=-1), 1.0, atol=1e-3):
        return np.asarray(np.log(np.maximum(values, _CERTAIN)))
    return values


def steadiness(scores: Array) -> Array:
    """How much likelier two views of a picture decide alike than views of two pictures, (n,).

    Args:
        scores: (views, n, classes).
    """
    import numpy as np

    decided = np.argmax(scores, axis=-1)
    views, n = decided.shape
    same = decided[:, None, :, None] == decided[None, :, None, :]  # (view, view, sample, sample)
    pairs = same.sum(axis=(0, 1)).astype(np.float64)
    within = (np.diag(pairs) - views) / max(1, views * (views - 1))
    between = (pairs.sum(axis=1) - np.diag(pairs)) / max(1, views * views * (n - 1))
    return np.asarray(within - between)


def unsuspicious(alternative: Alternative, stated: Array, other: Array) -> Tried:
    """An alternative that is not looked at closer: its decisions are not sharper, (n,) each."""
    import numpy as np

    return Tried(
        alternative=alternative,
        samples=len(stated),
        sharpness=float(np.median(other)),
        stated_sharpness=float(np.median(stated)),
    )


def best(tried: Sequence[Tried]) -> Tried | None:
    """The best of those that are clearly better."""
    better = [one for one in tried if one.better]
    return max(better, key=lambda one: one.accuracy or one.steadiness or 0.0, default=None)


def sentence(found: Tried) -> str:
    """What a clearly better contract means, with its figures."""
    how = f"{_WRONGLY}: {found.alternative.words}"
    if found.accuracy is not None and found.stated_accuracy is not None:
        return (
            f"{how} its accuracy is {found.accuracy:.1%} instead of {found.stated_accuracy:.1%} "
            f"({found.samples} samples)"
        )
    return (
        f"{how} its decisions are clearer (margin {found.sharpness:.2f} instead of "
        f"{found.stated_sharpness:.2f}) and steadier when pictures are flipped or cut "
        f"({found.steadiness:.2f} instead of {found.stated_steadiness:.2f}; "
        f"{found.samples} samples without labels)"
    )
