"""What every task metric is: a pure map over samples, and a pure reduction of what it gave.

`Metric.measure` turns a batch into *rows*, a few numbers per sample, and forgets the outputs.
`Metric.summarize` turns the rows of all samples into figures with intervals. So memory does not
grow with the size of outputs, processes can measure in parallel, and a run that was killed goes on
from the rows that it had written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from edgekit.errors import DataError
from edgekit.types import Interval
from edgekit.validation.statistics import CONFIDENCE, DRAWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

Rows: TypeAlias = "Mapping[str, Array]"
"""Columns by name. Those of several batches are joined along axis 0, in the order of the batches.

A column has a row per sample, or any number of them per sample and a column of counts beside it.
"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some samples with what both models made of them.

    Attributes:
        index: the place of each sample in the data set.
        reference: the reference's outputs, each (B, …), in the contract's order.
        candidate: the candidate's, with axes and order as the reference's.
        labels: one per sample, ``None`` where unknown; of the kind that the metric asks for.
        names: of the samples, for messages; none where nobody knows them.
    """

    index: Sequence[int]
    reference: Sequence[Array]
    candidate: Sequence[Array]
    labels: Sequence[Any]
    names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How intervals are drawn."""

    draws: int = DRAWS
    confidence: float = CONFIDENCE
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure. ``interval`` is ``None`` where none can be given, as for a single sample."""

    name: str
    value: float
    interval: Interval | None
    samples: int


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """The figures of one metric.

    ``details`` are plain values that explain them; ``missing`` are sentences about what keeps them
    from proving anything.
    """

    scores: tuple[Score, ...]
    details: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, float]:
        """The figures by name, as `edgekit.validation.gates.judge` takes them."""
        return {score.name: score.value for score in self.scores}

    @property
    def intervals(self) -> dict[str, Interval]:
        """The intervals by name, where there is one."""
        return {score.name: score.interval for score in self.scores if score.interval is not None}


class Metric(Protocol):
    """A task's figures. Implementations keep no state between calls."""

    def measure(self, batch: Batch) -> Rows:
        """The rows of a batch.

        Raises:
            DataError: outputs or labels are not what this metric can compare.
        """

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """The figures over all rows; one that nothing was measured for is left out."""


class Tally:
    """A metric with the rows that it has given so far: a few numbers per sample."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._parts: list[Rows] = []

    def update(self, batch: Batch) -> Rows:
        """Measure one batch, keep its rows, and give them to who wants to store them too."""
        rows = self._metric.measure(batch)
        self._parts.append(rows)
        return rows

    def restore(self, rows: Rows) -> None:
        """Go on after rows that an earlier run, or another process, has measured."""
        self._parts.append(rows)

    def result(self, settings: Settings | None = None) -> MetricSummary:
        """The figures over everything so far.

        Raises:
            DataError: there was no sample.
        """
        if not self._parts:
            raise DataError("There is no sample to measure on.", cure="Check the data folder.")
        return self._metric.summarize(join(self._parts), settings or Settings())


def join(parts: Sequence[Rows]) -> Rows:
    """The rows of several batches as those of one."""
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def owner(counts: Array) -> Array:
    """For a column with ``counts[i]`` rows of sample i: the sample of each row."""
    import numpy as np

    return np.repeat(np.arange(len(counts)), counts)


def same_shape(reference: Array, candidate: Array) -> None:
    """Refuse outputs that differ in shape.

    Raises:
        DataError: they do.
    """
    if reference.shape != candidate.shape:
        raise DataError(
            f"The reference's output has the shape {reference.shape}, the candidate's "
            f"{candidate.shape}.",
            cure="Check that both are the same model and that the outputs are matched by name.",
        )
