"""How close a candidate's outputs are to the reference's, from the rows that were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.closeness import Variation, sqnr_db, systematic_error
from edgekit.types import OutputParity, PartParity
from edgekit.validation.nominal import Nominal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CHOSEN_OFTEN = 5
"""A class that the reference chose so often, and the candidate never, is lost to the candidate."""


def summarize(
    name: str,
    columns: Mapping[str, Array],
    samples: Sequence[str],
    *,
    scores: bool,
    variation: Variation,
    coarse: bool = False,
    indices: Nominal | None = None,
) -> OutputParity:
    """One output's parity.

    Args:
        name: of the reference's output.
        columns: of all samples, from `edgekit.closeness.sums`.
        samples: their names.
        scores: it is a vector of scores, whose largest one decides.
        variation: of the reference's output over the same samples.
        coarse: the candidate computes in 8 bits.
        indices: how equal its values are, where they name things.
    """
    signal, noise = columns["signal"], columns["noise"]
    worst, per_sample = _worst(signal, noise)
    energy = float(signal.sum()) * float(columns["energy"].sum())
    whole = float(noise.sum())
    raw = sqnr_db(float(signal.sum()), whole)
    varies = variation.is_seen(coarse=coarse) if indices is None else indices.skill is not None
    lost = None
    if indices is None and varies and "channel_noise" in columns:
        lost = variation.lost_share(columns["channel_noise"].sum(axis=0))
    return OutputParity(
        name=name,
        worst_sample=samples[worst],
        worst_sqnr_db=per_sample[worst],
        sqnr_db=raw,
        centred_db=_centred(variation, varies, float(signal.sum()), whole),
        varies=varies,
        lost_share=lost,
        systematic=systematic_error(columns, variation.energy) if varies else 0.0,
        cosine=_cosine(float(columns["dot"].sum()), math.sqrt(energy), noise=whole),
        max_abs=float(columns["largest"].max(initial=0.0)),
        mean_abs=float(columns["total"].sum()) / max(int(columns["count"].sum()), 1),
        per_sample_sqnr_db=tuple(per_sample),
        nonfinite=int(columns["nonfinite"].sum()),
        reference_nan=int(columns["reference_nan"].sum()),
        index_agreement=indices.agreement if indices else None,
        index_skill=indices.skill if indices else None,
        indices_lost=indices.lost if indices else None,
        **(_decisions(columns) if scores and not indices else {}),
    )


def summarize_part(
    span: tuple[int, int, int],
    columns: Mapping[str, Array],
    samples: Sequence[str],
    *,
    variation: Variation,
    coarse: bool = False,
) -> PartParity:
    """The parity of the entries ``start … start + size`` of an axis, from their own `sums`."""
    signal, noise = columns["signal"], columns["noise"]
    worst, per_sample = _worst(signal, noise)
    varies = variation.is_seen(coarse=coarse)
    axis, start, size = span
    return PartParity(
        axis=axis,
        start=start,
        size=size,
        worst_sample=samples[worst],
        worst_sqnr_db=per_sample[worst],
        sqnr_db=sqnr_db(float(signal.sum()), float(noise.sum())),
        centred_db=_centred(variation, varies, float(signal.sum()), float(noise.sum())),
        varies=varies,
    )


def _centred(variation: Variation, varies: bool, signal: float, noise: float) -> float:
    """The centred ratio; where nothing varies the plain one, above the arithmetic's resolution."""
    if varies:
        return variation.centred_db(noise)
    return sqnr_db(signal, noise - variation.floor if math.isfinite(noise) else noise)


def _decisions(columns: Mapping[str, Array]) -> dict[str, Any]:
    """Agreement of the decisions, how many classes the reference chose, and which were lost."""
    import numpy as np

    decision, answer = columns["decision"], columns["answer"]
    classes, often = np.unique(decision, return_counts=True)
    lost = set(classes[often >= CHOSEN_OFTEN].tolist()) - set(answer.tolist())
    return {
        "top1_agreement": float((decision == answer).mean()),
        "decisions": len(classes),
        "classes_lost": len(lost),
    }


def _worst(signal: Array, noise: Array) -> tuple[int, list[float]]:
    import numpy as np

    per_sample = [sqnr_db(s, n) for s, n in zip(signal.tolist(), noise.tolist(), strict=True)]
    return int(np.argmin(per_sample)), per_sample


def _cosine(dot: float, norm: float, *, noise: float) -> float:
    if not math.isfinite(noise):
        return math.nan
    return dot / norm if norm else float(noise == 0)
