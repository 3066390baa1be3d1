"""What an accelerator computes, what it leaves to the CPU and why, and where the graph splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from typing import Any

from edgekit.targets.finding import Basis, Finding, Severity
from edgekit.targets.forms import wrong_forms
from edgekit.targets.loading import first_outputs
from edgekit.targets.partitions import Partition, split
from edgekit.targets.profile import Accelerator, ProfileLimits, Rule
from edgekit.tflite.dtypes import FLOAT_TYPES
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model

_REPLACE = "Replace it in the model by operators that are taken."


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the operators of the main graph run.

    Attributes:
        operators: how many there are.
        accelerated: how many of them the accelerator computes.
        unknown: how many it may or may not take; they are counted as left to the CPU.
        parts: in the order in which they run.
        basis: whether a profile or the accelerator's compiler says so.
    """

    operators: int
    accelerated: int
    unknown: int
    parts: tuple[Partition, ...] = field(repr=False)
    basis: Basis = "predicted"


@dataclass(frozen=True, kw_only=True)
class _Refused:
    why: str
    cure: str
    known: bool = True


def place(
    model: Model, accelerator: Accelerator, left: Mapping[int, str] | None = None
) -> tuple[Placement, list[Finding]]:
    """Where everything runs, and what to say about it.

    Args:
        model: the file.
        accelerator: what it would run on.
        left: what its compiler left to the CPU and why, by the indices of operators; ``None`` where
            the profile is to tell.
    """
    graph = model.main
    refusals = {op.index: _refused_by(op, accelerator, left) for op in graph.operators}
    parts = split(graph, [index for index, refused in refusals.items() if refused is None])
    if accelerator.first_part_only:
        parts = _only_first(parts)
    placement = Placement(
        operators=len(refusals),
        accelerated=sum(len(part.operators) for part in parts if part.accelerated),
        unknown=sum(refused is not None and not refused.known for refused in refusals.values()),
        parts=parts,
        basis="predicted" if left is None else "compiled",
    )
    findings = [
        *_left(graph.operators, refusals, accelerator),
        *_behind(placement, refusals, accelerator),
        *(_conditions(graph.operators, refusals, accelerator) if left is None else ()),
    ]
    return placement, [replace(one, basis=placement.basis) for one in findings]


def _refused_by(
    op: Operator, accelerator: Accelerator, left: Mapping[int, str] | None
) -> _Refused | None:
    if left is None:
        return _refusal(op, accelerator)
    return _Refused(why=left[op.index], cure="") if op.index in left else None


def _only_first(parts: tuple[Partition, ...]) -> tuple[Partition, ...]:
    """The parts where only the first accelerated one stays so, and the CPU computes the rest."""
    first = next((i for i, part in enumerate(parts) if part.accelerated), None)
    if first is None:
        return parts
    rest = tuple(i for part in parts[first + 1 :] for i in part.operators)
    behind = (Partition(accelerated=False, operators=rest),) if rest else ()
    return *parts[: first + 1], *behind


def check_split(
    placement: Placement, accelerator: Accelerator, limits: ProfileLimits
) -> Iterator[Finding]:
    """Whether the file is accelerated as much and in as few parts as the limits ask."""
    count = sum(part.accelerated for part in placement.parts)
    if len(placement.parts) > 1:
        borders = sum(a.accelerated != b.accelerated for a, b in pairwise(placement.parts))
        beyond = limits.parts is not None and count > limits.parts
        yield Finding(
            kind="parts",
            severity="violation" if beyond else "note",
            message=f"The graph falls into {len(placement.parts)} parts, {count} of them on "
            f"{accelerator.name}: {_chain(placement, accelerator)}. Tensors are handed over "
            + ("once" if borders == 1 else f"{borders} times")
            + (f"; at most {limits.parts} parts are wanted." if beyond else "."),
            cure="Replace the operators in between by ones that are taken." if beyond else "",
            basis=placement.basis,
        )
    share = placement.accelerated / placement.operators if placement.operators else 1.0
    if limits.accelerated_share is not None and share < limits.accelerated_share:
        yield Finding(
            kind="accelerator",
            severity="violation",
            message=f"{accelerator.name} computes {share:.1%} of the operators; "
            f"{limits.accelerated_share:.1%} are wanted.",
            cure="See the operators that it leaves to the CPU.",
            basis=placement.basis,
        )


_MOST_PARTS = 7


def _chain(placement: Placement, accelerator: Accelerator) -> str:
    sides = [
        f"{accelerator.name if part.accelerated else 'CPU'} {len(part.operators)}"
        for part in placement.parts
    ]
    shown = sides[:_MOST_PARTS] + (["…"] if len(sides) > _MOST_PARTS else [])
    return " → ".join(shown)


