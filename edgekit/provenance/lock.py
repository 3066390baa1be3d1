"""The words of ``edgekit.lock``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

LOCK_NAME = "edgekit.lock"

DataRole: TypeAlias = Literal["calibration", "parity"]


@dataclass(frozen=True, kw_only=True)
class LockedInput:
    """A file or folder that the conversion read.

    Attributes:
        role: ``model``, ``weights``, ``config``, ``labels`` …: what ``--moved`` calls it.
        path: relative to the lock's folder or to where ``convert`` was typed, else absolute.
        sha256: of the file, or of a folder as `edgekit.sources.digest` takes it.
    """

    role: str
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class LockedSample:
    """One sample by its id; ``sha256`` of its file, empty where it is a part of one."""

    id: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class LockedData:
    """The samples of one role, in the order in which they were used.

    Attributes:
        path: of the folder or file, as in `LockedInput`.
        sha256: of the file; empty for a folder, whose used files have their own.
        listing: of a folder: digest of the names, labels and splits of all that was there, from
            which the seed chose.
        available: of a folder: how many samples were there.
        tensors: digest of what the preprocessing made of the used ones.
    """

    role: DataRole
    path: str
    sha256: str = ""
    listing: str = ""
    available: int = 0
    tensors: str
    samples: tuple[LockedSample, ...]


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """A file that the conversion made.

    ``contract`` is the digest of the contract inside, empty where there is none; ``scheme`` may be
    the word ``prepared``.
    """

    name: str
    scheme: str
    sha256: str
    size_bytes: int
    contract: str = ""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """What a conversion was made from, how, and what came of it.

    Attributes:
        edgekit: the version.
        command: what makes the same files, for people.
        request: all options but paths, as `edgekit.pipeline.locking` writes them.
        settled: what the run decided by the clock, which a replay does not decide again.
        tools: versions by who used them.
        environments: digests of the locks of converters' own environments.
        machine: where it ran; never compared, named where bytes differ.
    """

    edgekit: str
    command: str
    request: Mapping[str, Any]
    settled: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[LockedInput, ...] = ()
    data: tuple[LockedData, ...] = ()
    tools: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environments: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    files: tuple[LockedFile, ...] = ()
