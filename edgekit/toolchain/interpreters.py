"""Finding a Python of the version that a converter's environment needs."""

from __future__ import annotations

import operator
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import SetupError


def uv() -> str:
    """The path of the uv program.

    Raises:
        SetupError: it is nowhere.
    """
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return found
    raise SetupError("uv is not installed.", cure="pip install uv")


def find_python(specifier: str, *, allow_download: bool = True) -> str:
    """A Python that satisfies ``specifier``, as a path or as a version for uv to download.

    Looked for, in this order: ``EDGEKIT_PYTHON`` (a list of paths), the running interpreter,
    ``python3.N`` on PATH, pyenv's versions, uv's own interpreters. Each is run once, since pyenv's
    shims are on PATH but answer with an error.

    Args:
        specifier: clauses such as ``>=3.12,<3.15`` or ``==3.11.*``.
        allow_download: let uv fetch an interpreter where none is found.

    Raises:
        SetupError: there is none, and none may be downloaded.
    """
    for candidate in candidates():
        version = version_of(candidate)
        if version is not None and satisfies(version, specifier):
            return candidate
    wanted = _lowest(specifier)
    if allow_download and os.environ.get("UV_OFFLINE", "") in ("", "0"):
        return wanted
    raise SetupError(
        f"No Python {specifier} was found.",
        cure=f"Install Python {wanted}, or set EDGEKIT_PYTHON to the path of one.",
    )


def candidates() -> Iterator[str]:
    """Paths that may be Python interpreters, most explicit first; some may not run."""
    yield from filter(None, os.environ.get("EDGEKIT_PYTHON", "").split(os.pathsep))
    yield sys.executable
    minors = range(15, 10, -1)
    for minor in minors:
        if found := shutil.which(f"python3.{minor}"):
            yield found
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for minor in minors:
        yield from map(str, sorted(root.glob(f"versions/3.{minor}.*/bin/python"), reverse=True))
    yield from _uv_interpreters()


def _uv_interpreters() -> Iterator[str]:
    command = [uv(), "python", "list", "--only-installed", "--managed-python", "--no-config"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return
    for line in listing.stdout.splitlines():
        if len(words := line.split()) > 1:
            yield words[1]


@cache
def version_of(python: str) -> tuple[int, int, int] | None:
    """The version that an interpreter reports, ``None`` if it does not run."""
    code = "import sys; print(*sys.version_info[:3])"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, timeout=20, check=True
        )
        major, minor, patch = map(int, answer.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return major, minor, patch


def satisfies(version: tuple[int, int, int], specifier: str) -> bool:
    """Whether a version meets a specifier, as PEP 440 reads it (``~=`` and ``===`` left out).

    Raises:
        ValueError: a clause has another form.
    """
    return all(_holds(version, *clause) for clause in _clauses(specifier))


_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)(\d+(?:\.\d+){0,2})((?:\.\*)?)", re.ASCII)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def _clauses(specifier: str) -> list[tuple[str, tuple[int, ...], bool]]:
    """Comparison, numbers, and whether ``.*`` follows, of each clause."""
    clauses = []
    for text in specifier.replace(" ", "").split(","):
        match = _CLAUSE.fullmatch(text)
        if match is None or (match[3] and match[1] not in ("==", "!=")):
            raise ValueError(
                f"{specifier!r} is not a version specifier such as '>=3.12,<3.15' or '==3.11.*'"
            )
        clauses.append((match[1], tuple(map(int, match[2].split("."))), bool(match[3])))
    return clauses


def _holds(
    version: tuple[int, int, int], comparison: str, bound: tuple[int, ...], is_prefix: bool
) -> bool:
    if is_prefix:
        return _COMPARISONS[comparison](version[: len(bound)], bound)
    return _COMPARISONS[comparison](version, (*bound, 0, 0)[:3])


def _lowest(specifier: str) -> str:
    """The version to name in a request: that of the lower bound, wherever it stands."""
    for comparison, bound, _ in _clauses(specifier):
        if comparison in (">=", "=="):
            return ".".join(map(str, bound))
    return specifier
