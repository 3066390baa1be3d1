"""Files from elsewhere held against a lock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from edgekit.errors import ModelError, UsageError
from edgekit.provenance.lock import LOCK_NAME, Lock, LockedFile
from edgekit.sources import digest
from edgekit.tflite.metadata import CONTRACT_ENTRY
from edgekit.tflite.model import read

State: TypeAlias = Literal["same", "differs", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What became of one file.

    Attributes:
        state: ``same`` as a file of the lock, ``differs`` from the one of its name, or
            ``unknown`` to the lock.
        entry: the file of the lock that it was held against.
        remarks: what differs, or what else to know.
    """

    path: str
    state: State
    entry: str = ""
    scheme: str = ""
    sha256: str = ""
    remarks: tuple[str, ...] = ()


def verify_file(path: Path, lock: Lock) -> Verified:
    """Hold one file against a lock: first by its content, then by its name.

    A file that cannot be read as a `.tflite` is no error: that is a way to differ.

    Raises:
        UsageError: there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", cure="Check the path.")
    sha256, size = digest(path), path.stat().st_size
    same = [one for one in lock.files if one.sha256 == sha256]
    entry = next((one for one in same if one.name == path.name), next(iter(same), None))
    if entry is not None:
        # A digest that is right beside a size or contract that is not: the lock contradicts itself.
        wrong = tuple(_against(entry, path, size))
        renamed = () if entry.name == path.name else (f"is called {entry.name} in the lock",)
        state: State = "differs" if wrong else "same"
        return _verified(path, state, entry, sha256, (*wrong, *renamed))
    entry = next((one for one in lock.files if one.name == path.name), None)
    if entry is None:
        known = ", ".join(one.name for one in lock.files[:4]) or "no file"
        return Verified(
            path=str(path),
            state="unknown",
            sha256=sha256,
            remarks=(f"is none of the lock's files by name or content; it has {known}",),
        )
    remarks = tuple(_against(entry, path, size)) or ("the same size and contract",)
    return _verified(path, "differs", entry, sha256, ("has another content", *remarks))


def own_lock(path: Path) -> Path:
    """Where the lock of a file that was made alone is, or would be: NAME.lock beside it."""
    return path.with_suffix(".lock")


def lock_beside(file: Path) -> Path:
    """The lock that is there for a file: its own, or else the ``edgekit.lock`` of its folder.

    Raises:
        UsageError: there is neither.
    """
    for lock in (own_lock(file), file.parent / LOCK_NAME):
        if lock.exists():
            return lock
    raise UsageError(
        f"There is no {LOCK_NAME} beside {file}, nor a {own_lock(file).name}.",
        cure=f"Name one: edgekit verify {file} --lock {LOCK_NAME}",
    )


def digest_of(stored: bytes | None) -> str:
    """The digest of a contract's bytes, empty where there is none."""
    return "" if stored is None else hashlib.sha256(stored).hexdigest()


def lock_file(path: Path, name: str, scheme: str) -> LockedFile:
    """Record a file that was made.

    Raises:
        ModelError: it cannot be read.
    """
    return LockedFile(
        name=name,
        scheme=scheme,
        sha256=digest(path),
        size_bytes=path.stat().st_size,
        contract=digest_of(read(path).metadata.get(CONTRACT_ENTRY)),
    )


def _against(entry: LockedFile, path: Path, size: int) -> Iterator[str]:
    if size != entry.size_bytes:
        yield f"{size:,} bytes instead of {entry.size_bytes:,}"
    try:
        contract = digest_of(read(path).metadata.get(CONTRACT_ENTRY))
    except ModelError as error:
        yield error.cause.removeprefix(f"{path} ").rstrip(".")
        return
    if contract != entry.contract:
        if not contract:
            yield "no contract inside"
        elif not entry.contract:
            yield "a contract inside, where there was none"
        else:
            yield "another contract"


def _verified(
    path: Path, state: State, entry: LockedFile, sha256: str, remarks: tuple[str, ...]
) -> Verified:
    return Verified(
        path=str(path),
        state=state,
        entry=entry.name,
        scheme=entry.scheme,
        sha256=sha256,
        remarks=remarks,
    )
