"""What a conversion returns and what ``edgekit-report.json`` holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.contract import Contract
from edgekit.types import (
    Artifact,
    LatencyReport,
    ModelSource,
    ParityReport,
    Scheme,
    Step,
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """Which data the conversion stood on."""

    path: str
    synthetic: bool
    seed: int
    calibration_samples: int
    calibration_digest: str
    parity_samples: int
    parity_digest: str
    parity_ids: tuple[str, ...] = ()
    """The samples that were compared on, in the order of every ``per_sample_…`` list."""
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A route that was tried: used, abandoned with a reason, or right but not the fastest."""

    route: str
    path: str
    state: Literal["used", "abandoned", "right, but slower"]
    why: str = ""
    stages: tuple[ParityReport, ...] = ()
    latency: LatencyReport | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """One `.tflite` with its proof."""

    scheme: Scheme
    artifact: Artifact
    parity: ParityReport | None
    latency: LatencyReport | None
    verdict: Verdict
    metrics: dict[str, float]
    integer_share: float | None = None
    float_ops: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """Everything about one run of ``edgekit convert``."""

    source: ModelSource
    source_digest: str | None
    contract: Contract
    data: DataReport
    attempts: tuple[Attempt, ...]
    files: tuple[FileResult, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    output: Path
    report: Path
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every gate of every file held."""
        return all(file.verdict.passed for file in self.files)
