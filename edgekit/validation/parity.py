"""How close a candidate's outputs are to the reference's, per output and per sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.types import Binding, OutputParity, ParityReport, PartParity

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

EQUAL_DB = 200.0
"""What equal tensors are given instead of infinity, so that means and JSON stay finite."""


def sqnr_db(signal: float, noise: float) -> float:
    """Signal-to-quantization-noise ratio in decibels from two energies, within ±`EQUAL_DB`."""
    if not math.isfinite(noise):
        return -EQUAL_DB
    if noise == 0:
        return EQUAL_DB
    if signal == 0:
        return -EQUAL_DB
    return max(-EQUAL_DB, min(EQUAL_DB, 10 * (math.log10(signal) - math.log10(noise))))


def compare(
    *,
    reference: str,
    candidate: str,
    data: str,
    samples: Sequence[str],
    reference_files: Sequence[Path],
    candidate_files: Sequence[Path],
    bindings: Sequence[Binding],
    labels: Sequence[int | None] = (),
    parts: Mapping[str, Sequence[tuple[int, int, int]]] | None = None,
) -> ParityReport:
    """Compare stacked outputs (N, …) of a reference and a candidate, sample by sample.

    Args:
        reference: what the reference is, for the report.
        candidate: what the candidate is.
        data: the digest of the inputs, or ``synthetic``.
        samples: the names of the N samples.
        reference_files: one `.npy` stack per reference output.
        candidate_files: one `.npy` stack per candidate output.
        bindings: one per reference output, from `edgekit.validation.align`.
        labels: true class indices, where the data has them.
        parts: for reference outputs that mix ranges the (axis, start, size) of each part.
    """
    import numpy as np

    outputs = []
    accuracy: tuple[float | None, float | None] = (None, None)
    for number, binding in enumerate(bindings):
        mine = np.load(reference_files[number], mmap_mode="r")
        theirs = np.load(candidate_files[binding.index], mmap_mode="r")
        output = _compare_output(binding, mine, theirs, samples)
        mixed = (parts or {}).get(binding.reference, ())
        found = tuple(_compare_part(binding, mine, theirs, samples, part) for part in mixed)
        outputs.append(replace(output, parts=found))
        if number == 0 and labels and outputs[0].top1_agreement is not None:
            accuracy = _accuracy(mine, labels), _accuracy(theirs, labels)
    return ParityReport(
        reference=reference,
        candidate=candidate,
        data=data,
        samples=len(samples),
        outputs=tuple(outputs),
        bindings=tuple(bindings),
        reference_accuracy=accuracy[0],
        accuracy=accuracy[1],
    )


def _compare_output(
    binding: Binding, mine: Array, theirs: Array, samples: Sequence[str]
) -> OutputParity:
    import numpy as np

    # Without the batch axis, which the stacks do not have: axis 0 is the sample.
    permutation = binding.permutation
    parts = []
    for index in range(len(samples)):
        wanted = _turn(mine[index], permutation)
        parts.append(sums(wanted[None], np.asarray(theirs[index]).reshape(1, *wanted.shape)))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return summarize(binding.reference, columns, samples, scores=is_vector_of_scores(mine[0].shape))


def sums(wanted: Array, got: Array) -> dict[str, Array]:
    """What one output adds to its parity, a row per sample: energies, extremes, counts.

    So parity can be taken over any number of samples without keeping their outputs.

    Args:
        wanted: the reference's (B, …).
        got: the candidate's, of the same shape and axes.
    """
    import numpy as np

    wanted = np.asarray(wanted, np.float64).reshape(len(wanted), -1)
    got = np.asarray(got, np.float64).reshape(wanted.shape)
    difference = _difference(wanted, got)
    # Energies of the finite values: an infinite one on both sides (a mask) is equal, not loud.
    wanted_finite = np.where(np.isfinite(wanted), wanted, 0.0)
    got_finite = np.where(np.isfinite(got), got, 0.0)
    there = wanted.shape[1] > 0
    return {
        "signal": np.einsum("ij,ij->i", wanted_finite, wanted_finite),
        "noise": np.einsum("ij,ij->i", difference, difference),
        "dot": np.einsum("ij,ij->i", wanted_finite, got_finite),
        "energy": np.einsum("ij,ij->i", got_finite, got_finite),
        "largest": difference.max(axis=1, initial=0.0),
        "total": difference.sum(axis=1),
        "count": np.full(len(wanted), wanted.shape[1]),
        "nonfinite": np.count_nonzero(~np.isfinite(got) & np.isfinite(wanted), axis=1),
        "agrees": wanted.argmax(axis=1) == got.argmax(axis=1)
        if there
        else np.zeros(len(wanted), bool),
    }


def summarize(
    name: str, columns: Mapping[str, Array], samples: Sequence[str], *, scores: bool
) -> OutputParity:
    """An output's parity from the rows that `sums` gave.

    Args:
        name: of the reference's output.
        columns: of all samples.
        samples: their names.
        scores: it is a vector of scores, whose largest one decides.
    """
    signal, noise = columns["signal"], columns["noise"]
    worst, per_sample = _worst(signal, noise)
    energy = float(signal.sum()) * float(columns["energy"].sum())
    return OutputParity(
        name=name,
        worst_sample=samples[worst],
        worst_sqnr_db=per_sample[worst],
        sqnr_db=sqnr_db(float(signal.sum()), float(noise.sum())),
        cosine=_cosine(float(columns["dot"].sum()), math.sqrt(energy), noise=float(noise.sum())),
        max_abs=float(columns["largest"].max(initial=0.0)),
        mean_abs=float(columns["total"].sum()) / max(int(columns["count"].sum()), 1),
        per_sample_sqnr_db=tuple(per_sample),
        top1_agreement=float(columns["agrees"].mean()) if scores else None,
        nonfinite=int(columns["nonfinite"].sum()),
    )


def summarize_part(
    span: tuple[int, int, int], columns: Mapping[str, Array], samples: Sequence[str]
) -> PartParity:
    """The parity of the entries ``start … start + size`` of an axis, from their own `sums`."""
    signal, noise = columns["signal"], columns["noise"]
    worst, per_sample = _worst(signal, noise)
    axis, start, size = span
    return PartParity(
        axis=axis,
        start=start,
        size=size,
        worst_sample=samples[worst],
        worst_sqnr_db=per_sample[worst],
        sqnr_db=sqnr_db(float(signal.sum()), float(noise.sum())),
    )


def is_vector_of_scores(shape: Sequence[int]) -> bool:
    """Whether a sample's output has one axis only that is longer than 1, with three entries."""
    return math.prod(shape) > 2 and math.prod(shape) == max(shape, default=0)


