"""Files held against targets, where the real runtime or compiler is asked if it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.compat.asking import facts_of
from edgekit.compat.clients import discover
from edgekit.compilers.asking import ask_compiler
from edgekit.compilers.manifests import compiler_for
from edgekit.errors import ConversionError
from edgekit.files import temporary_folder
from edgekit.targets.check import TargetReport, check
from edgekit.targets.profile import Profile
from edgekit.targets.reading import load
from edgekit.tflite.model import read
from edgekit.toolchain import environments
from edgekit.toolchain.workshop import Limits
from edgekit.types import Progress, SilentProgress


def held_against(
    file: Path, targets: Sequence[str], progress: Progress | None = None
) -> list[TargetReport]:
    """What each target says about a file.

    An accelerator's compiler says what it leaves to the CPU, and TensorFlow Lite Micro how much
    memory it needs, where they are installed; nothing is installed for it.

    Raises:
        UsageError: there is no such target.
        ModelError: the file is damaged.
    """
    progress = progress or SilentProgress()
    model, size = read(file), file.stat().st_size
    return [
        check(
            model,
            profile,
            size_bytes=size,
            left=_left(file, profile, progress),
            arena_bytes=_arena(file, profile, progress),
        )
        for profile in map(load, targets)
    ]


def _left(file: Path, profile: Profile, progress: Progress) -> Mapping[int, str] | None:
    """What the compiler leaves to the CPU; ``None`` where it is not there, or refuses the file."""
    if not profile.compiles:
        return None
    target = profile.compiles[0]
    compiler = compiler_for(target)
    if not environments.is_ready(compiler.worker):
        return None
    with temporary_folder("compile") as folder:
        try:
            return ask_compiler(
                compiler, file, target, {}, folder=folder, limits=Limits(), progress=progress
            ).left
        except ConversionError as error:
            progress.note(f"{compiler.worker.name} did not compile {file.name}: {error.cause}")
            return None


def _arena(file: Path, profile: Profile, progress: Progress) -> int | None:
    """The arena that the runtime needs for this very file, where it can be asked."""
    if profile.compiles or profile.runtime is None or not profile.runtime.client:
        return None
    worker = discover()[profile.runtime.client].worker
    if worker is None or not environments.is_ready(worker):
        return None
    try:
        return facts_of(worker, file, progress).get("arena_bytes")
    except ConversionError as error:
        progress.note(f"{worker.name} does not open {file.name}: {error.cause}")
        return None
