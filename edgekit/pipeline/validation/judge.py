"""From rows to what is reported: parity, figures, drift, the worst samples, the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract import Task
from edgekit.pipeline.validation.job import Job, Span
from edgekit.pipeline.validation.store import RunStore, read_table
from edgekit.types import (
    Binding,
    Gate,
    Interval,
    ParityReport,
    Scheme,
    Verdict,
)
from edgekit.validation import gates
from edgekit.validation.metrics import Metric, Score, Settings, Summary
from edgekit.validation.parity import (
    is_vector_of_scores,
    sqnr_db,
    summarize,
    summarize_part,
)
from edgekit.validation_result import Figure, TensorDrift, WorstSample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_REFERENCE = "reference_"


@dataclass(kw_only=True)
class Rows:
    """All rows of a run, joined: those of the samples, and those of each candidate by name."""

    index: Array
    digest: Array
    labelled: Array
    candidates: list[dict[str, Array]]
    skipped: tuple[str, ...]

    @property
    def samples(self) -> int:
        """How many samples were measured."""
        return len(self.index)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the rows of one candidate say."""

    parity: ParityReport
    figures: tuple[Figure, ...] = ()
    reference_figures: tuple[Figure, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    drift: tuple[TensorDrift, ...] = ()
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)


def load_rows(store: RunStore, chunks: Iterable[int], candidates: int) -> Rows:
    """Read the rows of some chunks, in their order.

    Args:
        store: where they are.
        chunks: those that are finished.
        candidates: how many there are; one that crashed has rows of some chunks only.
    """
    import numpy as np

    kept: dict[str, list[Array]] = {}
    skipped: list[str] = []
    for chunk in sorted(chunks):
        columns, words = read_table(store.path(chunk))
        skipped += words["skipped"]
        for name, column in columns.items():
            # A copy: a view would keep all of the file's bytes.
            kept.setdefault(name, []).append(column.copy())
    joined = {}
    while kept:
        name, parts = kept.popitem()
        joined[name] = np.concatenate(parts)
    empty = np.zeros(0, np.int64)
    return Rows(
        index=joined.get("index", empty),
        digest=joined.get("digest", np.zeros((0, 32), np.uint8)),
        labelled=joined.get("labelled", np.zeros(0, bool)),
        candidates=[_under(joined, str(number)) for number in range(candidates)],
        skipped=tuple(skipped),
    )


def judge_rows(
    rows: Mapping[str, Array],
    job: Job,
    number: int,
    *,
    names: tuple[str, str],
    ids: Sequence[str],
    data: str,
    bindings: Sequence[Binding],
    metric: Metric | None,
    settings: Settings,
) -> Judged:
    """Everything about one candidate that its rows tell.

    Args:
        rows: its own.
        job: what was measured.
        number: which candidate it is.
        names: of the reference and of the candidate.
        ids: of the samples, in the order of the rows.
        data: the digest of the samples.
        bindings: of its outputs.
        metric: the task's.
        settings: how intervals are drawn.
    """
    contract = job.stated
    summary = Summary(scores=())
    if metric is not None:
        summary = metric.summarize(_under(rows, "metric"), settings)
    found = summary.values
    outputs = []
    for place, binding in enumerate(bindings):
        shape = [size or 1 for size in contract.outputs[place].tensor.shape]
        output = summarize(
            contract.outputs[place].tensor.name,
            _under(rows, f"parity/{place}"),
            ids,
            scores=is_vector_of_scores(shape),
        )
        spans = job.parts.get(str(place), [])
        parts = tuple(
            summarize_part((axis, start, size), _under(rows, f"part/{place}/{part}"), ids)
            for part, (axis, start, size) in enumerate(spans)
        )
        outputs.append(replace(output, name=binding.reference, parts=parts))
    parity = ParityReport(
        reference=names[0],
        candidate=names[1],
        data=data,
        samples=len(ids),
        outputs=tuple(outputs),
        bindings=tuple(bindings),
        accuracy=found.get("top1_accuracy"),
        reference_accuracy=found.get("reference_top1_accuracy"),
    )
    return Judged(
        parity=parity,
        figures=tuple(_figures(summary.scores)),
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
            _drift(span, _under(rows, f"drift/{place}"))
            for place, span in enumerate(job.candidates[number].spans)
        ),
        values=found,
        intervals=summary.intervals,
    )


def worst_places(rows: Mapping[str, Array], outputs: int, most: int) -> list[tuple[int, float]]:
    """The rows with the lowest SQNR of any output, and that SQNR in decibels."""
    import numpy as np

    if not outputs or not most:
        return []
    lowest = None
    for place in range(outputs):
        columns = _under(rows, f"parity/{place}")
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
    stated: Sequence[tuple[Scheme | None, Gate]],
    measured: Mapping[str, float],
    intervals: Mapping[str, Interval],
    *,
    no_labels: str = "",
    untimed: str = "",
) -> Verdict:
    """Hold a candidate against the stated gates, and against defaults for the rest.

    Args:
        scheme: of the file, where it is known.
        task: decides the defaults.
        stated: the user's gates, with the scheme that each is for.
        measured, intervals: figures by name.
        no_labels: why the data has none; the reason of gates that would need them.
        untimed: why there are no latencies.
    """
    result = gates.judge(gates_of(scheme, task, stated), measured, intervals)
    return Verdict(
        gates=tuple(
            replace(one, why=_missing(one.gate.metric, task, no_labels, untimed) or one.why)
            if one.state == "not measured" and one.measured is None
            else one
            for one in result.gates
        )
    )


def gates_of(
    scheme: Scheme | None, task: Task | None, stated: Sequence[tuple[Scheme | None, Gate]]
) -> tuple[Gate, ...]:
    """The gates of one file: the stated ones, then defaults on metrics that none is about."""
    # A file of no known scheme is held to what every quantized one is.
    like: Scheme = scheme or "dynamic-int8"
    mine = [(only, gate) for only, gate in stated if only in (None, scheme)]
    own = gates.for_file(like, None, mine, allow_float=True)
    named = {gate.metric for gate in own}
    return (
        *own,
        *(gate for gate in gates.task_defaults(scheme, task) if gate.metric not in named),
    )


def _missing(metric: str, task: Task | None, no_labels: str, untimed: str) -> str:
    """Why there is no such figure; empty where nobody knows."""
    if metric.startswith("latency_"):
        return untimed
    if metric in gates.COST_METRICS:
        return ""
    if no_labels:
        return no_labels
    return f"it is no figure of {task}" if task else "no task is stated"


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


def _under(columns: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The columns below a prefix, without it."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): column
        for name, column in columns.items()
        if name.startswith(start)
    }
