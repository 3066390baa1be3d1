"""From what was measured to a `ValidationResult`."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekit.contract import Contract
from edgekit.errors import DataError
from edgekit.measure import judge, tasks
from edgekit.measure.job import MeasuringJob
from edgekit.measure.rows import Rows, under
from edgekit.pipeline.validation import timing
from edgekit.pipeline.validation.data import Samples
from edgekit.pipeline.validation.prepare import Candidate, OpenReference
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.pipeline.validation.store import RunStore, load_rows
from edgekit.pipeline.validation.stream import Stream
from edgekit.toolchain.machine import cpu_name
from edgekit.toolchain.workshop import versions
from edgekit.types import Gate, Scheme
from edgekit.validation import gates
from edgekit.validation.metrics import Settings
from edgekit.validation.probe import Accuracy, Probe, accuracy
from edgekit.validation_result import (
    CandidateResult,
    Figure,
    ReferenceResult,
    ValidationData,
    ValidationResult,
    WorstSample,
)
from edgekit.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_MOST_SKIPPED = 0.1


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a run knows beside its rows."""

    request: ValidationRequest
    reference: OpenReference
    contract: Contract
    samples: Samples
    candidates: Sequence[Candidate]
    job: MeasuringJob
    timings: timing.Timings
    stated: Sequence[tuple[Scheme | None, Gate]]
    notes: Sequence[str]
    complete: bool
    environment: dict[str, str]
    probe: Probe = field(default_factory=Probe)


def make_result(
    findings: Findings, store: RunStore, finished: Sequence[int], stream: Stream
) -> ValidationResult:
    """Judge each candidate by the rows of the finished chunks.

    Raises:
        DataError: more than a tenth of the samples could not be read.
    """
    rows = load_rows(store, finished, len(findings.job.candidates))
    _check_skipped(rows, findings.samples)
    errors = _errors(findings, stream)
    worst = _worst(findings, rows, stream, errors)
    data = _digest(rows)
    if findings.contract.task == "classification":
        right = _accuracy(rows) or findings.probe.accuracy
        findings = replace(findings, probe=replace(findings.probe, accuracy=right))
    results: list[CandidateResult] = []
    figures: tuple[Figure, ...] = ()
    number = 0
    for candidate in findings.candidates:
        if candidate.bound is None or candidate.name in errors or not rows.samples:
            why = candidate.error or errors.get(candidate.name, "No sample was measured.")
            results.append(_failed(candidate, why))
            number += candidate.bound is not None
            continue
        result, judged = _judge(findings, rows, number, candidate, data, worst.get(number, ()))
        wrong = (*result.verdict.wrong, *findings.probe.wrong)
        results.append(replace(result, verdict=replace(result.verdict, wrong=wrong)))
        figures = figures or judged.reference_figures
        number += 1
    return _assemble(findings, rows, data, results, figures)


def _accuracy(rows: Rows) -> Accuracy | None:
    """How often the reference is right on all samples, where it decides for classes."""
    columns = under(rows.candidates[0], "metric") if rows.samples and rows.candidates else {}
    if not {"reference_class", "label"} <= set(columns):
        return None
    return accuracy(columns["reference_class"], columns["label"])


def _judge(
    findings: Findings,
    rows: Rows,
    number: int,
    candidate: Candidate,
    data: str,
    worst: Sequence[WorstSample],
) -> tuple[CandidateResult, judge.Judged]:
    assert candidate.bound is not None
    request, contract = findings.request, findings.contract
    ids = [findings.samples.ids[place] for place in rows.index.tolist()]
    metric = tasks.make_metric(
        contract, samples=len(findings.samples.ids), span=findings.job.span, own=request.metric
    )
    compared = judge.Compared(
        contract=contract,
        cuts=findings.job.parts,
        candidate=candidate.bound.job,
        bindings=candidate.bound.bindings,
        scheme=candidate.scheme,
        names=(findings.reference.runner.name, candidate.name),
        metric=metric,
        settings=Settings(seed=request.seed),
    )
    judged = judge.judge_rows(rows, number, compared, ids=ids, data=data)
    judged = replace(judged, remembers=candidate.remembers)
    measured_time = findings.timings.candidates.get(candidate.name)
    values = judge.measured(
        judged,
        measured_time.latency if measured_time else None,
        size_bytes=candidate.summary.size_bytes,
        integer_share=candidate.summary.integer_share,
    )
    task = None if request.metric else contract.task
    notes = list(candidate.bound.notes)
    if why := findings.timings.failures.get(candidate.name):
        notes.append(f"Not timed: {why}")
    return (
        CandidateResult(
            name=candidate.name,
            path=candidate.path,
            sha256=candidate.sha256,
            size_bytes=candidate.summary.size_bytes,
            scheme=candidate.scheme,
            contract=candidate.summary.contract,
            parity=judged.parity,
            figures=judged.figures,
            details=judged.details,
            timing=measured_time,
            worst=tuple(worst),
            drift=judged.drift,
            integer_share=candidate.summary.integer_share,
            metrics=values,
            verdict=judge.verdict(
                candidate.scheme,
                task,
                gates.for_file(candidate.scheme, task, findings.stated, allow_float=True),
                values,
                judged,
                no_labels=findings.samples.why,
                untimed=findings.timings.failures.get(candidate.name, "")
                or ("" if request.latency else "--no-latency"),
                accept_few=request.accept_few,
            ),
            notes=tuple(notes),
        ),
        judged,
    )


