"""Converters as their manifests describe them.

A converter is a folder with a ``converter.toml``, a ``worker.py`` and, where it runs in an
environment of its own, a hash-locked requirements file. edgekit's own folders ship with it; more
are found through ``EDGEKIT_CONVERTERS``, a list of folders that hold converter folders.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from edgekit.errors import SetupError
from edgekit.toolchain.interpreters import satisfies
from edgekit.types import SourceKind

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One kind of file turned into another; a lower priority number is tried first."""

    source: SourceKind
    target: SourceKind
    priority: int = 50


@dataclass(frozen=True, kw_only=True)
class Converter:
    """A converter's manifest.

    Attributes:
        environment: ``host`` runs in the user's Python (the model's code lives there),
            ``isolated`` in an environment that edgekit builds from ``requirements``.
        modules: what must be importable in the host environment.
        install: what the user types if it is not.
        python: the version specifier of an isolated environment, for example ``>=3.12``.
        versions: the distributions whose versions the lineage records.
        runs: the kinds of model that it can run as a reference.
        program: the worker's file.
        choose: ``first`` route that passes, or the ``fastest`` of all that do.
        processes: it starts programs, which is refused otherwise.
        reads: folders that it reads, beside the system's, Python's, its own and the model.
    """

    name: str
    summary: str
    program: Path
    environment: Literal["host", "isolated"]
    modules: tuple[str, ...] = ()
    install: str = ""
    python: str = ">=3.11"
    requirements: Path | None = None
    versions: tuple[str, ...] = ()
    runs: tuple[SourceKind, ...] = ()
    converts: tuple[Conversion, ...] = ()
    choose: Literal["first", "fastest"] = "first"
    processes: bool = False
    reads: tuple[Path, ...] = ()
    limit_seconds: float = 900
    limit_memory_gb: float = 16


def own_worker(name: str, program: Path, *, versions: tuple[str, ...]) -> Converter:
    """One of edgekit's own programs, which run like converters: apart, watched, without network."""
    return Converter(
        name=name, summary=name, program=program, environment="host", versions=versions
    )


def shipped_folder(name: str) -> Path:
    """The repository's folder ``name`` in a checkout, the copy inside the package in a wheel."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / f"_{name}"
    return shipped if shipped.is_dir() else package.parent / name


def builtin_folder() -> Path:
    """Where edgekit's own converters are."""
    return shipped_folder("converters")


def launcher() -> Path:
    """The program that serves a worker (``edgekit_worker.py``)."""
    return builtin_folder() / "edgekit_worker.py"


def discover() -> dict[str, Converter]:
    """All converters by name; one from ``EDGEKIT_CONVERTERS`` replaces a built-in namesake.

    Raises:
        SetupError: a manifest is broken, or a folder in ``EDGEKIT_CONVERTERS`` does not exist.
    """
    manifests = found_manifests(builtin_folder(), "EDGEKIT_CONVERTERS", "converter")
    return {converter.name: converter for converter in map(read_manifest, manifests)}


def found_manifests(builtin: Path, variable: str, kind: str) -> Iterator[Path]:
    """The ``KIND.toml`` of edgekit's own folders, then of those that an environment variable names.

    Raises:
        SetupError: a folder that the variable names does not exist, or is one too deep.
    """
    yield from sorted(builtin.glob(f"*/{kind}.toml"))
    for entry in filter(None, os.environ.get(variable, "").split(os.pathsep)):
        root = Path(entry).expanduser()
        if not root.is_dir():
            raise SetupError(
                f"{variable} names {root}, which is not a folder.",
                cure="Correct the variable, or unset it.",
            )
        if (root / f"{kind}.toml").is_file():
            raise SetupError(
                f"{variable} names the {kind} {root} itself.",
                cure=f"Name the folder that holds it: {root.resolve().parent}",
            )
        yield from sorted(root.glob(f"*/{kind}.toml"))


