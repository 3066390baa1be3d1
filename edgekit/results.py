"""What a conversion returns and what ``edgekit-report.json`` holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit.compat.rows import ClientRow
from edgekit.contract import Contract
from edgekit.shown import Shown
from edgekit.types import (
    Artifact,
    Effort,
    LatencyReport,
    ModelSource,
    ParityReport,
    Scheme,
    Step,
    Verdict,
    VerdictState,
)
from edgekit.validation.probe import Probe
from edgekit.validation_result import Figure, WorstSample


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
class Advice:
    """A finding about the calibration samples.

    Attributes:
        code: a stable name such as ``calibration-outlier``; docs/quantization.md lists them.
        message: a sentence for the user.
        warning: whether something should be done.
        samples: the ids of the samples that it is about.
        data: the figures behind the sentence.
    """

    code: str
    message: str
    warning: bool
    samples: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


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
class KeptFloat:
    """An operator that computes in float in a file meant to be integer, and why.

    ``output`` is the name of its first output.
    """

    op: str
    output: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class KeptLayer:
    """A layer that was taken out of 8 bits, for the accuracy budget or because the user says so.

    Attributes:
        name: of the layer in the original model where known.
        members: first outputs of the operators that belong to it.
        precision: ``float`` or ``int16`` activations.
        operator: ``CONV_2D`` …; empty where the user named the layer.
        gain: the share of the output's noise energy that went with it alone; negative where
            there was more noise.
        cost: by which share of the int8 file's time the file became slower by it alone.
    """

    name: str
    members: tuple[str, ...]
    precision: Literal["float", "int16"]
    operator: str = ""
    gain: float | None = None
    cost: float | None = None


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A choice of layers out of 8 bits that no other one beats in both accuracy and latency.

    Attributes:
        layers: which; none for plain int8.
        db: the SQNR of the worst output on held-out calibration samples that nothing was chosen by.
        slowdown: the file's time in parts of that of plain int8.
        predicted_db, predicted_slowdown: what the sums over layers said.
        chosen: the files are made with these layers.
    """

    layers: tuple[KeptLayer, ...]
    db: float
    slowdown: float
    predicted_db: float
    predicted_slowdown: float
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One setting that was tried to hold the accuracy budget.

    ``metrics`` are those of `FileResult`, by scheme; ``misses`` says which gates failed.
    """

    number: int
    effort: Effort
    ranges: str
    kept: tuple[KeptLayer, ...]
    metrics: dict[str, dict[str, float]]
    passed: bool
    misses: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """One `.tflite` with its proof."""

    scheme: Scheme
    artifact: Artifact
    parity: ParityReport | None
    latency: LatencyReport | None
    verdict: Verdict
    metrics: dict[str, float]
    figures: tuple[Figure, ...] = ()
    reference_figures: tuple[Figure, ...] = ()
    integer_share: float | None = None
    float_ops: tuple[str, ...] = ()
    kept_float: tuple[KeptFloat, ...] = ()
    clients: tuple[ClientRow, ...] = ()
    worst: tuple[WorstSample, ...] = ()
    sizes: tuple[ParityReport, ...] = ()
    """How close it is at other sizes of its inputs, where it can be resized."""
    error: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class ConversionResult(Shown):
    """Everything about one run of ``edgekit convert``."""

    source: ModelSource
    source_digest: str | None
    contract: Contract
    data: DataReport
    attempts: tuple[Attempt, ...]
    files: tuple[FileResult, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    advice: tuple[Advice, ...] = ()
    ladder: tuple[Rung, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    probe: Probe = field(default_factory=Probe)
    output: Path
    report: Path
    page: Path
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every gate of every file held."""
        return all(file.verdict.passed for file in self.files)

    @property
    def states(self) -> tuple[VerdictState, ...]:
        """The verdict on each file."""
        return tuple(file.verdict.state for file in self.files)

    def rows(self) -> dict[str, tuple[str, dict[str, float]]]:
        """By scheme: the verdict and the figures."""
        return {file.scheme: (file.verdict.state, file.metrics) for file in self.files}
