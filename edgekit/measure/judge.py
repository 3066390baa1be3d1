"""From rows to what is reported: parity, figures, drift, the worst samples, the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.closeness import Variation, is_vector_of_scores, sqnr_db
from edgekit.contract import Contract, Task
from edgekit.measure.job import CandidateJob, Span
from edgekit.measure.rows import Cuts, Rows, under
from edgekit.types import (
    Binding,
    Gate,
    Interval,
    LatencyReport,
    OutputParity,
    ParityReport,
    Scheme,
    Verdict,
)
from edgekit.validation import gates
from edgekit.validation.evidence import FLOATING, Evidence, decide, distinct
from edgekit.validation.metrics import Metric, MetricSummary, Score, Settings
from edgekit.validation.nominal import Nominal, nominal
from edgekit.validation.parity import summarize, summarize_part
from edgekit.validation_result import Figure, TensorDrift, WorstSample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_REFERENCE = "reference_"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What is compared with what, the same for all rows of a candidate.

    Attributes:
        contract: on the reference's tensors.
        cuts: the parts of its outputs that mix ranges.
        candidate: the file with its tensors bound.
        bindings: of its outputs.
        scheme: of the file, where it is known.
        names: of the reference and of the candidate.
        metric: the task's.
        settings: how intervals are drawn.
    """

    contract: Contract
    cuts: Cuts
    candidate: CandidateJob
    bindings: Sequence[Binding]
    scheme: Scheme | None
    names: tuple[str, str]
    metric: Metric | None = None
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the rows of one candidate say.

    ``values`` and ``intervals`` are by metric: what compares outputs, and what the task measures.
    ``missing``: what keeps the task's figures from proving anything.
    ``remembers``: its answers depend on the samples before, and the reference's do not.
    """

    parity: ParityReport
    evidence: Evidence
    figures: tuple[Figure, ...] = ()
    reference_figures: tuple[Figure, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    drift: tuple[TensorDrift, ...] = ()
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    remembers: bool = False


def judge_rows(
    rows: Rows,
    number: int,
    compared: Compared,
    *,
    ids: Sequence[str],
    data: str,
    synthetic: bool = False,
) -> Judged:
    """Everything about one candidate that its rows tell.

    Args:
        rows: of the run.
        number: which candidate it is.
        compared: what it is compared with.
        ids: of the samples, in the order of the rows.
        data: the digest of the samples.
        synthetic: the inputs are random.
    """
    mine = rows.candidates[number]
    summary = MetricSummary(scores=())
    if compared.metric is not None:
        summary = compared.metric.summarize(under(mine, "metric"), compared.settings)
    found = summary.values
    parity = ParityReport(
        reference=compared.names[0],
        candidate=compared.names[1],
        data=data,
        samples=len(ids),
        outputs=tuple(
            _output(rows, mine, place, binding, compared, ids)
            for place, binding in enumerate(compared.bindings)
        ),
        bindings=tuple(compared.bindings),
        accuracy=found.get("top1_accuracy"),
        reference_accuracy=found.get("reference_top1_accuracy"),
    )
    intervals = dict(summary.intervals)
    indices = _worst_indices(rows, mine, compared.candidate.named)
    intervals |= {one.name: one.interval for one in indices if one.interval is not None}
    if "top1_drop" in intervals:
        intervals["drop"] = intervals["top1_drop"]
    return Judged(
        parity=parity,
        evidence=Evidence(
            samples=len(ids), distinct=distinct(rows.marks) if ids else 0, synthetic=synthetic
        ),
        figures=(*indices, *_figures(summary.scores)),
        reference_figures=tuple(
            Figure(
                name=score.name.removeprefix(_REFERENCE),
                value=score.value,
                interval=score.interval,
                samples=score.samples,
            )
            for score in summary.scores
            if score.name.startswith(_REFERENCE)
        ),
        details=summary.details,
        drift=tuple(
            _drift(span, under(mine, f"drift/{place}"))
            for place, span in enumerate(compared.candidate.spans)
        ),
        values=found,
        intervals=intervals,
        missing=summary.missing,
    )


def _output(
    rows: Rows,
    mine: Mapping[str, Array],
    place: int,
    binding: Binding,
    compared: Compared,
    ids: Sequence[str],
) -> OutputParity:
    entry = compared.contract.outputs[place].tensor
    coarse = compared.scheme not in FLOATING
    widths = compared.candidate.widths
    width = widths[place] if place < len(widths) else None
    indices = None
    if place in compared.candidate.named:
        indices = _indices(rows, mine, place)
    output = summarize(
        binding.reference,
        under(mine, f"parity/{place}"),
        ids,
        scores=is_vector_of_scores([size or 1 for size in entry.shape]),
        variation=Variation(rows.spreads[str(place)], width),
        coarse=coarse,
        indices=indices,
    )
    parts = tuple(
        summarize_part(
            (cut[0], cut[1], cut[2]),
            under(mine, f"part/{place}/{part}"),
            ids,
            variation=Variation(rows.spreads[f"{place}.{part}"]),
            coarse=coarse,
        )
        for part, cut in enumerate(compared.cuts.get(str(place), ()))
    )
    return replace(output, parts=parts)


def _indices(rows: Rows, mine: Mapping[str, Array], place: int) -> Nominal:
    return nominal(under(mine, f"equal/{place}"), rows.drawn[str(place)]["answer"])


def _worst_indices(rows: Rows, mine: Mapping[str, Array], named: Sequence[int]) -> list[Figure]:
    """The agreement of the output of indices that agrees least, as a figure with an interval."""
    found = min(
        (_indices(rows, mine, place) for place in named),
        key=lambda one: one.agreement,
        default=None,
    )
    if found is None:
        return []
    return [
        Figure(
            name="index_agreement",
            value=found.agreement,
            interval=found.interval,
            samples=rows.samples,
        )
    ]


def measured(
    judged: Judged,
    latency: LatencyReport | None,
    *,
    size_bytes: int,
    integer_share: float | None,
    target_violations: int | None = None,
    client_violations: int | None = None,
) -> dict[str, float]:
    """Every figure of a candidate, by the names of `edgekit.validation.gates.METRICS`."""
    values = gates.metrics(
        judged.parity,
        latency,
        size_bytes=size_bytes,
        integer_share=integer_share,
        target_violations=target_violations,
        client_violations=client_violations,
    )
    values |= judged.values
    if "top1_drop" in judged.values:
        values["drop"] = judged.values["top1_drop"]
    return values


def worst_places(rows: Mapping[str, Array], outputs: int, most: int) -> list[tuple[int, float]]:
    """The rows with the lowest SQNR of any output, and that SQNR in decibels."""
    import numpy as np

    if not outputs or not most:
        return []
    lowest = None
    for place in range(outputs):
        columns = under(rows, f"parity/{place}")
        pairs = zip(columns["signal"].tolist(), columns["noise"].tolist(), strict=True)
        values = np.array([sqnr_db(signal, noise) for signal, noise in pairs])
        lowest = values if lowest is None else np.minimum(lowest, values)
    assert lowest is not None
    order = np.argsort(lowest, kind="stable")[:most]
    return [(int(row), float(lowest[row])) for row in order]


def worst_sample(words: Mapping[str, Any], number: int, decibels: float) -> WorstSample:
    """A sample with what everybody said about it."""
    return WorstSample(
        id=words["id"],
        path=Path(words["path"]) if words["path"] else None,
        sqnr_db=decibels,
        label=words["label"],
        reference=words["reference"],
        candidate=words["candidates"].get(str(number), ""),
    )


def verdict(
    scheme: Scheme | None,
    task: Task | None,
    wanted: Sequence[Gate],
    values: Mapping[str, float],
    judged: Judged,
    *,
    reasons: Mapping[str, str] | None = None,
    no_labels: str = "",
    untimed: str = "",
    accept_few: bool = False,
) -> Verdict:
    """Hold a candidate against its gates, and say why a figure is missing.

    Args:
        scheme: of the file, where it is known.
        task: of the first output.
        wanted: the file's gates, see `edgekit.validation.gates.for_file`.
        values: its figures, from `measured`.
        judged: what its rows said.
        reasons: by metric, why a figure is what it is.
        no_labels: why the data has none; the reason of gates that would need them.
        untimed: why there are no latencies.
        accept_few: few samples will do.
    """
    missing = {
        gate.metric: _missing(gate.metric, task, no_labels, untimed)
        for gate in wanted
        if gate.metric not in values
    }
    found = decide(
        wanted,
        values,
        judged.intervals,
        scheme=scheme,
        task=task,
        parity=judged.parity,
        evidence=judged.evidence,
        reasons=missing | dict(reasons or {}),
        accept_few=accept_few,
    )
    found = replace(found, missing=(*found.missing, *judged.missing))
    return replace(found, wrong=(REMEMBERS,)) if judged.remembers else found


REMEMBERS = (
    "it keeps state from one call to the next, which the reference does not: the same input gives "
    "another answer after other inputs"
)


def _missing(metric: str, task: Task | None, no_labels: str, untimed: str) -> str:
    """Why there is no such figure; empty where nobody knows."""
    if metric.startswith("latency_"):
        return untimed
    if metric in gates.COST_METRICS:
        return ""
    if no_labels and not metric.endswith(_NEEDS_NO_LABELS):
        return no_labels
    return f"it is not a figure of {task}" if task else "no task is stated"


_NEEDS_NO_LABELS = (
    "_agreement",
    "_to_reference",
    "_to_reference_db",
    "lost_share",
    "index_skill",
    "_lost",
)


def _figures(scores: Sequence[Score]) -> Iterable[Figure]:
    values = {score.name: score.value for score in scores}
    for score in scores:
        if not score.name.startswith(_REFERENCE):
            yield Figure(
                name=score.name,
                value=score.value,
                interval=score.interval,
                reference=values.get(_REFERENCE + score.name),
                samples=score.samples,
            )


def _drift(span: Span, columns: Mapping[str, Array]) -> TensorDrift:
    return TensorDrift(
        name=span.name,
        calibrated=(span.low, span.high),
        seen=(float(columns["low"].min()), float(columns["high"].max())),
        clipped=float(columns["outside"].sum()) / max(1.0, float(columns["count"].sum())),
    )