def read_manifest(path: Path) -> Converter:
    """A `Converter` from its ``converter.toml``.

    Raises:
        SetupError: the manifest is not TOML, or lacks or misspells something.
    """
    return parse_manifest(path, "converter", lambda table: from_table(table, path.parent))


def parse_manifest(path: Path, kind: str, build: Callable[[dict[str, Any]], T]) -> T:
    """What ``build`` makes of a manifest.

    Raises:
        SetupError: the manifest is not TOML, or lacks or misspells something.
    """
    try:
        return build(tomllib.loads(path.read_text(encoding="utf-8")))
    except KeyError as error:
        why = f"the key {error} is missing"
    except (OSError, ValueError, TypeError) as error:
        why = str(error)
    raise SetupError(
        f"The {kind} manifest {path} is not right: {why}.",
        cure=f"See {kind}s/README.md for the keys.",
    )


def from_table(table: dict[str, Any], folder: Path) -> Converter:
    """A `Converter` from the keys of its manifest.

    Args:
        table: all of them; emptied.
        folder: where the manifest is.

    Raises:
        KeyError, TypeError, ValueError: a key is missing, unknown or has a wrong value.
    """
    name, summary = str(table.pop("name")), str(table.pop("summary"))
    if not re.fullmatch(r"[A-Za-z][\w-]*(\.[\w-]+)*", name, re.ASCII):
        raise ValueError(f"{name!r} is not a name: letters, digits, -, _ and . between them only")
    limits = table.pop("limits", {})
    if unknown := set(limits) - {"seconds", "memory_gb"}:
        raise ValueError(f"[limits] has the unknown key {min(unknown)!r}")
    conversions = tuple(
        Conversion(
            source=_kind(source), target=_kind(entry["to"]), priority=entry.get("priority", 50)
        )
        for entry in table.pop("converts", [])
        for source in _texts(entry["from"], "from")
    )
    requirements = table.pop("requirements", None)
    environment = table.pop("environment")
    if environment not in ("host", "isolated"):
        raise ValueError(f"environment is {environment!r}, not host or isolated")
    if environment == "isolated" and requirements is None:
        raise ValueError("an isolated converter needs requirements")
    choose = table.pop("choose", "first")
    if choose not in ("first", "fastest"):
        raise ValueError(f"choose is {choose!r}, not first or fastest")
    processes = table.pop("processes", False)
    if not isinstance(processes, bool):
        raise TypeError(f"processes is {processes!r}, not true or false")
    python = table.pop("python", ">=3.11")
    satisfies((3, 11, 0), python)  # raises where it is not a version specifier
    program = Path(os.path.normpath(folder / str(table.pop("worker", "worker.py"))))
    if not program.is_file():
        raise ValueError(f"there is no {program}")
    texts = {
        key: _texts(table.pop(key, []), key) for key in ("modules", "versions", "runs", "reads")
    }
    install = str(table.pop("install", ""))
    if table:
        raise ValueError(f"unknown key {min(table)!r}")
    return Converter(
        name=name,
        summary=summary,
        install=install,
        choose=choose,
        python=python,
        program=program,
        environment=environment,
        requirements=(folder / requirements).resolve() if requirements else None,
        modules=texts["modules"],
        versions=texts["versions"],
        runs=tuple(map(_kind, texts["runs"])),
        converts=conversions,
        processes=processes,
        reads=tuple((folder / Path(entry).expanduser()).resolve() for entry in texts["reads"]),
        limit_seconds=float(limits.get("seconds", 900)),
        limit_memory_gb=float(limits.get("memory_gb", 16)),
    )


def _texts(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"{key} is {value!r}; it must be a list of texts")
    return tuple(value)


def _kind(name: str) -> SourceKind:
    if name not in get_args(SourceKind):
        raise ValueError(f"{name!r} is none of the kinds {get_args(SourceKind)}")
    return cast(SourceKind, name)