def _worst(
    findings: Findings, rows: Rows, stream: Stream, errors: Mapping[str, str]
) -> dict[int, list[WorstSample]]:
    """The worst samples of each candidate; they are run once more to be put into words."""
    bound = [one for one in findings.candidates if one.bound is not None]
    outputs = len(findings.contract.outputs)
    wanted = {
        number: judge.worst_places(rows.candidates[number], outputs, findings.request.worst)
        for number, one in enumerate(bound)
        if one.name not in errors and rows.samples
    }
    places = {int(rows.index[row]) for found in wanted.values() for row, _ in found}
    words = {one["id"]: one for one in stream.words(sorted(places))}
    return {
        number: [
            judge.worst_sample(words[name], number, decibels)
            for row, decibels in found
            if (name := findings.samples.ids[int(rows.index[row])]) in words
        ]
        for number, found in wanted.items()
    }


def _assemble(
    findings: Findings,
    rows: Rows,
    data: str,
    results: Sequence[CandidateResult],
    figures: tuple[Figure, ...],
) -> ValidationResult:
    request, reference = findings.request, findings.reference
    names = ", ".join(one.name for one in findings.candidates)
    notes = list(findings.notes)
    if why := findings.timings.failures.get(timing.REFERENCE):
        notes.append(f"The reference was not timed: {why}")
    return ValidationResult(
        title=f"{names} against {reference.runner.name}",
        reference=ReferenceResult(
            name=reference.runner.name,
            kind=reference.kind,
            device=reference.described.device,
            digest=reference.digest,
            versions=dict(reference.described.versions),
            timing=findings.timings.reference,
            figures=figures,
        ),
        data=ValidationData(
            path=(request.origin.data if request.origin else {}).get("data", str(request.data)),
            layout=findings.samples.layout,
            samples=rows.samples,
            digest=data,
            labelled=int(rows.common["labelled"].sum()) if rows.samples else 0,
            skipped=rows.skipped,
            notes=findings.samples.notes,
        ),
        candidates=tuple(results),
        environment=findings.environment,
        command=request.command,
        seconds=0.0,
        complete=findings.complete,
        strict=request.strict,
        notes=tuple(notes),
        probe=findings.probe,
    )


def environment() -> dict[str, str]:
    """What the candidates ran on and with."""
    found = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "edgekit": __version__,
    }
    return found | versions(("ai-edge-litert", "numpy", "opencv-python-headless", "pillow"))


def _failed(candidate: Candidate, why: str) -> CandidateResult:
    return CandidateResult(
        name=candidate.name,
        path=candidate.path,
        sha256=candidate.sha256,
        size_bytes=candidate.summary.size_bytes,
        scheme=candidate.scheme,
        contract=candidate.summary.contract,
        integer_share=candidate.summary.integer_share,
        error=why,
    )


def _errors(findings: Findings, stream: Stream) -> dict[str, str]:
    """Which candidates crashed on the data, by name."""
    bound = [one.name for one in findings.candidates if one.bound is not None]
    return {bound[number]: why for number, why in stream.dropped.items()}


def _check_skipped(rows: Rows, samples: Samples) -> None:
    total = rows.samples + len(rows.skipped)
    if len(rows.skipped) > _MOST_SKIPPED * total:
        name = rows.skipped[0]
        problem = _problem(samples, name)
        raise DataError(
            f"{len(rows.skipped)} of {total} samples could not be read, such as {name}"
            + (f": {problem.cause}" if problem else "."),
            cure=(problem.cure if problem else "") or "Replace or remove the damaged files.",
        )


def _problem(samples: Samples, name: str) -> DataError | None:
    """Why a sample cannot be read."""
    try:
        samples.get(samples.ids.index(name)).read()
    except DataError as error:
        return error
    return None


def _digest(rows: Rows) -> str:
    """Of the samples that were measured, whatever the order."""
    import numpy as np

    if not len(rows.index):  # no candidate runs
        return ""
    order = np.argsort(rows.index, kind="stable")
    return hashlib.sha256(np.ascontiguousarray(rows.common["digest"][order]).tobytes()).hexdigest()
