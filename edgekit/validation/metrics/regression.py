"""Regression: mean absolute error and root mean squared error."""

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
from edgekit.validation.statistics import Statistic, bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Regression:
    """MAE and RMSE over all values of the output, against labels and against the reference.

    Labels are a number, or an array with as many values as the output has for one sample.
    """

    def measure(self, batch: Batch) -> Rows:
        """Per sample: the mean absolute and the mean squared error of its values."""
        import numpy as np

        reference, candidate = (
            np.asarray(outputs[0], np.float64).reshape(len(batch.labels), -1)
            for outputs in (batch.reference, batch.candidate)
        )
        same_shape(reference, candidate)
        known = [label is not None for label in batch.labels]
        wanted = np.zeros_like(reference)
        for place, label in enumerate(batch.labels):
            if label is None:
                continue
            values = np.asarray(label, np.float64).ravel()
            if values.size != reference.shape[1]:
                raise DataError(
                    f"A label has {values.size} values, the output {reference.shape[1]}.",
                    cure="Give labels of the output's size.",
                )
            wanted[place] = values
        rows: dict[str, Array] = {"labelled": np.array(known)}
        for role, difference in (
            ("candidate", candidate - wanted),
            ("reference", reference - wanted),
            ("agreement", candidate - reference),
        ):
            rows[f"{role}_absolute"] = abs(difference).mean(axis=1)
            rows[f"{role}_squared"] = (difference**2).mean(axis=1)
        return rows

    def summarize(self, rows: Rows, settings: Settings) -> MetricSummary:
        """Errors of both models where there are labels, and their difference."""
        import numpy as np

        scores = [
            *_pair(rows["agreement_absolute"], settings, ("mae_to_reference",)),
            *_pair(rows["agreement_squared"], settings, ("rmse_to_reference",), np.sqrt),
        ]
        known = rows["labelled"].astype(bool)
        if known.any():
            for error, column, turn in (
                ("mae", "absolute", np.positive),
                ("rmse", "squared", np.sqrt),
            ):
                values = np.stack(
                    [rows[f"{role}_{column}"][known] for role in ("candidate", "reference")], 1
                )
                names = (error, f"reference_{error}", f"{error}_increase")
                scores += _pair(values, settings, names, turn)
        return MetricSummary(scores=tuple(scores))


def _pair(
    values: Array,
    settings: Settings,
    names: tuple[str, ...],
    turn: Statistic | None = None,
) -> list[Score]:
    """The mean of each column, turned, and of the first minus the second for a third name."""
    import numpy as np

    table = values[:, None] if values.ndim == 1 else values
    convert = turn or np.positive

    def figure(means: Array, index: int) -> Array:
        turned = convert(means.clip(0))
        return np.asarray(turned[:, 0] - turned[:, 1] if index == 2 else turned[:, index])

    return [
        Score(
            name=name,
            value=float(figure(table.mean(axis=0, keepdims=True), index)[0]),
            interval=bootstrap(
                table,
                lambda means, index=index: figure(means, index),  # type: ignore[misc]
                draws=settings.draws,
                confidence=settings.confidence,
                seed=settings.seed,
            ),
            samples=len(table),
        )
        for index, name in enumerate(names)
    ]
