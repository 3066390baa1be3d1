"""What a validation returns, and what its reports are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.contract import Contract
from edgekit.runners.protocol import Timing
from edgekit.shown import Shown
from edgekit.types import Interval, ParityReport, Scheme, Verdict, VerdictState
from edgekit.validation.probe import Probe


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A task metric of one candidate.

    ``reference`` is the same metric of the reference, where it has labels to be measured on.
    """

    name: str
    value: float
    interval: Interval | None = None
    reference: float | None = None
    samples: int = 0


@dataclass(frozen=True, kw_only=True)
class AnswerBox:
    """A box that a detector is sure of: ``place`` is left, top, right, bottom, from 0 to 1."""

    name: str
    score: float
    place: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class AnswerMask:
    """The class of each cell of a picture, row by row.

    Attributes:
        height, width: in cells; fewer than the model has where it has many.
        runs: ``CLASS*CELLS`` one after the other: ``0*12 3*4``.
        names: of the classes that cover most, by their numbers.
    """

    height: int
    width: int
    runs: str
    names: dict[int, str]


@dataclass(frozen=True, kw_only=True)
class SampleAnswer:
    """What a model says of a sample, as a page draws it; what its task does not have is empty.

    ``classes`` are the first ones with their shares, 0 to 1.
    """

    classes: tuple[tuple[str, float], ...] = ()
    boxes: tuple[AnswerBox, ...] = ()
    mask: AnswerMask | None = None


@dataclass(frozen=True, kw_only=True)
class WorstSample:
    """A sample on which a candidate is far from the reference.

    Attributes:
        id: of the sample in the data set.
        path: its picture, where it is one.
        sqnr_db: of the worst output on this sample alone.
        label: the truth in words, empty where unknown.
        reference, candidate: what each says, in words: the first classes with their scores, how
            many boxes of which classes, which classes cover the picture.
        reference_answer, candidate_answer: the same as it is drawn, where that was kept.
    """

    id: str
    path: Path | None
    sqnr_db: float
    label: str = ""
    reference: str = ""
    candidate: str = ""
    reference_answer: SampleAnswer | None = None
    candidate_answer: SampleAnswer | None = None


@dataclass(frozen=True, kw_only=True)
class TensorDrift:
    """How an input or output range differs between the data here and the calibration.

    ``calibrated`` is what the file's scale can represent, ``seen`` what the reference had here,
    ``clipped`` the share of values (0 to 1) that lie outside.
    """

    name: str
    calibrated: tuple[float, float]
    seen: tuple[float, float]
    clipped: float


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What `edgekit explain` says of a candidate, in sentences.

    Attributes:
        finding: the operator where it departs from the reference, or that there is none.
        why: what is wrong there; empty where nothing is.
        advice: what to try; empty where there is nothing to advise.
    """

    finding: str
    why: str = ""
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """One `.tflite` with its proof. Where ``error`` is not empty, nothing else is known."""

    name: str
    path: Path
    sha256: str
    size_bytes: int
    scheme: Scheme | None = None
    contract: Contract | None = None
    parity: ParityReport | None = None
    figures: tuple[Figure, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    timing: Timing | None = None
    worst: tuple[WorstSample, ...] = ()
    drift: tuple[TensorDrift, ...] = ()
    integer_share: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=lambda: Verdict(gates=()))
    notes: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    error: str = ""

    def state(self, *, strict: bool = False) -> VerdictState:
        """The verdict in a word; with ``strict`` a gate that was not measured fails."""
        gaps = any(gate.state == "not measured" for gate in self.verdict.gates)
        return "fail" if self.error or (strict and gaps) else self.verdict.state


@dataclass(frozen=True, kw_only=True)
class LayerSqnr:
    """How close one tensor inside a candidate is to the reference's, in the order of the network.

    ``added_db`` is its SQNR if the error of this operator alone were in it. ``cause`` says in words
    what went wrong there; empty where nothing did.
    """

    candidate: str
    name: str
    operator: str
    sqnr_db: float
    added_db: float
    cause: str = ""


@dataclass(frozen=True, kw_only=True)
class ReferenceResult:
    """What the candidates were compared with.

    ``kind`` is that of the model source, ``bundle`` or ``http``; ``digest`` of the file where there
    is one.
    """

    name: str
    kind: str
    device: str
    digest: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    timing: Timing | None = None
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ValidationData:
    """The samples that were compared on."""

    path: str
    layout: str
    samples: int
    digest: str
    labelled: int = 0
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class ValidationResult(Shown):
    """Everything about one run of ``edgekit validate``.

    ``command`` makes the same result again; ``complete`` is false where it was interrupted.
    ``layers`` is about the candidates that were looked into.
    """

    title: str
    reference: ReferenceResult
    data: ValidationData
    candidates: tuple[CandidateResult, ...]
    environment: dict[str, str]
    command: str
    seconds: float
    complete: bool = True
    strict: bool = False
    notes: tuple[str, ...] = ()
    layers: tuple[LayerSqnr, ...] = ()
    probe: Probe = field(default_factory=Probe)

    @property
    def passed(self) -> bool:
        """Whether every gate of every candidate held; with ``strict`` it must be measured too."""
        return all(state == "pass" for state in self.states)

    @property
    def states(self) -> tuple[VerdictState, ...]:
        """The verdict on each candidate."""
        return tuple(one.state(strict=self.strict) for one in self.candidates)

    def rows(self) -> dict[str, tuple[str, dict[str, float]]]:
        """By candidate: the verdict and the figures."""
        pairs = zip(self.candidates, self.states, strict=True)
        return {one.name: (state, one.metrics) for one, state in pairs}
