"""What a conversion read: recorded for the lock, found again, compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.calibration import Source, open_source
from edgekit.errors import EdgekitError
from edgekit.provenance.lock import (
    DataRole,
    Lock,
    LockedData,
    LockedInput,
    LockedSample,
)
from edgekit.sources import digest

_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An input that is not what the lock says; ``why`` goes on after its role."""

    role: str
    path: str
    why: str


def written(path: Path, folder: Path) -> str:
    """A path as a lock in ``folder`` has it: below that folder, below here, or absolute."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100  links are not followed
    for base in (os.path.abspath(folder), Path.cwd()):  # noqa: PTH100
        if whole.is_relative_to(base):
            return whole.relative_to(base).as_posix()
    return whole.as_posix()


def found(path: str, folder: Path) -> Path:
    """Where a path of a lock in ``folder`` is now: below that folder, else below here."""
    beside = folder / path
    return beside if os.path.exists(beside) else Path(path)  # noqa: PTH110  too long: not there


def lock_input(role: str, path: Path, folder: Path) -> LockedInput:
    """Record a file or folder."""
    return LockedInput(role=role, path=written(path, folder), sha256=digest(path))


def lock_data(
    role: DataRole, path: Path, ids: Sequence[str], tensors: str, folder: Path
) -> LockedData:
    """Record the samples of one role.

    Args:
        path: what `edgekit.calibration.open_source` takes.
        ids: the used samples in their order.
        tensors: the digest of what was made of them.
        folder: the lock's.
    """
    place = written(path, folder)
    if not path.is_dir():  # its own digest says everything
        samples = tuple(LockedSample(id=id_) for id_ in ids)
        return LockedData(
            role=role, path=place, sha256=digest(path), tensors=tensors, samples=samples
        )
    source = open_source(path)
    return LockedData(
        role=role,
        path=place,
        listing=_listing(source),
        available=len(source.samples),
        tensors=tensors,
        samples=tuple(LockedSample(id=id_, sha256=digest(path / id_)) for id_ in ids),
    )


def compare(
    lock: Lock, folder: Path, moved: Mapping[str, Path]
) -> tuple[dict[str, Path], tuple[Difference, ...]]:
    """Hold every input against the lock.

    Args:
        folder: the lock's.
        moved: where inputs are that are no longer where the lock says, by role.

    Returns:
        Where each input is now, by role, and those that are not what they were.
    """
    places: dict[str, Path] = {}
    differences: list[Difference] = []
    # Parity data is mostly a part of the calibration data, and moves with it.
    together = {one.path: moved[one.role] for one in lock.data if one.role in moved}
    every: tuple[LockedInput | LockedData, ...] = (*lock.inputs, *lock.data)
    for one in every:
        path = moved.get(one.role) or together.get(one.path) or found(one.path, folder)
        places[one.role] = path
        reasons = _data_reasons(one, path) if isinstance(one, LockedData) else _reasons(one, path)
        differences += [Difference(role=one.role, path=str(path), why=why) for why in reasons]
    return places, tuple(differences)


def _reasons(one: LockedInput, path: Path) -> Iterator[str]:
    try:
        if not path.exists():
            yield "is not there"
        elif digest(path) != one.sha256:
            yield "has another content"
    except OSError as error:
        yield f"cannot be read: {error.strerror or error}"


def _data_reasons(data: LockedData, path: Path) -> Iterator[str]:
    try:
        if not path.exists():
            yield "is not there"
        elif path.is_dir() == bool(data.sha256):
            yield "is a folder now" if data.sha256 else "was a folder"
        elif data.sha256:
            if digest(path) != data.sha256:
                yield "has another content"
        else:
            yield from _folder_reasons(data, path)
    except OSError as error:
        yield f"cannot be read: {error.strerror or error}"


def _folder_reasons(data: LockedData, path: Path) -> Iterator[str]:
    """What is wrong in a folder: used samples first, then what was added beside them."""
    gone = [one.id for one in data.samples if not (path / one.id).is_file()]
    changed = [
        one.id for one in data.samples if one.id not in gone and digest(path / one.id) != one.sha256
    ]
    if gone:
        yield f"lacks {_named(gone)}"
    if changed:
        yield f"has another {_named(changed)}"
    if gone:
        return  # the listing differs for that reason
    try:
        source = open_source(path)
    except EdgekitError as error:
        yield f"cannot be read: {error.cause}"
        return
    if _listing(source) != data.listing:
        yield (
            f"has {len(source.samples)} samples or labels other than the {data.available} that "
            "were there, so others would be chosen"
        )


def _listing(source: Source) -> str:
    lines = (f"{one.id}\0{one.label}\0{one.split}\n" for one in source.samples)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
