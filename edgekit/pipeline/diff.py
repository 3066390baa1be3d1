"""What changed between two files, and what that means on real inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.diff.compare import diff
from edgekit.diff.findings import Behaviour, Diff, OutputDifference
from edgekit.errors import ConversionError
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.pipeline.validation.run import validate
from edgekit.runners.protocol import Timing
from edgekit.toolchain.workshop import Limits
from edgekit.types import Progress, SilentProgress


@dataclass(frozen=True, kw_only=True)
class DiffRequest:
    """All options of ``edgekit diff``.

    Attributes:
        before, after: the files.
        data: real inputs; without them nothing is run.
        limit: at most so many samples; ``seed`` decides which.
        preprocess: keys of `edgekit.contract.Preprocess`, where the files have no contract.
        threads: of the runtime when latencies are taken.
    """

    before: Path
    after: Path
    data: Path | None = None
    limit: int | None = None
    seed: int = 0
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    limits: Limits = field(default_factory=Limits)


def compare_files(request: DiffRequest, progress: Progress | None = None) -> Diff:
    """Compare two files, by what is in them and, with data, by what comes out of them.

    Raises:
        UsageError: there is no such file.
        ModelError: one is not a `.tflite`, or is damaged.
        EdgekitError: as `edgekit.pipeline.validation.run.validate`, where data is given.
    """
    progress = progress or SilentProgress()
    progress.step("Comparing the files")
    found = diff(request.before, request.after)
    progress.update(1.0)
    if request.data is None:
        return found
    return replace(found, behaviour=_behaviour(request, request.data, progress))


def _behaviour(request: DiffRequest, data: Path, progress: Progress) -> Behaviour:
    result = validate(
        ValidationRequest(
            candidates=(request.after,),
            reference=str(request.before),
            data=data,
            limit=request.limit,
            seed=request.seed,
            preprocess=request.preprocess,
            threads=request.threads,
            worst=0,
            explain="never",
            limits=request.limits,
        ),
        progress,
    )
    (candidate,) = result.candidates
    if candidate.error or candidate.parity is None:
        raise ConversionError(
            f"The outputs of {request.after} cannot be compared with those of {request.before}: "
            f"{candidate.error or 'nothing was measured'}",
            cure="Without --data the files are compared without running them.",
        )
    return Behaviour(
        data=str(data),
        samples=result.data.samples,
        outputs=tuple(
            OutputDifference(
                name=one.name,
                sqnr_db=one.sqnr_db,
                worst_sqnr_db=one.worst_sqnr_db,
                worst_sample=one.worst_sample,
                max_abs=one.max_abs,
                top1_agreement=one.top1_agreement,
            )
            for one in candidate.parity.outputs
        ),
        latency_before_ms=_median(result.reference.timing),
        latency_after_ms=_median(candidate.timing),
        notes=(*result.notes, *candidate.notes),
    )


def _median(timing: Timing | None) -> float | None:
    return timing.latency.percentile(50) if timing and timing.latency.samples_ms else None
