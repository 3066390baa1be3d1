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

    signal, noise, dot, energy = (np.zeros(len(samples)) for _ in range(4))
    largest, total, count, nonfinite = 0.0, 0.0, 0, 0
    # Without the batch axis, which the stacks do not have: axis 0 is the sample.
    permutation = binding.permutation
    agreed = 0
    for index in range(len(samples)):
        wanted = _turn(mine[index], permutation).astype(np.float64)
        got = np.asarray(theirs[index], np.float64).reshape(wanted.shape)
        nonfinite += int(np.count_nonzero(~np.isfinite(got) & np.isfinite(wanted)))
        difference = _difference(wanted, got)
        noise[index] = np.sum(difference * difference)
        # Energies of the finite values: an infinite one on both sides (a mask) is equal, not loud.
        wanted_finite = np.where(np.isfinite(wanted), wanted, 0.0)
        got_finite = np.where(np.isfinite(got), got, 0.0)
        signal[index] = np.sum(wanted_finite * wanted_finite)
        dot[index] = np.sum(wanted_finite * got_finite)
        energy[index] = np.sum(got_finite * got_finite)
        largest = max(largest, float(difference.max(initial=0.0)))
        total += float(difference.sum())
        count += difference.size
        agreed += int(wanted.size > 0 and wanted.argmax() == got.argmax())
    per_sample = [sqnr_db(s, n) for s, n in zip(signal, noise, strict=True)]
    worst = int(np.argmin(per_sample))
    norm = math.sqrt(float(signal.sum()) * float(energy.sum()))
    is_vector = mine[0].size > 2 and mine[0].size == max(mine[0].shape, default=0)
    return OutputParity(
        name=binding.reference,
        worst_sample=samples[worst],
        worst_sqnr_db=per_sample[worst],
        sqnr_db=sqnr_db(float(signal.sum()), float(noise.sum())),
        cosine=_cosine(float(dot.sum()), norm, noise=float(noise.sum())),
        max_abs=largest,
        mean_abs=total / max(count, 1),
        per_sample_sqnr_db=tuple(per_sample),
        top1_agreement=agreed / len(samples) if is_vector else None,
        nonfinite=nonfinite,
    )


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
    signal, noise = np.zeros(len(samples)), np.zeros(len(samples))
    place = binding.permutation.index(axis)
    for index in range(len(samples)):
        wanted = _turn(mine[index], binding.permutation).astype(np.float64)
        got = np.asarray(theirs[index], np.float64).reshape(wanted.shape)
        # Counted from the last axis: the stacks may or may not have a batch axis.
        last = place - len(binding.permutation)
        wanted, got = (
            np.take(value, range(start, start + size), axis=last) for value in (wanted, got)
        )
        difference = _difference(wanted, got)
        noise[index] = np.sum(difference * difference)
        signal[index] = np.sum(np.square(np.where(np.isfinite(wanted), wanted, 0.0)))
    per_sample = [sqnr_db(s, n) for s, n in zip(signal, noise, strict=True)]
    worst = int(np.argmin(per_sample))
    return PartParity(
        axis=axis,
        start=start,
        size=size,
        worst_sample=samples[worst],
        worst_sqnr_db=per_sample[worst],
        sqnr_db=sqnr_db(float(signal.sum()), float(noise.sum())),
    )


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
