"""The vocabulary: frozen, keyword-only, standard library only.

Data flows through these words::

    ModelSource → Plan → Artifact(onnx) → Artifact(tflite, fp32) → Artifact(tflite, int8 …)
                → ParityReport + LatencyReport → Verdict
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

SourceKind: TypeAlias = Literal[
    "torch",  # a factory: package.module:factory or file.py:factory
    "torch_pickle",  # a whole pickled torch.nn.Module (only with --trust-pickle)
    "torchscript",
    "exported_program",  # .pt2 written by torch.export.save
    "keras",  # .keras or .h5
    "saved_model",
    "onnx",
    "tflite",
]
"""What a model is on disk, and what a converter can read or write."""

Scheme: TypeAlias = Literal[
    "fp32",
    "fp16",
    "dynamic-int8",
    "dynamic-int4",
    "dynamic-int4-block32",
    "int8",
    "int8-uint8-io",
    "int8-float-io",
    "int8-mixed",
    "int16x8",
    "weight-only-int8",
    "weight-only-int4",
]
"""How numbers are stored and computed.

``fp32``                 as the framework; its parity is the parity of the conversion
``fp16``                 weights stored in 16 bits, computed in 32
``dynamic-int8``         int8 weights, activations quantized at run time from float
``dynamic-int4``         the same with int4 weights, one step per output channel
``dynamic-int4-block32`` the same with a step for every 32 weights of a FULLY_CONNECTED row
``int8``                 int8 weights and activations, int8 inputs and outputs: all integer
``int8-uint8-io``        the same with uint8 inputs and outputs
``int8-float-io``        the same with float32 inputs and outputs
``int8-mixed``           as int8-float-io, with the layers that gain most for their time in float
``int16x8``              int8 weights, int16 activations
``weight-only-int8``     int8 weights, float arithmetic; the smallest change of behaviour
``weight-only-int4``     int4 weights, float arithmetic

Operators that have no 4-bit kernel (depthwise and transposed convolutions) get int8 weights in
the schemes with int4.
"""
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
IoDtype: TypeAlias = Literal["int8", "uint8", "float32"]
"""The type of an all-integer file's inputs and outputs."""
INT8_SCHEMES: dict[IoDtype, Scheme] = {
    "int8": "int8",
    "uint8": "int8-uint8-io",
    "float32": "int8-float-io",
}
"""The schemes that compute in int8 throughout; they differ in their inputs and outputs only."""
EIGHT_BIT_SCHEMES: frozenset[Scheme] = frozenset({*INT8_SCHEMES.values(), "int8-mixed"})
"""Those, and the one in which some layers do not."""
CALIBRATED_SCHEMES: frozenset[Scheme] = EIGHT_BIT_SCHEMES | {"int16x8"}
INT4_SCHEMES: frozenset[Scheme] = frozenset(
    {"dynamic-int4", "dynamic-int4-block32", "weight-only-int4"}
)
WEIGHT_SCHEMES: frozenset[Scheme] = INT4_SCHEMES | {"dynamic-int8", "weight-only-int8"}
"""The schemes that store weights as integers and leave activations in float between operators."""

Pass: TypeAlias = Literal[
    "equalization", "input-ranges", "rounding", "bias-correction", "drift-correction"
]
"""What can be left out of the preparation for int8; ranges have an option of their own."""

