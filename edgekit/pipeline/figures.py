"""The figures of the model's task, from a file's outputs and the framework's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.pipeline.reference import Reference
from edgekit.pipeline.validation.job import turn_back
from edgekit.pipeline.validation.tasks import make_metric
from edgekit.types import Binding
from edgekit.validation.metrics import Batch, Settings, Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_DRAWS = 100
"""Intervals are drawn too, but nobody asks for them here."""


def task_figures(
    reference: Reference, bindings: Sequence[Binding], files: Sequence[Path]
) -> dict[str, float]:
    """By the names of `edgekit.validation.gates.TASK_METRICS`; nothing where no task is stated.

    Samples have classes as labels at most, so of other tasks only agreement can be measured.

    Args:
        reference: the framework's side.
        bindings: one per output of the reference.
        files: the file's stacked outputs.

    Raises:
        UsageError: the contract lacks what the task needs.
        DataError: the outputs are not what the task makes of them.
        SetupError: what the metric needs is not installed.
    """
    import numpy as np

    mine = [np.load(path, mmap_mode="r") for path in reference.files]
    theirs = [np.load(files[binding.index], mmap_mode="r") for binding in bindings]
    count = len(reference.data.parity.ids)
    metric = make_metric(reference.contract, samples=count, span=_span(mine))
    if metric is None:
        return {}
    labels = reference.labels if reference.contract.task in ("classification", "embedding") else ()
    tally = Tally(metric)
    for index in range(count):
        some = slice(index, index + 1)
        wanted = [
            _without_batch(stack[some], spec.shape)
            for stack, spec in zip(mine, reference.outputs, strict=True)
        ]
        got = [
            turn_back(np.asarray(stack[some]), binding.permutation, like)
            for stack, binding, like in zip(theirs, bindings, wanted, strict=True)
        ]
        tally.update(
            Batch(
                index=[index],
                reference=wanted,
                candidate=got,
                labels=[labels[index] if labels else None],
            )
        )
    return tally.result(Settings(draws=_DRAWS)).values


def _without_batch(sample: Array, shape: Sequence[int | None]) -> Array:
    """(1, …) of a stack whose samples may have a batch axis of 1 besides."""
    import numpy as np

    value = np.asarray(sample)
    return value[:, 0] if value.ndim == len(shape) + 1 and value.shape[1] == 1 else value


def _span(stacks: Sequence[Array]) -> float:
    """How far the values of the first output reach."""
    return max((float(abs(sample).max(initial=0)) for sample in stacks[0]), default=1.0)
