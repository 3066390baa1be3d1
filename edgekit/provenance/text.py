"""A lock as text and back.

The text is TOML and the same for the same run: it has no times and no temporary places. Its last
line is a digest of all lines above it, so that a lock which was cut off or edited says so. Line
ends do not count, since version control may change them.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from edgekit.errors import UsageError
from edgekit.files import read_bytes
from edgekit.provenance import toml
from edgekit.provenance.lock import (
    Lock,
    LockedData,
    LockedFile,
    LockedInput,
    LockedSample,
)

SCHEMA = "edgekit-lock"
SCHEMA_VERSION = 1
_HEAD = """\
# Made by edgekit: what these files were made from, and how.
# The same bytes again: edgekit replay edgekit.lock
# Is a file one of these: edgekit verify FILE.tflite --lock edgekit.lock
"""
_END = "# sha256 of all lines above: "
_MOST_BYTES = 64_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_Made = TypeVar("_Made")


class _Damaged(Exception):
    """What is wrong, in words that go on after the lock's path."""


def to_text(lock: Lock) -> str:
    """The lock as TOML, ending in the digest of itself."""
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "edgekit": lock.edgekit,
        "command": lock.command,
        "request": dict(lock.request),
        "settled": dict(lock.settled),
        "tools": {name: dict(found) for name, found in lock.tools.items()},
        "environments": dict(lock.environments),
        "machine": dict(lock.machine),
        "files": [vars(one) for one in lock.files],
        "inputs": [vars(one) for one in lock.inputs],
        "data": [
            {**vars(one), "samples": [[sample.id, sample.sha256] for sample in one.samples]}
            for one in lock.data
        ],
    }
    body = _HEAD + toml.dump(document)
    return f"{body}{_END}{_digest(body)}\n"


def read_lock(path: Path) -> Lock:
    """Read an ``edgekit.lock``.

    Raises:
        UsageError: it is not there, is not a lock, was cut off or edited, is of a newer version, or
            names a file outside of its place.
    """
    cure = "Give the path of the edgekit.lock that convert wrote beside its files."
    data = read_bytes(path, UsageError, cure=cure, most=_MOST_BYTES)
    try:
        return from_text(data.decode("utf-8"))
    except (_Damaged, UnicodeDecodeError) as error:
        why = "is not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UsageError(
            f"The lock {path} {why}.",
            cure="Take an unchanged copy of it, or convert again.",
        ) from None


def from_text(text: str) -> Lock:
    """The lock that `to_text` wrote.

    Raises:
        _Damaged: see `read_lock`.
    """
    body = _checked(text.replace("\r\n", "\n"))
    try:
        table = _Table(tomllib.loads(body), "the top")
    except (ValueError, RecursionError) as error:
        raise _Damaged(f"is not TOML: {error}") from None
    if table.text("schema") != SCHEMA:
        raise _Damaged("is none of edgekit's")
    if (version := table.number("schema_version")) != SCHEMA_VERSION:
        raise _Damaged(
            f"has version {version}, this edgekit knows {SCHEMA_VERSION}: install a newer one"
        )
    lock = Lock(
        edgekit=table.text("edgekit"),
        command=table.text("command"),
        request=table.table("request"),
        settled=table.table("settled"),
        tools={name: _texts(found, name) for name, found in table.table("tools").items()},
        environments=_texts(table.table("environments"), "environments"),
        machine=_texts(table.table("machine"), "machine"),
        files=tuple(map(_file, table.rows("files"))),
        inputs=tuple(map(_input, table.rows("inputs"))),
        data=tuple(map(_data, table.rows("data"))),
    )
    table.nothing_else()
    _unique([one.name for one in lock.files], "the file")
    _unique([one.role for one in lock.inputs], "the input")
    _unique([one.role for one in lock.data], "the data")
    return lock


def _checked(text: str) -> str:
    body, mark, digest = text.rpartition(_END)
    if not mark:
        raise _Damaged("is not a lock of edgekit's, or its end is missing")
    if digest.rstrip("\n") != _digest(body):
        raise _Damaged("was changed after it was written: the digest in its last line differs")
    return body


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()


