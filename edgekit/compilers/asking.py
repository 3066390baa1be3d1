"""One file given to a compiler: what it compiled, and what it left to the CPU and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgekit.compilers.manifests import Compiler
from edgekit.errors import ConversionError
from edgekit.tflite.graph import Operator
from edgekit.tflite.model import Model, read
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import Progress


@dataclass(frozen=True, kw_only=True)
class CompiledFigures:
    """What the compiler expects of one inference of the whole file, but for what the CPU computes.

    Attributes:
        sram_bytes, dram_bytes: working memory.
        flash_bytes: weights and commands.
        macs: multiplications with additions.
        cycles: of the accelerator's clock.
        inferences_per_second: at ``clock_hz``; 0 where the accelerator computes nothing.
        clock_hz: the clock that the compiler assumes.
        system, memory_mode: the board that the compiler assumes, in its own words.
    """

    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    macs: int
    cycles: int
    inferences_per_second: float
    clock_hz: float
    system: str
    memory_mode: str


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A compiled file.

    Attributes:
        artifact: where it lies.
        target: what it was compiled for.
        compiler: by its name.
        versions: of the compiler.
        options: that were handed on.
        left: for each operator of the source's main graph that the CPU computes, by its index, why.
        figures: what the compiler expects; ``None`` where it does not say.
    """

    artifact: Path
    target: str
    compiler: str
    versions: Mapping[str, str]
    options: Mapping[str, str]
    left: Mapping[int, str] = field(repr=False)
    figures: CompiledFigures | None


def ask_compiler(
    compiler: Compiler,
    file: Path,
    target: str,
    options: Mapping[str, str],
    *,
    folder: Path,
    limits: Limits,
    progress: Progress,
) -> Compiled:
    """Compile a file, contained like a converter.

    Args:
        compiler: that knows the target.
        file: the `.tflite`.
        target: what for.
        options: that are handed on.
        folder: an existing, empty one for what the compiler writes.
        limits: on its time and memory.
        progress: told what happens.

    Raises:
        ModelError: the file is damaged.
        UsageError: the compiler does not take an option's value.
        ConversionError: it refuses the file, or what it made is not a compiled form of it.
        SetupError: it cannot be had here.
    """
    source = read(file)
    request = {
        "artifact": str(file.resolve()),
        "folder": str(folder),
        "target": target,
        "options": dict(options),
    }
    title = f"Compiling {file.name} for {target}"
    with Workshop(
        name=f"compile-{compiler.worker.name}",
        progress=progress,
        limits=limits,
        work=folder,
        read=(file.resolve(),),
    ) as workshop:
        result, _ = workshop.call(compiler.worker, "compile_file", request, title=title)
        versions = workshop.versions_of(compiler.worker)
    artifact = Path(result["artifact"])
    reasons = {str(output): str(reason) for output, reason in result["refused"]}
    return Compiled(
        artifact=artifact,
        target=target,
        compiler=compiler.worker.name,
        versions=versions,
        options=dict(options),
        left=left_to_the_cpu(source, read(artifact), reasons, compiler.custom),
        figures=_figures(result["figures"]) if "figures" in result else None,
    )


def left_to_the_cpu(
    source: Model, compiled: Model, reasons: Mapping[str, str], custom: frozenset[str]
) -> dict[int, str]:
    """The operators of the source that are in the compiled file still, by index, and why.

    Args:
        source: what was compiled.
        compiled: what came of it.
        reasons: what the compiler said, by the operator's first output.
        custom: what the compiler's own operators are called.

    Raises:
        ConversionError: the compiled file has an operator that is neither the compiler's nor the
            source's.
    """
    waiting: dict[tuple[str, str], list[Operator]] = {}
    for op in source.main.operators:
        waiting.setdefault((op.name, _first_output(op)), []).append(op)
    left = {}
    for op in compiled.main.operators:
        if op.name in custom:
            continue
        name = _first_output(op)
        same = waiting.get((op.name, name))
        if not same:
            raise ConversionError(
                f"The compiled file has {op.name} with the output {name!r}, which is neither the "
                "compiler's nor in the source."
            )
        left[same.pop(0).index] = reasons.get(name, "the compiler did not say why")
    return dict(sorted(left.items()))


def _first_output(op: Operator) -> str:
    return next((tensor.name for tensor in op.outputs if tensor), "")


def _figures(table: Mapping[str, Any]) -> CompiledFigures:
    wanted = [one.name for one in fields(CompiledFigures)]
    if missing := [name for name in wanted if name not in table]:
        raise ConversionError(f"The compiler's figures lack {', '.join(missing)}.")
    numbers = [table[name] for name in wanted if not isinstance(table[name], str)]
    if not all(math.isfinite(one) and one >= 0 for one in numbers):
        raise ConversionError("The compiler's figures are not numbers.")
    return CompiledFigures(**{name: table[name] for name in wanted})