def _worst(signal: Array, noise: Array) -> tuple[int, list[float]]:
    import numpy as np

    per_sample = [sqnr_db(s, n) for s, n in zip(signal.tolist(), noise.tolist(), strict=True)]
    return int(np.argmin(per_sample)), per_sample


def _compare_part(
    binding: Binding,
    mine: Array,
    theirs: Array,
    samples: Sequence[str],
    part: tuple[int, int, int],
) -> PartParity:
    """As `_compare_output`, for the entries ``start … start + size`` of a reference's axis."""
    import numpy as np

    axis, start, size = part
    # Counted from the last axis: the stacks may or may not have a batch axis.
    last = binding.permutation.index(axis) - len(binding.permutation)
    found = []
    for index in range(len(samples)):
        wanted = _turn(mine[index], binding.permutation)
        got = np.asarray(theirs[index]).reshape(wanted.shape)
        entries = range(start, start + size)
        found.append(
            sums(np.take(wanted, entries, axis=last)[None], np.take(got, entries, axis=last)[None])
        )
    columns = {name: np.concatenate([one[name] for one in found]) for name in ("signal", "noise")}
    return summarize_part(part, columns, samples)


def _difference(wanted: Array, got: Array) -> Array:
    """Absolute differences: 0 where both are the same infinity or NaN, infinite where one is."""
    import numpy as np

    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    comparable = np.isfinite(wanted) & np.isfinite(got)
    with np.errstate(invalid="ignore"):
        difference = np.where(comparable, np.abs(wanted - got), np.inf)
    return np.where(same, 0.0, difference)


def _cosine(dot: float, norm: float, *, noise: float) -> float:
    if not math.isfinite(noise):
        return math.nan
    return dot / norm if norm else float(noise == 0)


def _turn(value: Array, permutation: tuple[int, ...]) -> Array:
    """Apply a permutation that was stated with a leading batch axis to one sample."""
    if value.ndim == len(permutation):
        return value.transpose(permutation)
    if value.ndim == len(permutation) - 1 and permutation[0] == 0:
        return value.transpose([axis - 1 for axis in permutation[1:]])
    return value


def _accuracy(scores: Array, labels: Sequence[int | None]) -> float | None:
    hits = [
        int(scores[index].argmax()) == label
        for index, label in enumerate(labels)
        if label is not None
    ]
    return sum(hits) / len(hits) if hits else None
