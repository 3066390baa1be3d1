"""Looks inside candidates: where along the layers they depart from the reference, and why."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.errors import EdgekitError
from edgekit.files import temporary_folder
from edgekit.pipeline.explain import ExplainRequest, explain
from edgekit.pipeline.validation.data import Samples
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.types import Progress
from edgekit.validation.explain.points import Explanation
from edgekit.validation.gates import COST_METRICS
from edgekit.validation_result import CandidateResult, Diagnosis, LayerSqnr, ValidationResult

_SAMPLES = 8
_PICTURES = 4 * _SAMPLES
"""`explain` compares on a quarter of what it is given, as a conversion does."""
_SPREAD = (
    "The error is spread over the layers: convert with --effort thorough, or state a budget with "
    "--max-drop or --min-sqnr, which keeps the costliest layers out of 8 bits."
)
_UNSEEN = ("bundle", "http")
"""References that answer, but show nothing of their inside."""


def look_inside(
    request: ValidationRequest,
    result: ValidationResult,
    samples: Samples,
    chosen: Sequence[int],
    progress: Progress,
) -> ValidationResult:
    """The result, with the layers of candidates and a diagnosis that explains their figures.

    With ``request.explain`` at ``auto`` these are the candidates that a gate on what they compute
    stopped; no layer is to blame for a size. What cannot be explained is said in a note: the
    verdict stands without.

    Args:
        request: what was asked for.
        result: of the run.
        samples: the data.
        chosen: the places of the samples that were compared on.
        progress: told the steps.
    """
    wanted = list(_wanted(request, result))
    if not wanted:
        return result
    if result.reference.kind in _UNSEEN and not request.elsewhere:
        why = f"A reference of kind {result.reference.kind} shows no layers: give the model itself."
        return replace(result, notes=(*result.notes, f"Not explained. {why}"))
    layers: list[LayerSqnr] = []
    told = {one.name: one for one in result.candidates}
    with temporary_folder("inside") as folder:
        data = _some(request, samples, chosen, Path(folder))
        for one in wanted:
            try:
                found = explain(_request(request, result, one, data), progress)
            except EdgekitError as error:
                told[one.name] = replace(one, notes=(*one.notes, f"Not explained. {error}"))
                continue
            layers += _layers(one, found)
            told[one.name] = replace(one, diagnosis=_diagnosis(one, found))
    return replace(result, candidates=tuple(told.values()), layers=tuple(layers))


def _diagnosis(one: CandidateResult, found: Explanation) -> Diagnosis:
    much = not one.verdict.passed and one.scheme not in (None, "fp32", "fp16")
    advice = found.advice or (_SPREAD if much else "")
    return Diagnosis(finding=found.verdict, why=found.why, advice=advice)


def _wanted(request: ValidationRequest, result: ValidationResult) -> Iterator[CandidateResult]:
    if request.explain == "never":
        return
    for one in result.candidates:
        failed = any(
            result.state == "fail" and result.gate.metric not in COST_METRICS
            for result in one.verdict.gates
        )
        if not one.error and (failed or request.explain == "always"):
            yield one


def _some(
    request: ValidationRequest, samples: Samples, chosen: Sequence[int], folder: Path
) -> Path:
    """A folder with the first pictures compared on; arrays are taken from their own file."""
    paths = [samples.get(place).path for place in chosen[:_PICTURES]]
    if not paths or any(path is None for path in paths):
        return request.data
    for number, path in enumerate(paths):
        assert path is not None
        shutil.copyfile(path, folder / f"{number:03d}{path.suffix}")
    return folder


def _request(
    request: ValidationRequest, result: ValidationResult, one: CandidateResult, data: Path
) -> ExplainRequest:
    # A float file beside the integer ones is what these were made from: no second conversion.
    floating = next((other.path for other in result.candidates if other.scheme == "fp32"), None)
    return ExplainRequest(
        candidate=one.path,
        reference="" if result.reference.kind in _UNSEEN else request.reference,
        data=data,
        floating=None if result.reference.kind == "tflite" else floating,
        samples=_SAMPLES,
        seed=request.seed,
        inputs=request.inputs,
        preprocess=request.preprocess,
        config=request.config,
        weights=request.weights,
        trust_pickle=request.trust_pickle,
        address=request.address,
        runtime=request.runtime,
        limits=request.limits,
    )


def _layers(one: CandidateResult, found: Explanation) -> Iterator[LayerSqnr]:
    for op in found.ops:
        yield LayerSqnr(
            candidate=one.name,
            name=op.called,
            operator=op.operator,
            sqnr_db=op.total_db,
            added_db=op.added_db,
            cause=op.why if op.bad else "",
        )
