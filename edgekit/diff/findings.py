"""What was found between two files, the first called *before* and the second *after*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["added", "removed", "changed"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One fact that is another now; empty where there was or is none."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two files: its size in bytes by part, what it is made of."""

    path: str
    sha256: str
    size_bytes: int
    weights_bytes: int
    structure_bytes: int
    metadata_bytes: int
    operators: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class OperatorChange:
    """An operator that came, went, or is another: its type, version, options, inputs.

    ``name`` is that of its first output, in the later file where both have one; ``index`` its place
    in the order of execution of ``subgraph``.
    """

    kind: Kind
    operator: str
    name: str
    subgraph: int
    index: int
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TensorChange:
    """An input, an output or an intermediate result whose shape, type or name is another."""

    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class WeightChange:
    """A constant of a layer whose stored values or scales are not bit-equal.

    Attributes:
        layer: the name of the operator's first output.
        tensor: the constant's name.
        dtype, shape: before → after, where they differ.
        parameters: how many values there are now.
        share: of the values that are another number now, 0 to 1.
        relative_l2: ‖after − before‖ / ‖before‖ over the dequantized values.
        max_abs: the largest difference of a dequantized value.

    The last three are ``None`` where the shapes differ, or the type has no numbers to compare.
    """

    layer: str
    operator: str
    tensor: str
    dtype: str
    shape: str
    parameters: int
    share: float | None = None
    relative_l2: float | None = None
    max_abs: float | None = None


@dataclass(frozen=True, kw_only=True)
class RangeChange:
    """The quantization of a tensor that is computed at run time.

    Attributes:
        scale_before, scale_after: ``None`` where it is not quantized.
        percent: of the scale, (after / before − 1) · 100: how much wider the range is.
    """

    tensor: str
    operator: str
    scale_before: float | None
    scale_after: float | None
    percent: float | None
    zero_before: int | None
    zero_after: int | None


@dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """How far one output is from what it was, on real inputs; the first file is the reference."""

    name: str
    sqnr_db: float
    worst_sqnr_db: float
    worst_sample: str
    max_abs: float
    top1_agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What the differences mean on real inputs; latencies are medians, measured in turn."""

    data: str
    samples: int
    outputs: tuple[OutputDifference, ...]
    latency_before_ms: float | None = None
    latency_after_ms: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Everything that changed.

    Attributes:
        matched: how many operators were found in both files.
        equal_constants: how many constants of matched operators are bit-equal.
        weights: the most changed layer first.
        ranges: the most changed first.
        contract: keys of the embedded contract, dotted.
        metadata: other entries, and what the file says about itself.
        behaviour: ``None`` where no data was given.
    """

    before: Side
    after: Side
    matched: int
    equal_constants: int
    operators: tuple[OperatorChange, ...] = ()
    tensors: tuple[TensorChange, ...] = ()
    weights: tuple[WeightChange, ...] = ()
    ranges: tuple[RangeChange, ...] = ()
    contract: tuple[Change, ...] = ()
    metadata: tuple[Change, ...] = ()
    behaviour: Behaviour | None = None

    @property
    def same_bytes(self) -> bool:
        """Whether the files are equal byte for byte."""
        return self.before.sha256 == self.after.sha256

    @property
    def same(self) -> bool:
        """Whether nothing was found to be different; the bytes may still be ordered otherwise."""
        found = (self.operators, self.tensors, self.weights, self.ranges)
        return not any((*found, self.contract, self.metadata))
