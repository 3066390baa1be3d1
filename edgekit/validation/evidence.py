"""Whether there is enough to judge by: samples that differ, and outputs that move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.contract import Task
from edgekit.types import Gate, Interval, OutputParity, ParityReport, PartParity, Scheme, Verdict
from edgekit.validation import gates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FEWEST = 16
"""A verdict needs so many different samples."""
FLOATING: frozenset[Scheme] = frozenset({"fp32", "fp16"})
"""Schemes that compute in float; the others take steps that samples must be larger than."""
_POINTS = 64
_FEWEST_VALUES = 256
_NEAR = 0.05
_MOST_COMPARED = 1_000
_MOST_NAMED = 3


def marks(inputs: Sequence[Array]) -> dict[str, Any]:
    """What a sample is recognised by: ``copy`` (a digest), ``plain``, ``points``, ``contrast``.

    Args:
        inputs: of one sample, as the model takes them.
    """
    import hashlib

    import numpy as np

    digest = hashlib.sha256()
    for value in inputs:
        digest.update(np.ascontiguousarray(value).tobytes())
    largest = max((np.asarray(value).ravel() for value in inputs), key=len, default=np.zeros(0))
    points = np.zeros(_POINTS, np.float32)
    contrast = 0.0
    if largest.size >= _FEWEST_VALUES:
        drawn = np.random.default_rng(0).choice(largest.size, _POINTS, replace=False)
        points = largest[drawn].astype(np.float32)
        contrast = float(np.std(largest, dtype=np.float64))
    return {
        "copy": np.frombuffer(digest.digest()[:8], np.int64)[0],
        "plain": all(_is_plain(np.asarray(value)) for value in inputs),
        "points": points,
        "contrast": contrast,
    }


def _is_plain(value: Array) -> bool:
    """Whether every channel of an input has one value only; of very small ones nobody can tell."""
    import numpy as np

    if value.size < FEWEST:
        return False
    long = [axis for axis, size in enumerate(value.shape) if size > 4]
    flat: bool = bool(np.all(np.ptp(value, axis=tuple(long)) == 0)) if long else False
    return flat


def distinct(columns: Mapping[str, Array]) -> int:
    """How many samples are not copies, or nearly copies, of others, nor of one colour.

    Nearly a copy is what differs by less than a twentieth of its own contrast.

    Args:
        columns: `marks` of all samples, a row each.
    """
    import numpy as np

    told = ~columns["plain"].astype(bool)
    _, first = np.unique(columns["copy"][told], return_index=True)
    points, contrast = columns["points"][told][first], columns["contrast"][told][first]
    if len(first) > _MOST_COMPARED:
        return len(first)
    kept: list[int] = []
    for row in range(len(first)):
        near = _NEAR * contrast[row]
        if near and kept:
            away = np.sqrt(np.mean((points[kept] - points[row]) ** 2, axis=1))
            if float(away.min()) < near:
                continue
        kept.append(row)
    return len(kept)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a verdict stands on.

    Attributes:
        samples: how many were compared.
        distinct: how many of them say something new, see `distinct`.
        synthetic: random inputs, which the user asked for and the report says.
    """

    samples: int
    distinct: int
    synthetic: bool = False


def decide(
    wanted: Sequence[Gate],
    measured: Mapping[str, float],
    intervals: Mapping[str, Interval],
    *,
    scheme: Scheme | None,
    task: Task | None,
    parity: ParityReport,
    evidence: Evidence,
    reasons: Mapping[str, str] | None = None,
    accept_few: bool = False,
) -> Verdict:
    """The verdict on one file: every gate, and what is missing for a proof.

    Args:
        wanted: the file's gates; indices get theirs here.
        measured, intervals, reasons: by metric, see `edgekit.validation.gates.judge`.
        scheme: of the file, where it is known.
        task: of the first output.
        parity: how close the outputs are.
        evidence: what was compared on.
        accept_few: few samples will do; that there is something to compare is still asked for.
    """
    results = gates.judge(
        gates.for_outputs(wanted, scheme, parity.outputs),
        measured,
        intervals,
        reasons,
        accept_few=accept_few or evidence.synthetic,
        exact=scheme in FLOATING,
    )
    missing = list(_outputs(parity, task))
    if not accept_few and not evidence.synthetic:
        missing += _samples(evidence)
    return Verdict(gates=results, missing=tuple(missing))


def _samples(evidence: Evidence) -> list[str]:
    if evidence.distinct >= FEWEST:
        return []
    found = f"Only {evidence.samples} samples were compared"
    if evidence.distinct < evidence.samples:
        found = (
            f"{evidence.samples} samples were compared, but only {evidence.distinct} of them say "
            "something new (the rest are copies, nearly copies, or of one colour)"
        )
    return [f"{found}; a verdict needs {FEWEST} different ones."]


def _outputs(parity: ParityReport, task: Task | None) -> list[str]:
    """Outputs that say nothing, whatever the candidate does."""
    found = []
    first = parity.outputs[0]
    broken = [one.name for one in parity.outputs if one.reference_nan]
    if broken:
        found.append(f"The reference itself gives NaN in output {_listed(broken)}.")
    still = [one.name for one in parity.outputs if not _moves(one)]
    if len(still) == len(parity.outputs) or first.name in still:
        found.append(
            f"The reference's output {_listed(still)} is the same for all samples, so nothing that "
            "the file does with them could be seen."
        )
    if task == "classification" and first.decisions == 1 and parity.samples > 1:
        found.append("The reference chooses the same class for all samples.")
    return found


def _moves(output: OutputParity) -> bool:
    compared: list[OutputParity | PartParity] = [output, *output.parts]
    return any(one.varies for one in compared)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
