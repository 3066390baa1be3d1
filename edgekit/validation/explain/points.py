"""The words of an explanation: tensors that were written down, and what was found about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Source: TypeAlias = Literal["weights", "clipping", "rounding", "rest"]
"""Where the error that an operator adds comes from.

``weights``   its weights and bias are others than the reference's
``clipping``  results lie outside the range that the output's scale can express
``rounding``  results fall between two steps of that scale
``rest``      anything else: another operator, other options, the kernel
"""
Cause: TypeAlias = Literal[
    "none",
    "nan",
    "weights-corrupted",
    "weights-coarse",
    "dead-channels",
    "saturation",
    "range-too-wide",
    "transposed-layout",
    "channel-order",
    "wrong-padding",
    "different-operator",
    "kernel",
    "bias-overflow",
    "normalisation",
    "unexplained",
]
"""Why an operator, or the input, departs from the reference."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One tensor of one stage, on all samples.

    Attributes:
        name: of the tensor, or the path of the module that made it.
        operator: what made it: ``CONV_2D``, ``Conv``, ``nn.Conv2d``; ``INPUT`` for an input.
        file: a `.npy` of shape (N, *shape) with the stored values.
        shape: of one sample.
        scale, zero_point: of stored integers; a scale of 0 means that the values are real.
    """

    name: str
    operator: str
    file: Path
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    def stored(self, sample: int) -> Array:
        """One sample as it is stored; only its bytes are read."""
        import numpy as np

        value: Array = np.load(self.file, mmap_mode="r")[sample]
        return value

    def values(self, sample: int) -> Array:
        """One sample as real values, float64."""
        import numpy as np

        stored = np.asarray(self.stored(sample), np.float64)
        return (stored - self.zero_point) * self.scale if self.scale else stored


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The tensors of a stage in the order of execution, inputs first."""

    stage: str
    points: tuple[Point, ...]
    samples: int

    def named(self) -> dict[str, Point]:
        """The points by name."""
        return {point.name: point for point in self.points}


@dataclass(frozen=True, kw_only=True)
class Match:
    """Which tensor of a stage is which of the stage before it, and how its axes are turned.

    ``candidate = reference.transpose(permutation).reshape(candidate's shape)``; ``db`` is the
    SQNR over all samples.
    """

    reference: str
    candidate: str
    permutation: tuple[int, ...]
    how: Literal["told", "name", "measured"]
    db: float


@dataclass(frozen=True, kw_only=True)
class StageFinding:
    """One stage against the one before it.

    Attributes:
        reference, candidate: names of the two stages.
        matches: in the order of execution of the candidate.
        departs: the candidate's tensor where it first departs, ``None`` where it does not.
        operator: what makes that tensor.
        from_db: the lowest SQNR of those before it.
    """

    reference: str
    candidate: str
    matches: tuple[Match, ...]
    compared: int
    departs: str | None = None
    operator: str = ""
    departs_db: float | None = None
    from_db: float | None = None
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class OpFinding:
    """One operator of the candidate.

    All SQNR are in decibels relative to the energy of the reference's tensor.

    Attributes:
        name: its first output.
        layer: what people call it; its name where nothing tells.
        place: in the order of execution, from 0; -1 for an input of the model.
        total_db: of its output, compared with the reference's.
        inherited_db: of the reference's operator on the candidate's inputs: what came in.
        added_db: of what this operator adds to that.
        sources: the share of the added energy by source, each 0 to 1.
        cause, why, advice: what is wrong, in words, and what to try.
        figures: what the cause was decided by.
    """

    name: str
    operator: str
    place: int
    total_db: float
    inherited_db: float
    added_db: float
    sources: Mapping[Source, float]
    cause: Cause = "none"
    why: str = ""
    advice: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    layer: str = ""

    @property
    def called(self) -> str:
        """What people call it."""
        return self.layer or self.name

    @property
    def bad(self) -> bool:
        """Whether something is wrong with this operator itself."""
        return self.cause != "none"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What `edgekit explain` found.

    Attributes:
        candidate, reference: as the user named them.
        graph: the name of the candidate's main graph.
        samples: the names of those that everything ran on.
        stages: each stage against the one before it; the last is the candidate.
        ops: every operator that could be compared, in the order of execution, inputs first.
        outputs_db: SQNR of the candidate's outputs, by name.
        verdict: the answer in a sentence.
        notes: what could not be compared, and what was assumed.
    """

    candidate: str
    reference: str
    graph: str
    samples: tuple[str, ...]
    stages: tuple[StageFinding, ...]
    ops: tuple[OpFinding, ...]
    outputs_db: Mapping[str, float]
    verdict: str
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def first(self) -> OpFinding | None:
        """The first operator with a fault of its own."""
        return next((op for op in self.ops if op.bad), None)

    @property
    def early(self) -> StageFinding | None:
        """The first stage before the candidate that departs: then that is the answer."""
        return next((stage for stage in self.stages[:-1] if stage.departs), None)

    @property
    def why(self) -> str:
        """How the first fault is known; empty where the verdict says all."""
        return self.first.why if self.first and not self.early else ""

    @property
    def advice(self) -> str:
        """What to try; empty where nothing is wrong with a single operator."""
        if self.early:
            return "It is the conversion before quantization: try another --route."
        return self.first.advice if self.first else ""

    @property
    def worst(self) -> tuple[OpFinding, ...]:
        """Operators by the error that they add, the worst first; faults before all others."""
        ranked = sorted(self.ops, key=lambda op: (not op.bad, op.added_db))
        return tuple(op for op in ranked if op.added_db < EXACT_DB)


EXACT_DB = 120.0
"""Above this an operator adds nothing but the rounding of 32-bit floats."""