Effort: TypeAlias = Literal["none", "fast", "balanced", "thorough"]
"""How much is done for int8 before the quantizer writes the graph.

``none``      true minimum and maximum as ranges, nothing else: what the quantizer does by itself
``fast``      chosen ranges and bias correction
``balanced``  and channel equalization and error-compensated rounding
``thorough``  the rounding once more in stages, each for what the stages before it really make;
              more ways to choose ranges; learns from more samples
"""
Layout: TypeAlias = Literal["NCHW", "NHWC"]
GateState: TypeAlias = Literal["pass", "fail", "not measured", "not proven"]
VerdictState: TypeAlias = Literal["pass", "fail", "not proven"]


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output of a model. A dimension is ``None`` where it is dynamic.

    ``resizable`` are the axes whose size the app may change; ``shape`` has the size that they start
    with.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    layout: Layout | None = None
    resizable: tuple[int, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether every dimension is known."""
        return None not in self.shape


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A trained model as the user names it.

    ``location`` is a path, or ``package.module:factory`` / ``file.py:factory`` for PyTorch;
    ``signature`` names the function of a SavedModel that is meant.
    """

    location: str
    kind: SourceKind
    name: str
    weights: Path | None = None
    trust_pickle: bool = False
    signature: str | None = None
    named: Mapping[str, Any] | None = None
    """How the worker makes a model by name: ``name``, ``path``, ``program``, ``package``,
    ``offline``, ``untrusted``, ``fetch``."""

    @property
    def path(self) -> Path | None:
        """The file or folder of the model; ``None`` for an importable factory, and most names."""
        if self.named is not None:
            return Path(self.named["path"]) if self.named.get("path") else None
        if self.kind != "torch":
            return Path(self.location)
        module = self.location.rpartition(":")[0]
        return Path(module) if module.endswith(".py") else None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of an artifact's lineage."""

    name: str
    tool: str
    seconds: float
    peak_memory_mb: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    log: str | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file made on the way, with everything needed to say where it came from."""

    path: Path
    sha256: str
    kind: SourceKind
    scheme: Scheme | None = None
    size_bytes: int = 0
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    lineage: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Binding:
    """How one reference tensor maps to a candidate's tensor.

    ``permutation`` turns the reference's axes into the candidate's
    (``candidate = reference.transpose(permutation)``); ``how`` says what decided: ``name``,
    ``shape``, ``position``, ``measured`` or the ``converter`` itself. ``index`` is the candidate
    tensor's place among its inputs or outputs.
    """

    reference: str
    candidate: str
    index: int = 0
    permutation: tuple[int, ...]
    how: Literal["name", "shape", "position", "measured", "converter"] = "name"


@dataclass(frozen=True, kw_only=True)
class PartParity:
    """How close some neighbouring entries of an output are, which have a magnitude of their own.

    ``axis``, ``start`` and ``size`` say which, along the reference's axes; the rest is as in
    `OutputParity`.
    """

    axis: int
    start: int
    size: int
    worst_sample: str
    worst_sqnr_db: float
    sqnr_db: float
    centred_db: float = 0.0
    varies: bool = True


@dataclass(frozen=True, kw_only=True)
class OutputParity:
    """How close one output is to the reference's, over all samples and for the worst one.

    ``sqnr_db`` is 10·log10(Σ reference² / Σ (reference − candidate)²) in decibels, capped at 200
    for equal tensors; ``worst_*`` is the sample with the lowest one. ``centred_db`` has only what
    varies in the reference as its signal (`edgekit.closeness`), and is what gates ask for; where
    nothing ``varies`` it is the plain one. ``lost_share`` is the share of channels whose variation
    is lost, ``systematic`` how wrong a constant factor or offset is, as a share of what varies.
    ``top1_agreement`` is the share of samples with the same arg-max, ``None`` where the output is
    no vector of scores; ``decisions`` says how many classes the reference chose, and
    ``classes_lost`` how many of those that it chose often the candidate never chooses. Of indices,
    which have no magnitude, ``index_agreement`` is the share of equal values, ``index_skill`` how
    much of what differs between samples is met, and ``indices_lost`` how many frequent values never
    are (`edgekit.validation.nominal`); gates look at these instead of decibels.
    """

    name: str
    worst_sample: str
    worst_sqnr_db: float
    sqnr_db: float
    cosine: float
    max_abs: float
    mean_abs: float
    per_sample_sqnr_db: tuple[float, ...] = ()
    centred_db: float = 0.0
    varies: bool = True
    lost_share: float | None = None
    systematic: float = 0.0
    top1_agreement: float | None = None
    decisions: int | None = None
    classes_lost: int | None = None
    index_agreement: float | None = None
    index_skill: float | None = None
    indices_lost: int | None = None
    nonfinite: int = 0
    reference_nan: int = 0
    parts: tuple[PartParity, ...] = ()
    """Of an output that mixes ranges, where the loud part would hide how the quiet one does."""


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """A candidate against a reference on the same inputs.

    ``data`` is the digest of the inputs, or the word ``synthetic``.
    """

    reference: str
    candidate: str
    data: str
    samples: int
    outputs: tuple[OutputParity, ...]
    bindings: tuple[Binding, ...] = ()
    accuracy: float | None = None
    reference_accuracy: float | None = None

    @property
    def worst_output(self) -> OutputParity:
        """The output with the lowest centred SQNR; of indices only where there is nothing else."""
        real = [output for output in self.outputs if output.index_agreement is None]
        return min(real or self.outputs, key=lambda output: output.centred_db)


@dataclass(frozen=True, kw_only=True)
class LatencyReport:
    """Raw samples in milliseconds; percentiles are derived, never stored in their place."""

    samples_ms: tuple[float, ...]
    threads: int
    load_ms: float
    first_ms: float
    warmup: int = 0

    def percentile(self, q: float) -> float:
        """The ``q``-th percentile (0 to 100) in milliseconds, by linear interpolation."""
        ordered = sorted(self.samples_ms)
        position = (len(ordered) - 1) * q / 100
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a figure may lie, given that the samples are a draw from many more.

    ``confidence`` is the share of such intervals that hold the true value; ``method`` names how it
    was computed.
    """

    low: float
    high: float
    confidence: float = 0.95
    method: str = ""

    def margin(self, point: float) -> float:
        """The ``± …`` around a point: the distance to the farther end."""
        return max(point - self.low, self.high - point)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition that a file must meet: ``metric comparison limit``.

    With ``bound`` it is not the figure itself that is held against the limit, but the lower or
    upper end of its confidence interval. A ``default`` one was not stated by the user.
    """

    metric: str
    comparison: Literal["<=", ">=", "<", ">"]
    limit: float
    bound: Literal["lower", "upper"] | None = None
    default: bool = False

    def __str__(self) -> str:
        written = f"{self.metric} {self.comparison} {self.limit:g}"
        return f"{written} ({self.bound})" if self.bound else written


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """A gate with what was measured; ``not measured`` is a state, never a silent gap.

    ``not proven`` is a figure that holds (or fails) on so few samples that chance explains it.
    """

    gate: Gate
    state: GateState
    measured: float | None = None
    why: str = ""
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All gates of one file, what is missing for a proof, and what is wrong with the reference.

    The last two are sentences. A file that equals a reference that is fed wrongly fails.
    """

    gates: tuple[GateResult, ...]
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def state(self) -> VerdictState:
        """A gate that fails decides; else what is missing does, and whether any gate held."""
        if not self.holds:
            return "fail"
        states = {one.state for one in self.gates}
        unproven = self.missing or "not proven" in states or "pass" not in states
        return "not proven" if unproven else "pass"

    @property
    def passed(self) -> bool:
        """Whether no gate failed, on enough evidence."""
        return self.state == "pass"

    @property
    def holds(self) -> bool:
        """Whether nothing failed, however little was measured."""
        return not self.wrong and all(result.state != "fail" for result in self.gates)

    @property
    def passed_strictly(self) -> bool:
        """Whether every gate was measured and passed."""
        return self.passed and all(result.state == "pass" for result in self.gates)


Ranges: TypeAlias = Mapping[str, tuple[float, float]]
"""The lowest and highest value of each float tensor, by name."""


class Progress(Protocol):
    """Where the core tells how far it is; the CLI draws it, the library ignores it."""

    def step(self, title: str) -> None:
        """A new step begins."""

    def update(self, fraction: float, message: str = "") -> None:
        """The current step is at ``fraction`` (0 to 1)."""

    def note(self, message: str) -> None:
        """Something the user should read, such as a warning."""


class SilentProgress:
    """A `Progress` that keeps the notes and draws nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, title: str) -> None:
        """Ignore the step."""

    def update(self, fraction: float, message: str = "") -> None:
        """Ignore the fraction."""

    def note(self, message: str) -> None:
        """Keep the note."""
        self.notes.append(message)
