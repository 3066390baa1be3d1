"""A `.tflite` compiled for an accelerator, published with a lock of its own.

The compiled file is another file than its source: it has another digest, no contract, and runs on
the accelerator only. Its lock says what it was made from.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.compilers.asking import Compiled, ask_compiler
from edgekit.compilers.manifests import Compiler, check_options, compiler_for
from edgekit.errors import ConversionError, UsageError
from edgekit.files import kind_of
from edgekit.pipeline.locking import machine
from edgekit.pipeline.publish import disk_errors, held, scratch_folder
from edgekit.provenance.inputs import written
from edgekit.provenance.lock import Lock, LockedInput
from edgekit.provenance.text import to_text
from edgekit.provenance.verify import lock_file, own_lock
from edgekit.sources import digest
from edgekit.targets.check import TargetReport, check
from edgekit.targets.reading import load
from edgekit.tflite.model import read
from edgekit.toolchain.workshop import Limits
from edgekit.types import Progress, SilentProgress
from edgekit.version import __version__

SCHEME = "compiled"
"""What stands in the place of a scheme in the lock of a compiled file."""


@dataclass(frozen=True, kw_only=True)
class CompilationRequest:
    """What is to be compiled.

    Attributes:
        file: the `.tflite`.
        target: what for: ethos-u55-128.
        output: the compiled file; ``None`` for ``NAME_TARGET.tflite`` beside the source.
        options: handed on to the compiler.
        force: replace an existing file.
        limits: on the compiler's time and memory.
    """

    file: Path
    target: str
    output: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def place(self) -> Path:
        """Where the compiled file goes."""
        return self.output or self.file.with_name(f"{self.file.stem}_{self.target}.tflite")


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """A compiled file in its place.

    Attributes:
        source, source_sha256: what was compiled.
        sha256: of the compiled file, which is ``compiled.artifact``.
        lock: the file that says what it was made from.
        report: what runs where, and why.
    """

    source: Path
    source_sha256: str
    compiled: Compiled
    sha256: str
    lock: Path
    report: TargetReport


def compile_to_file(request: CompilationRequest, progress: Progress | None = None) -> Compilation:
    """Compile a `.tflite` for an accelerator, and write the result with its lock.

    Raises:
        UsageError: the target or an option is not known, or there is such a file already.
        ModelError: the source is damaged.
        ConversionError: the compiler refuses it, or it changed meanwhile.
        SetupError: the compiler cannot be had here, or the place cannot be written.
    """
    compiler = compiler_for(request.target)
    check_options(compiler, request.options)
    place, lock = request.place, own_lock(request.place)
    if place.suffix != ".tflite":
        raise UsageError(f"{place} is not a name of a .tflite file.", cure=f"-o {place}.tflite")
    source = read(request.file)
    before = digest(request.file)
    for path in (place, lock):
        if kind_of(path) != "none" and not request.force:
            raise UsageError(
                f"{path} exists already.",
                cure="Choose another place with --output, or replace it with --force.",
            )
    with (
        held(place.parent, place.name),
        scratch_folder(place.parent) as work,
        disk_errors(place.parent),
    ):
        compiled = ask_compiler(
            compiler,
            request.file,
            request.target,
            request.options,
            folder=work,
            limits=request.limits,
            progress=progress or SilentProgress(),
        )
        if digest(request.file) != before:
            raise ConversionError(
                f"{request.file} changed while it was compiled.", cure="Compile it again."
            )
        waiting = work / lock.name
        waiting.write_text(to_text(_lock(request, compiler, compiled, before)), encoding="utf-8")
        lock.unlink(missing_ok=True)
        compiled.artifact.replace(place)
        waiting.replace(lock)
    return Compilation(
        source=request.file,
        source_sha256=before,
        compiled=replace(compiled, artifact=place),
        sha256=digest(place),
        lock=lock,
        report=check(
            source,
            load(request.target),
            size_bytes=request.file.stat().st_size,
            left=compiled.left,
        ),
    )


def _lock(request: CompilationRequest, compiler: Compiler, compiled: Compiled, sha256: str) -> Lock:
    words = ["edgekit", "compile", str(request.file), "--target", request.target]
    for name, value in request.options.items():
        words += ["--option", f"{name}={value}"]
    name = compiler.worker.name
    place = request.place
    requirements = compiler.worker.requirements
    return Lock(
        edgekit=__version__,
        command=shlex.join(words),
        request={"compile": request.target, "options": dict(request.options)},
        inputs=(
            LockedInput(role="model", path=written(request.file, place.parent), sha256=sha256),
        ),
        tools={
            "host": {"python": platform.python_version(), "edgekit-tflite": __version__},
            name: dict(compiled.versions),
        },
        environments={name: digest(requirements)} if requirements else {},
        machine=machine(),
        files=(lock_file(compiled.artifact, place.name, SCHEME),),
    )
