"""Holding a `.tflite` against a profile, without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.targets.arena import Arena, estimate
from edgekit.targets.finding import Basis, Finding
from edgekit.targets.loading import check_loading, first_outputs
from edgekit.targets.placement import Placement, check_split, place
from edgekit.targets.profile import Profile, ProfileLimits, ProfileRuntime
from edgekit.tflite.graph import Tensor
from edgekit.tflite.model import Model
from edgekit.tflite.summary import float_operators

_IO_DTYPES = ("uint8", "float32", "int8")
"""What ``--io-dtype`` can make, in the order in which it is advised."""


@dataclass(frozen=True, kw_only=True)
class TargetReport:
    """What one profile says about one file.

    Attributes:
        target: the profile's name.
        verified: whether the profile's facts were tried on the real thing.
        fits: whether there is no violation.
        loads: whether the runtime loads the file; ``None`` where that is not known.
        findings: violations first, notes last.
        placement: ``None`` without an accelerator in the profile.
        arena: the estimated working memory, ``None`` where a shape is not fixed.
        basis: whether the placement was predicted from the profile, or is the compiler's; empty for
            a target without a compiler.
        arena_bytes: the smallest arena with which the runtime itself opens the file; ``None`` where
            it was not asked.
    """

    target: str
    verified: bool
    fits: bool
    loads: bool | None
    findings: tuple[Finding, ...]
    placement: Placement | None
    arena: Arena | None
    basis: Basis | Literal[""] = ""
    arena_bytes: int | None = None

    @property
    def violations(self) -> tuple[Finding, ...]:
        """What makes the file unfit."""
        return tuple(one for one in self.findings if one.severity == "violation")


def check(
    model: Model,
    profile: Profile,
    *,
    size_bytes: int,
    left: Mapping[int, str] | None = None,
    arena_bytes: int | None = None,
) -> TargetReport:
    """Everything that a profile says about a file.

    Args:
        model: the file.
        profile: the target.
        size_bytes: the size of the file.
        left: what the accelerator's own compiler left to the CPU and why, by the indices of the
            operators; ``None`` where it was not asked and the profile tells.
        arena_bytes: the smallest arena with which the runtime itself opens the file, if it was
            asked.
    """
    loading = _loading(model, profile)
    runtime = profile.runtime or ProfileRuntime(name="")
    arena = estimate(model, alignment=runtime.alignment, keeps_inputs=runtime.keeps_inputs)
    findings = [*loading, *_limits(model, profile.limits, size_bytes, arena, arena_bytes)]
    placement = None
    if profile.accelerator:
        placement, found = place(model, profile.accelerator, left)
        findings += [*found, *check_split(placement, profile.accelerator, profile.limits)]
    rank = ("violation", "warning", "note")
    findings.sort(key=lambda one: rank.index(one.severity))
    return TargetReport(
        target=profile.name,
        verified=profile.verified,
        fits=all(one.severity != "violation" for one in findings),
        loads=_loads(loading),
        findings=tuple(findings),
        placement=placement,
        arena=arena,
        basis=placement.basis if placement and profile.compiles else "",
        arena_bytes=arena_bytes,
    )


def reasons(reports: Sequence[TargetReport]) -> str:
    """All violations in one line, for a gate; empty where there are none."""
    return "; ".join(
        f"{report.target}: {one.message.removesuffix('.')}"
        for report in reports
        for one in report.violations
    )


def _loading(model: Model, profile: Profile) -> list[Finding]:
    if profile.runtime is not None:
        return list(check_loading(model, profile.runtime))
    return [
        Finding(
            kind="unknown",
            severity="note",
            message=f"{profile.name} says nothing about the runtime that loads the file.",
            cure="Check it against one too, such as: --target tflite-runtime-2.14.0",
        )
    ]


def _loads(loading: Sequence[Finding]) -> bool | None:
    if any(one.kind in ("load", "flex", "custom") for one in loading):
        return False
    return None if any(one.kind == "unknown" for one in loading) else True


def _limits(
    model: Model,
    limits: ProfileLimits,
    size_bytes: int,
    arena: Arena | None,
    arena_bytes: int | None,
) -> Iterator[Finding]:
    if limits.integer_only and (floats := float_operators(model)):
        kinds = ", ".join(sorted({op.name for op in floats}))
        yield Finding(
            kind="integer",
            severity="violation",
            message=f"{len(floats)} operators compute in float ({kinds}); only integers are taken.",
            cure="Make an integer file: --scheme int8. Where it is one, see docs/quantization.md, "
            "Integer means integer.",
            operators=first_outputs(floats),
        )
    yield from _io("input", model.main.inputs, limits.inputs, limits.refused_io)
    yield from _io("output", model.main.outputs, limits.outputs, limits.refused_io)
    if limits.file_bytes is not None and size_bytes > limits.file_bytes:
        yield Finding(
            kind="size",
            severity="violation",
            message=f"The file has {size_bytes:,} bytes, {limits.file_bytes:,} fit.",
            cure="Smaller: --scheme int8, dynamic-int8 or dynamic-int4; or a smaller model.",
        )
    if limits.arena_bytes is None:
        return
    if arena_bytes is None:
        yield from _memory(limits.arena_bytes, arena)
    elif arena_bytes > limits.arena_bytes:
        yield Finding(
            kind="memory",
            severity="violation",
            message=f"One inference needs {arena_bytes:,} bytes (measured), "
            f"{limits.arena_bytes:,} are there.",
            cure=_SMALLER,
        )


def _io(
    side: str, tensors: list[Tensor], taken: frozenset[str] | None, refused: frozenset[str]
) -> Iterator[Finding]:
    for tensor in tensors:
        dtype = tensor.dtype
        if dtype not in refused and (taken is None or dtype in taken):
            continue
        # A type that nothing is known about is not advised; every runtime takes float32.
        possible = [one for one in _IO_DTYPES if one in (taken or {"float32"}) - refused]
        only = f" Taken are {', '.join(sorted(taken))}." if taken else ""
        yield Finding(
            kind="io",
            severity="violation",
            message=f"The {side} {tensor.name} is {dtype}, which is refused.{only}",
            cure=f"Make the file with --io-dtype {possible[0]}." if possible else "",
            operators=(tensor.name,),
        )


_SMALLER = "Smaller: --scheme int8, a smaller input, or a smaller model."


def _memory(limit: int, arena: Arena | None) -> Iterator[Finding]:
    if arena is None:
        yield Finding(
            kind="unknown",
            severity="note",
            message="The working memory is not known, because a shape is not fixed.",
            cure="Fix it: --input NAME:SHAPE.",
        )
    elif arena.planned > limit:
        certain = arena.peak > limit
        yield Finding(
            kind="memory",
            severity="violation" if certain else "warning",
            message=f"The tensors of one inference need about {arena.planned:,} bytes (estimated; "
            f"{arena.peak:,} at the least), {limit:,} are there.",
            cure=_SMALLER,
        )