def _left(
    operators: list[Operator], refusals: dict[int, _Refused | None], accelerator: Accelerator
) -> Iterator[Finding]:
    """One finding for each reason, and one for all operators that are not known."""
    groups: dict[_Refused, list[Operator]] = {}
    for op in operators:
        refused = refusals[op.index]
        if refused is not None:
            groups.setdefault(refused, []).append(op)
    for refused, those in groups.items():
        severity: Severity = "violation" if accelerator.required else "warning"
        yield Finding(
            kind="accelerator" if refused.known else "unknown",
            severity=severity if refused.known else "note",
            message=f"On the CPU: {_counted(those)}: {refused.why}."
            if refused.known
            else f"Whether {accelerator.name} takes {_counted(those)} is not known.",
            cure=refused.cure if refused.known else "",
            operators=first_outputs(those),
        )


def _counted(operators: list[Operator]) -> str:
    """``33 CONV_2D, 9 ADD``: the most frequent first."""
    counts = Counter(op.name for op in operators)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _behind(
    placement: Placement, refusals: dict[int, _Refused | None], accelerator: Accelerator
) -> Iterator[Finding]:
    """Operators that would be taken but come after the one part that is."""
    taken = sum(refused is None for refused in refusals.values())
    if lost := taken - placement.accelerated:
        yield Finding(
            kind="parts",
            severity="violation" if accelerator.required else "warning",
            message=f"{lost} operators that {accelerator.name} could take run on the CPU, because "
            "it computes one part of the graph only: the first.",
            cure="Move the operators that it does not take to the end of the model.",
        )


def _conditions(
    operators: list[Operator], refusals: dict[int, _Refused | None], accelerator: Accelerator
) -> Iterator[Finding]:
    """What the profile asks for in words only."""
    taken = sorted({op.name for op in operators if refusals[op.index] is None})
    for name in taken:
        if condition := accelerator.rules.get(name, Rule()).condition:
            yield Finding(
                kind="unknown",
                severity="note",
                message=f"{name}: edgekit does not check what {accelerator.name} asks for: "
                f"{condition}",
            )


def _refusal(op: Operator, accelerator: Accelerator) -> _Refused | None:
    """Why an operator is not taken, ``None`` where nothing speaks against it."""
    if op.is_custom:
        return _Refused(
            why=f"a custom operator, which {accelerator.name} does not take", cure=_REPLACE
        )
    if op.name not in accelerator.operators:
        return _Refused(
            why=f"not among the operators of {accelerator.name}",
            cure=_REPLACE,
            known=accelerator.complete,
        )
    rule = accelerator.rules.get(op.name, Rule())
    tensors = [tensor for tensor in (*op.inputs, *op.outputs) if tensor and not tensor.is_constant]
    return _wrong_type(tensors, rule.types or accelerator.types, accelerator) or _wrong_form(
        op, tensors, rule, accelerator
    )


def _wrong_type(
    tensors: list[Tensor], types: frozenset[str], accelerator: Accelerator
) -> _Refused | None:
    wrong = sorted({tensor.dtype for tensor in tensors} - types)
    if not wrong:
        return None
    names = " and ".join(wrong)
    return _Refused(
        why=f"{accelerator.name} does not take {names} there", cure=_scheme(wrong, types)
    )


def _scheme(wrong: list[str], types: frozenset[str]) -> str:
    """Which file would have the types that are taken."""
    if "int8" in types and not types.issuperset(FLOAT_TYPES.intersection(wrong)):
        return "Make an integer file: --scheme int8."
    if "int8" in types:
        return "Make the file with 8-bit activations: --scheme int8."
    if "float32" in types:
        return "A float file is taken: --scheme fp32."
    return ""


def _wrong_form(
    op: Operator, tensors: list[Tensor], rule: Rule, accelerator: Accelerator
) -> _Refused | None:
    most = rule.max_rank or accelerator.max_rank
    inner = accelerator.inner_dimensions
    for tensor in tensors:
        fixed = tensor.shape_signature[1:] if accelerator.open_batch else tensor.shape_signature
        if accelerator.static_shapes and None in fixed:
            return _Refused(why="a dimension that is not fixed", cure="Fix it: --input NAME:SHAPE.")
        if most is not None and len(tensor.shape) > most:
            return _Refused(
                why=f"more than {most} dimensions on {accelerator.name}",
                cure="Reshape in the model.",
            )
        if inner is not None and prod(tensor.shape[:-inner]) > 1:
            return _Refused(
                why=f"on {accelerator.name} only the last {inner} dimensions may be larger than 1",
                cure="Use batch 1.",
            )
    activation = _activation(op.options)
    if rule.activations is not None and activation not in rule.activations:
        return _Refused(
            why=f"{accelerator.name} does not take a fused {activation} there",
            cure="Put the activation behind it in the model.",
        )
    stride = max(getattr(op.options, "strideH", 1), getattr(op.options, "strideW", 1))
    if rule.max_stride is not None and stride > rule.max_stride:
        return _Refused(
            why=f"stride {stride}, of which {accelerator.name} takes {rule.max_stride} at most",
            cure="",
        )
    found = next(wrong_forms(op, rule, accelerator.name), None)
    return None if found is None else _Refused(why=found[0], cure=found[1])


def _activation(options: Any) -> str:
    from ai_edge_litert.schema_py_generated import ActivationFunctionType

    code = getattr(options, "fusedActivationFunction", 0)
    names = {value: name for name, value in vars(ActivationFunctionType).items() if name[0] != "_"}
    return str(names.get(code, code))
