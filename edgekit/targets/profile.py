"""What a target can do, as data: one `Profile` for each TOML file under ``profiles/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ProfileSource:
    """Where facts of a profile come from: a document or a measurement, and what it says."""

    name: str
    says: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An operator that the runtime has, but whose kernel cannot do with these tensors.

    Quantizers write versions that promise less than the tensors ask for, and so the version alone
    does not tell. Each condition that is stated must hold.

    Attributes:
        op: the operator.
        inputs: types of its first input that is computed.
        weights: types of an input that is constant.
        per_channel: whether such a constant has one scale for each channel.
        blockwise: whether such a constant has one scale for each block of a channel.
        outputs: types of its first output.
        wrong: whether the file loads all the same, and its results are wrong.
        says: what happens.
    """

    op: str
    inputs: frozenset[str] = frozenset()
    weights: frozenset[str] = frozenset()
    per_channel: bool = False
    blockwise: bool = False
    outputs: frozenset[str] = frozenset()
    wrong: bool = False
    says: str = ""


@dataclass(frozen=True, kw_only=True)
class ProfileRuntime:
    """What loads the file.

    Attributes:
        name: as people call it, with its version.
        operators: first and last version of each operator that it registers; ``None`` where that
            is not known. An operator that is missing here is not there.
        any_version: whether it looks at the operator only and not at its version (TFLite Micro).
        tensorflow_lite: the version of TensorFlow Lite that it was built from, where the operators
            are not listed: they follow from TensorFlow's own table then.
        types: tensor types that it knows, ``None`` where that is not known.
        refuses: tensors that its kernels refuse, or compute wrongly.
        custom: custom operators that it has.
        flex: whether TensorFlow's own operators (Flex) are linked in.
        alignment: bytes to which tensors are aligned in the arena.
        keeps_inputs: whether the graph's inputs keep their place in the arena to the end.
        client: the client of `edgekit compat` that is this runtime and tells how much memory a
            file needs; empty for none.
    """

    name: str
    operators: Mapping[str, tuple[int, int]] | None = None
    any_version: bool = False
    tensorflow_lite: str | None = None
    types: frozenset[str] | None = None
    refuses: tuple[Refusal, ...] = ()
    custom: frozenset[str] = frozenset()
    flex: bool = False
    alignment: int = 64
    keeps_inputs: bool = True
    client: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What an accelerator asks of one operator, beyond what it asks of all.

    Attributes:
        types: of its activations, in place of the accelerator's.
        activations: fused activation functions that it takes, ``None`` for all.
        max_stride: the largest stride.
        max_rank: the largest number of dimensions.
        max_batch: the largest product of the dimensions before the last three, which are height,
            width and depth.
        max_reduced: of a reduction, the longest axis that it may go over.
        lone_depth: of a reduction, whether it may go over the last axis only where height, width or
            depth is 1.
        last_axis: of a reduction, whether it may go over the last axis only.
        resize_factors: by which height and width may be enlarged, empty for any.
        half_pixel_factors: the same where centres of pixels are halves; empty for no difference.
        one_factor: whether height and width must be enlarged by the same factor.
        max_padded_kernel: the longest side of a kernel that pools with padding.
        one_quantization: whether inputs must have the scale and zero point of the output.
        max_area: height times width must be smaller.
        plane_strides: of a slice, whether steps may go forwards over height and width only.
        wide_permutations: the orders of axes that are taken of 32 and 64 bits, such as ``0213``.
        whole_steps: of a transposed convolution, whether the result must have the size that the
            stride gives.
        axis_is_batch: of a gather, whether its axis must be the first behind the batch's.
        constant_parameters: whether all inputs but the first must be constant.
        condition: what else must hold, in words. edgekit does not check it and says so.
    """

    types: frozenset[str] | None = None
    activations: frozenset[str] | None = None
    max_stride: int | None = None
    max_rank: int | None = None
    max_batch: int | None = None
    max_reduced: int | None = None
    lone_depth: bool = False
    last_axis: bool = False
    resize_factors: frozenset[int] = frozenset()
    half_pixel_factors: frozenset[int] = frozenset()
    one_factor: bool = False
    max_padded_kernel: int | None = None
    one_quantization: bool = False
    max_area: int | None = None
    plane_strides: bool = False
    wide_permutations: frozenset[str] | None = None
    whole_steps: bool = False
    axis_is_batch: bool = False
    constant_parameters: bool = False
    condition: str = ""


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A delegate or a co-processor that computes a part of the graph.

    Attributes:
        name: as people call it.
        operators: those that it takes.
        rules: what it asks of some of them.
        types: of the activations that it takes.
        max_rank: the largest number of dimensions of an activation.
        inner_dimensions: only so many of the innermost dimensions may be larger than 1.
        static_shapes: whether every dimension must be known.
        open_batch: whether the first may be open all the same.
        complete: whether ``operators`` is known to be the whole list. Where it is not, an operator
            that is missing there is *not known* instead of refused.
        required: whether what it does not take makes the file unfit, instead of slower.
        first_part_only: whether only the first part of the graph is computed by it.
    """

    name: str
    operators: frozenset[str]
    rules: Mapping[str, Rule] = field(default_factory=dict)
    types: frozenset[str]
    max_rank: int | None = None
    inner_dimensions: int | None = None
    static_shapes: bool = False
    open_batch: bool = False
    complete: bool = True
    required: bool = False
    first_part_only: bool = False


@dataclass(frozen=True, kw_only=True)
class ProfileLimits:
    """What a file must keep; ``None`` is not a limit.

    Attributes:
        integer_only: nothing computes in float, but for QUANTIZE and DEQUANTIZE at the border.
        file_bytes: size of the file.
        arena_bytes: working memory of one inference, as estimated by `edgekit.targets.arena`.
        inputs, outputs: tensor types that the app or its API takes.
        refused_io: tensor types of inputs and outputs that it is known to refuse; for targets
            of which the whole list is not known.
        accelerated_share: least share of operators, 0 to 1, that the accelerator computes.
        parts: so many accelerated parts at most.
    """

    integer_only: bool = False
    file_bytes: int | None = None
    arena_bytes: int | None = None
    inputs: frozenset[str] | None = None
    outputs: frozenset[str] | None = None
    refused_io: frozenset[str] = frozenset()
    accelerated_share: float | None = None
    parts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One target.

    Attributes:
        name: what one types after ``--target``.
        summary: one line.
        verified: whether its facts were tried on the real runtime or tool; where not, they are
            what the sources say.
        sources: where they come from.
        notes: what the reader must know, and what is not known.
        runtime, accelerator: ``None`` where the profile says nothing about it.
        limits: what a file must keep.
        compiles: what the accelerator's compiler calls it, as `edgekit compile --target` takes it:
            each is a target of its own, for which the same is predicted. Empty without a compiler.
    """

    name: str
    summary: str
    verified: bool
    sources: tuple[ProfileSource, ...]
    notes: tuple[str, ...] = ()
    runtime: ProfileRuntime | None = None
    accelerator: Accelerator | None = None
    limits: ProfileLimits = ProfileLimits()
    compiles: tuple[str, ...] = ()
