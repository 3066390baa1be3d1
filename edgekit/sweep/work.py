"""What the jobs of a sweep do: each a function of plain data, and of folders.

They go the ways of `edgekit convert`, `edgekit reference record`, `edgekit validate` and
`edgekit benchmark`, with their gates and verdicts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError, SetupError
from edgekit.jobs.protocol import Plain
from edgekit.pipeline.plan import plan
from edgekit.pipeline.record import RecordRequest, record
from edgekit.pipeline.request import ConversionRequest
from edgekit.pipeline.run import convert_to_float, finish_from
from edgekit.pipeline.target import open_target
from edgekit.pipeline.validation.reports import Reports
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.pipeline.validation.result import environment
from edgekit.pipeline.validation.run import validate
from edgekit.pipeline.validation.timing import benchmark, benchmark_on
from edgekit.plain import from_plain
from edgekit.report.json import plain as strict
from edgekit.runners.protocol import Timing
from edgekit.types import SilentProgress, Verdict
from edgekit.validation_result import CandidateResult

RECORDING = "reference.edgeref"
MODULE = "edgekit.sweep.work"


def to_float(arguments: Mapping[str, Any], _inputs: Mapping[str, Path], folder: Path) -> Plain:
    """A model as the float file that equals it, and what its schemes are made and judged with."""
    request = from_plain(ConversionRequest, {**arguments["request"], "output": str(folder)})
    convert_to_float(plan(request), folder)
    return None


def to_scheme(arguments: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path) -> Plain:
    """The file of one scheme with its report and lock, as `edgekit convert` writes them."""
    request = from_plain(ConversionRequest, {**arguments["request"], "output": str(folder)})
    result = finish_from(plan(request), inputs[arguments["float"]])
    (file,) = result.files
    return {
        "file": file.artifact.path.name,
        "report": result.report.name,
        "sha256": file.artifact.sha256,
        "scheme": file.scheme,
        "state": file.verdict.state,
        "why": _why(file.verdict),
        "metrics": strict(file.metrics),
        "notes": list(result.notes),
    }


def to_recording(arguments: Mapping[str, Any], _inputs: Mapping[str, Path], folder: Path) -> Plain:
    """What the model itself says about the data that its files are measured on."""
    request = {**arguments["request"], "output": str(folder / RECORDING)}
    manifest = record(from_plain(RecordRequest, request), SilentProgress())
    return {"samples": manifest.samples}


def to_figures(arguments: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path) -> Plain:
    """A file where it is to run, against the recording of its model: verdict, figures, latency."""
    request = from_plain(
        ValidationRequest,
        {
            **arguments["request"],
            "candidates": [str(_only_file(inputs[arguments["file"]]))],
            "reference": str(inputs[arguments["recording"]] / RECORDING),
        },
    )
    result = validate(request)
    reports = Reports(output=folder, pictures=False)
    with contextlib.suppress(SetupError):  # what draws is an extra; the figures are there anyway
        reports.check()
        reports.write(result)
    (one,) = result.candidates
    if one.error:
        raise ConversionError(f"{one.name}: {one.error}")
    return {
        "report": "report.html" if (folder / "report.html").exists() else "",
        "state": one.state(strict=result.strict),
        "why": _why(one.verdict),
        "metrics": strict({**one.metrics, **_figures(one)}),
        "samples": result.data.samples,
        "machine": dict(result.environment),
    }


def to_latency(arguments: Mapping[str, Any], inputs: Mapping[str, Path], _folder: Path) -> Plain:
    """How long a file takes where it is to run."""
    request = from_plain(ValidationRequest, arguments["request"])
    file = _only_file(inputs[arguments["file"]])
    target = open_target(
        request.address,
        request.runtime,
        threads=request.threads,
        limits=request.limits,
        progress=SilentProgress(),
    )
    if target is None:
        timings, failures = benchmark(
            (file,),
            threads=request.threads,
            profile=False,
            limits=request.limits,
            progress=SilentProgress(),
        )
        found = environment()
    else:
        with target:
            timings, failures, lost = benchmark_on(target, (file,), progress=SilentProgress())
            found = target.environment()
        if lost:
            raise lost
    for reason in failures.values():
        raise ConversionError(f"{file.name} could not be timed: {reason}")
    (timing,) = timings.values()
    return {"metrics": strict(_times(timing)), "machine": found}


def _only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.tflite")
    return file


def _why(verdict: Verdict) -> list[str]:
    """Gates that stopped it, and what else is wrong or missing, in a line each."""
    missed = [
        f"{one.gate}, measured {one.measured:.4g}"
        for one in verdict.gates
        if one.state == "fail" and one.measured is not None
    ]
    return [*missed, *map(str, verdict.wrong)]


def _figures(one: CandidateResult) -> dict[str, float]:
    return {figure.name: figure.value for figure in one.figures}


def _times(timing: Timing) -> dict[str, float]:
    return {f"latency_p{q}_ms": timing.latency.percentile(q) for q in (50, 90)}
