"""Making the files of a lock again, and comparing them with what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgekit.errors import UsageError
from edgekit.files import temporary_folder
from edgekit.pipeline.plan import plan
from edgekit.pipeline.replay_request import to_request
from edgekit.pipeline.run import run
from edgekit.provenance.inputs import Difference, compare
from edgekit.provenance.kernels import with_blas
from edgekit.provenance.lock import LOCK_NAME, Lock
from edgekit.provenance.text import read_lock
from edgekit.types import Progress, SilentProgress

Outcome: TypeAlias = Literal["same", "differs", "not made"]


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """All options of ``edgekit replay``.

    Attributes:
        lock: the file.
        output: where the files stay; without it they are compared and thrown away.
        moved: where inputs are that lie elsewhere now, by role.
        trust_pickle, allow_network, allow_write: a lock may need them, but only the user can grant
            them.
        check_only: hold the inputs against the lock and make nothing.
    """

    lock: Path
    output: Path | None = None
    moved: Mapping[str, Path]
    force: bool = False
    trust_pickle: bool = False
    allow_network: bool = False
    allow_write: tuple[Path, ...] = ()
    check_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Remade:
    """One file of the lock beside the one that was made now; digests are SHA-256."""

    name: str
    scheme: str
    outcome: Outcome
    locked: str
    made: str = ""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a replay found.

    Attributes:
        inputs: those that are not what the lock says; then nothing was made.
        changed: versions, tools' locks, tensors and the machine where they are others now, as
            ``what: before → now``. They may be why bytes differ, and need not be.
        files: one for each of the lock's.
    """

    lock: str
    command: str
    inputs: tuple[Difference, ...]
    changed: tuple[str, ...] = ()
    files: tuple[Remade, ...] = ()
    output: str = ""
    checked_only: bool = False

    @property
    def same(self) -> bool:
        """Whether all that was looked at is what the lock says."""
        return not self.inputs and all(one.outcome == "same" for one in self.files)


def replay(request: ReplayRequest, progress: Progress | None = None) -> Replay:
    """Check the inputs of a lock, make its files again, and compare them byte for byte.

    Raises:
        UsageError: the lock is damaged, or asks for what the user did not grant.
        EdgekitError: as `edgekit.pipeline.run.run`.
    """
    progress = progress or SilentProgress()
    lock = read_lock(request.lock)
    if "compile" in lock.request:
        raise UsageError(
            f"{request.lock} is the lock of a compiled file; replay is for conversions.",
            cure=f"Compile it again: {lock.command} --force",
        )
    if request.output is not None and request.output.resolve() == request.lock.parent.resolve():
        raise UsageError(
            f"{request.output} is the folder of the lock, and would lose what is compared.",
            cure="Choose another --output folder.",
        )
    _check_roles(lock, request.moved)
    progress.step("Checking the inputs")
    places, differences = compare(lock, request.lock.parent, request.moved)
    progress.update(1.0)
    found = Replay(
        lock=str(request.lock),
        command=lock.command,
        inputs=differences,
        checked_only=request.check_only,
    )
    if differences or request.check_only:
        return found
    _check_grants(lock, request)
    if request.output is not None:
        return _make(found, lock, places, request, request.output, progress)
    with temporary_folder("replay") as folder:
        made = _make(found, lock, places, request, Path(folder) / "files", progress)
        return replace(made, output="")


def _make(
    found: Replay,
    lock: Lock,
    places: Mapping[str, Path],
    request: ReplayRequest,
    output: Path,
    progress: Progress,
) -> Replay:
    # Targets judge and change nothing; where their profiles lie now, nobody knows.
    wanted = to_request(lock, places, output=output, force=request.force, targets=(), compat=())
    granted = replace(wanted.limits, allow_write=request.allow_write)
    with with_blas(lock.machine.get("blas", "")):
        run(plan(replace(wanted, limits=granted)), progress)
    now = read_lock(output / LOCK_NAME)
    by_scheme = {one.scheme: one for one in now.files}
    files = []
    for one in lock.files:
        made = by_scheme.get(one.scheme)
        outcome: Outcome = "not made"
        if made is not None:
            outcome = "same" if made.sha256 == one.sha256 else "differs"
        files.append(
            Remade(
                name=one.name,
                scheme=one.scheme,
                outcome=outcome,
                locked=one.sha256,
                made=made.sha256 if made else "",
            )
        )
    changed = tuple(_changed(lock, now))
    return replace(found, files=tuple(files), changed=changed, output=str(output))


def _changed(then: Lock, now: Lock) -> Iterator[str]:
    """What may be why bytes differ: the likeliest reasons first."""
    pairs = {"edgekit": (then.edgekit, now.edgekit)}
    for one, other in zip(then.data, now.data, strict=False):
        pairs[f"tensors for {one.role}"] = (one.tensors[:12], other.tensors[:12])
    for name in sorted({*then.tools, *now.tools}):
        mine, theirs = then.tools.get(name, {}), now.tools.get(name, {})
        for tool in sorted({*mine, *theirs}):
            pairs[f"{tool} ({name})"] = mine.get(tool, "none"), theirs.get(tool, "none")
    for name in sorted({*then.environments, *now.environments}):
        before, after = then.environments.get(name, "none"), now.environments.get(name, "none")
        pairs[f"environment {name}"] = before[:12], after[:12]
    for name, value in then.machine.items():
        pairs[name] = value, now.machine.get(name, "none")
    yield from (f"{what}: {old} → {new}" for what, (old, new) in pairs.items() if old != new)


def _check_roles(lock: Lock, moved: Mapping[str, Path]) -> None:
    known = [*(one.role for one in lock.inputs), *(one.role for one in lock.data)]
    for role in moved:
        if role not in known:
            raise UsageError(
                f"--moved {role}=… names no input of the lock.", cure=f"It has: {', '.join(known)}"
            )


def _typed(flag: str, wanted: Any) -> str:
    """A grant as it is typed."""
    folders = wanted if isinstance(wanted, list) else [None]
    return " ".join(flag if folder is None else f"{flag} {folder}" for folder in folders)


def _check_grants(lock: Lock, request: ReplayRequest) -> None:
    """What could do harm needs the user's word, as it does for convert."""
    limits = lock.request.get("limits")
    limits = limits if isinstance(limits, dict) else {}
    wishes = {
        "--trust-pickle": (lock.request.get("trust_pickle"), request.trust_pickle),
        "--allow-network": (limits.get("allow_network"), request.allow_network),
        "--allow-write": (limits.get("allow_write"), request.allow_write),
    }
    for flag, (wanted, granted) in wishes.items():
        if wanted and not granted:
            raise UsageError(
                f"The lock's conversion was made with {flag}, which lets the model's file or code "
                "do more than convert would let it.",
                cure="If you trust the model: "
                f"edgekit replay {request.lock} {_typed(flag, wanted)}",
            )