def _unique(names: list[str], what: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise _Damaged(f"names {what} {name!r} twice")


def _file(row: _Table) -> LockedFile:
    name = row.text("name")
    # Backslashes too: a lock made here may be read on Windows.
    if PureWindowsPath(name).name != name or name in ("", ".", "..") or "\0" in name:
        raise _Damaged(f"names the file {name!r}, which is not a plain file name")
    return row.finished(
        LockedFile(
            name=name,
            scheme=row.text("scheme"),
            sha256=row.digest("sha256"),
            size_bytes=row.number("size_bytes"),
            contract=row.digest("contract", empty=True),
        )
    )


def _input(row: _Table) -> LockedInput:
    return row.finished(
        LockedInput(role=row.text("role"), path=row.path("path"), sha256=row.digest("sha256"))
    )


def _data(row: _Table) -> LockedData:
    role = row.text("role")
    if role != "calibration" and role != "parity":
        raise _Damaged(f"has data for {role!r}, which is neither calibration nor parity")
    return row.finished(
        LockedData(
            role=role,  # type: ignore[arg-type]
            path=row.path("path"),
            sha256=row.digest("sha256", empty=True),
            listing=row.digest("listing", empty=True),
            available=row.number("available"),
            tensors=row.text("tensors"),
            samples=tuple(map(_sample, row.pop("samples", list))),
        )
    )


def _sample(entry: Any) -> LockedSample:
    match entry:
        case [str(name), str(sha256)] if not sha256 or _DIGEST.fullmatch(sha256):
            if _escapes(name) or name.startswith("/") or "\0" in name:
                raise _Damaged(f"names the sample {name!r}, which is outside of its folder")
            return LockedSample(id=name, sha256=sha256)
    raise _Damaged(f"has the sample {entry!r}, which is not a pair of a name and a digest")


def _escapes(path: str) -> bool:
    return posixpath.normpath(path).split("/")[0] == ".."


def _texts(table: Any, where: str) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise _Damaged(f"has other things than texts in {where}")
    return table


class _Table:
    """A table whose keys are taken out one by one, so that what is left is known."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._left = dict(values)
        self._where = where

    def pop(self, key: str, kind: type) -> Any:
        if key not in self._left:
            raise _Damaged(f"lacks {key} in {self._where}")
        value = self._left.pop(key)
        if type(value) is not kind:
            raise _Damaged(f"has {key} = {value!r} in {self._where}")
        return value

    def text(self, key: str) -> str:
        text: str = self.pop(key, str)
        return text

    def number(self, key: str) -> int:
        number: int = self.pop(key, int)
        if number < 0:
            raise _Damaged(f"has {key} = {number} in {self._where}")
        return number

    def table(self, key: str) -> dict[str, Any]:
        table: dict[str, Any] = self.pop(key, dict)
        return table

    def digest(self, key: str, *, empty: bool = False) -> str:
        digest = self.text(key)
        if not (_DIGEST.fullmatch(digest) or (empty and not digest)):
            raise _Damaged(f"has {key} = {digest!r} in {self._where}, which is not a SHA-256")
        return digest

    def path(self, key: str) -> str:
        path = self.text(key)
        if not path or "\0" in path or _escapes(path):
            raise _Damaged(f"has {key} = {path!r} in {self._where}, which leaves its folder")
        return path

    def rows(self, key: str) -> list[_Table]:
        rows = self.pop(key, list) if key in self._left else []
        if not all(isinstance(row, dict) for row in rows):
            raise _Damaged(f"has {key} that are not tables")
        return [_Table(row, f"[[{key}]]") for row in rows]

    def nothing_else(self) -> None:
        if self._left:
            raise _Damaged(f"has the unknown key {min(self._left)!r} in {self._where}")

    def finished(self, made: _Made) -> _Made:
        """What was made of the table, which has no other keys."""
        self.nothing_else()
        return made
