"""Which release of TensorFlow Lite first has which version of an operator."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parent / "operator_versions.toml"


@cache
def _releases() -> dict[str, list[str]]:
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


def first_release(op: str, version: int) -> str | None:
    """``2.17.0`` for version 12 of FULLY_CONNECTED; ``None`` where that is not known."""
    releases = _releases().get(op, [])
    return releases[version - 1] or None if 0 < version <= len(releases) else None


def highest_known(op: str) -> int:
    """The highest version of an operator that the table knows; 0 for one that it lacks."""
    return len(_releases().get(op, []))


def is_older(release: str, other: str) -> bool:
    """Whether one release came before another: ``2.9.0`` before ``2.14.0``."""
    return _numbers(release) < _numbers(other)


def _numbers(release: str) -> tuple[int, ...]:
    """Padded, so that 2.14 and 2.14.0 are the same."""
    parts = tuple(map(int, release.split(".")))
    return parts + (0,) * (4 - len(parts))
