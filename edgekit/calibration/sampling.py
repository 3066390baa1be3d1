"""Which samples calibrate, and which ones measure the result."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgekit.calibration.samples import Sample, Source

_FEWEST_TO_COMPARE = 16
"""A verdict needs so many (`edgekit.validation.evidence`): of few samples, up to half compare."""
FEWEST_TO_SPLIT = 8
"""With fewer samples than this there is nothing to split: every one serves both roles."""


@dataclass(frozen=True, kw_only=True)
class DataSplit:
    """The chosen samples, in the order of their source, and how they were chosen."""

    calibration: tuple[Sample, ...]
    parity: tuple[Sample, ...]
    seed: int
    overlap: bool = False
    notes: tuple[str, ...] = ()


def split(
    source: Source,
    *,
    calibration_samples: int,
    parity_samples: int,
    seed: int,
    parity_source: Source | None = None,
) -> DataSplit:
    """Choose samples: the same ones for the same source and seed, on every machine.

    A ``parity_source`` is used as it is. Without one, the splits that a manifest states hold;
    without these, parity takes a quarter of the samples, at most ``parity_samples``, and up to half
    where a quarter is too few for a verdict. The two never
    share a sample unless there are fewer than `FEWEST_TO_SPLIT`; then a note says so.

    Args:
        calibration_samples: at most so many to calibrate with.
        parity_samples: at most so many to measure with.

    Raises:
        UsageError: a number below 1.
        DataError: a source is empty.
    """
    if min(calibration_samples, parity_samples) < 1:
        raise UsageError("The numbers of calibration and parity samples must be at least 1.")
    for one in (source, parity_source):
        if one is not None and not one.samples:
            raise DataError(f"{one.name} holds no samples.", cure="Give data with samples in it.")
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    overlap = False
    notes: tuple[str, ...] = ()
    calibration, parity = _stated(source)
    if parity_source is not None:
        stated_calibration, stated_parity = _stated(parity_source)
        calibration = calibration or source.samples
        parity = stated_parity if stated_calibration and stated_parity else parity_source.samples
    elif calibration and parity:
        pass
    elif len(source.samples) < FEWEST_TO_SPLIT:
        calibration = parity = source.samples
        overlap = True
        few = f"only {len(source.samples)} samples: the same ones calibrate and measure parity"
        notes = (f"{few}, so parity may look better than it is",)
    else:
        found = len(source.samples)
        count = min(parity_samples, max(found // 4, min(_FEWEST_TO_COMPARE, found // 2)))
        parity = _pick(source.samples, count, rng)
        taken = {sample.id for sample in parity}
        calibration = tuple(one for one in source.samples if one.id not in taken)
    return DataSplit(
        calibration=_pick(calibration, calibration_samples, rng),
        parity=_pick(parity, parity_samples, rng),
        seed=seed,
        overlap=overlap,
        notes=notes,
    )


def _stated(source: Source) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """What a manifest says is for calibration and for parity; samples without a word calibrate."""
    parity = tuple(sample for sample in source.samples if sample.split == "parity")
    if not parity:
        return (), ()
    return tuple(sample for sample in source.samples if sample.split != "parity"), parity


def _pick(samples: tuple[Sample, ...], count: int, rng: random.Random) -> tuple[Sample, ...]:
    """``count`` samples (or all of them) by chance, in their own order."""
    if len(samples) <= count:
        return samples
    return tuple(samples[index] for index in sorted(rng.sample(range(len(samples)), count)))
