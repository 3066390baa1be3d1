"""Compilers as their manifests describe them.

A compiler is a folder with a ``compiler.toml``, a ``worker.py`` and a hash-locked requirements
file. edgekit's own are in ``compilers/``; more are found through ``EDGEKIT_COMPILERS``, a list of
folders that hold such folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.arguments import nearest
from edgekit.errors import UsageError
from edgekit.toolchain.converters import (
    Converter,
    found_manifests,
    from_table,
    parse_manifest,
    shipped_folder,
)


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """One compiler.

    Attributes:
        worker: its program and environment, by whose name it goes.
        targets: what it compiles for, as the user types it.
        options: what may be handed on to it.
        custom: the custom operators of what it has compiled.
    """

    worker: Converter
    targets: tuple[str, ...]
    options: tuple[str, ...]
    custom: frozenset[str]


def discover() -> dict[str, Compiler]:
    """All compilers by name; one from ``EDGEKIT_COMPILERS`` replaces a namesake.

    Raises:
        SetupError: a manifest is broken, or a folder in ``EDGEKIT_COMPILERS`` does not exist.
    """
    manifests = found_manifests(shipped_folder("compilers"), "EDGEKIT_COMPILERS", "compiler")
    return {compiler.worker.name: compiler for compiler in map(read_manifest, manifests)}


def workers() -> dict[str, Converter]:
    """The programs of all compilers, by name."""
    return {name: compiler.worker for name, compiler in discover().items()}


def compiler_for(target: str) -> Compiler:
    """The compiler that knows a target.

    Raises:
        UsageError: none does; it names the nearest.
    """
    known = {name: compiler for compiler in discover().values() for name in compiler.targets}
    if target not in known:
        raise UsageError(
            f"There is no compiler for {target!r}.",
            cure=nearest(target, known),
        )
    return known[target]


def check_options(compiler: Compiler, options: Mapping[str, str]) -> None:
    """Refuse what is not to be handed on.

    Raises:
        UsageError: the compiler's manifest does not name an option.
    """
    for name in options:
        if name not in compiler.options:
            raise UsageError(
                f"{compiler.worker.name} has no option {name!r} here.",
                cure=f"There are: {', '.join(compiler.options) or 'none'}.",
            )


def read_manifest(path: Path) -> Compiler:
    """A `Compiler` from its ``compiler.toml``.

    Raises:
        SetupError: the manifest is not TOML, or lacks or misspells something.
    """
    return parse_manifest(path, "compiler", lambda table: _compiler(table, path))


def _compiler(table: dict[str, Any], path: Path) -> Compiler:
    targets, options, custom = (
        _names(table.pop(key, []), key) for key in ("targets", "options", "custom")
    )
    if not targets:
        raise ValueError("targets is empty")
    return Compiler(
        worker=from_table(table, path.parent),
        targets=targets,
        options=options,
        custom=frozenset(custom),
    )


def _names(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{key} is {value!r}; it must be a list of texts")
    return tuple(value)
