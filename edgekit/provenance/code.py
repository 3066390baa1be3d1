"""Which local Python files a model's code consists of, found by reading and never by running it.

Imports are followed where their file lies in one of the given folders; what is installed is told by
its distribution's version instead. Imports that are computed at run time are not seen.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ModelCode:
    """The files of a model's code, the named one first, and the versions of what it imports."""

    files: tuple[Path, ...]
    versions: dict[str, str]


def search_folders(file: Path | None = None) -> tuple[Path, ...]:
    """Where a converter's process looks for a model's own modules, in its order."""
    below = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    first = [file.parent] if file is not None else []
    return tuple(dict.fromkeys(folder.absolute() for folder in (*first, Path.cwd(), *below)))


def find_module(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of a module in one of the folders; ``None`` where it is installed or built in."""
    relative = Path(*name.split("."))
    for folder in folders:
        for file in (folder / relative / "__init__.py", folder / relative.with_suffix(".py")):
            # Unlike Path.is_file, this takes a name that is too long for one that is not there.
            if os.path.isfile(file) and "site-packages" not in file.parts:  # noqa: PTH113
                return file
    return None


def installed_code(module: str) -> ModelCode:
    """The version of an installed module's distribution; it has no files of the user's."""
    return ModelCode(files=(), versions=_versions({module.partition(".")[0]}))


def model_code(start: Path, folders: Sequence[Path], *, module: str = "") -> ModelCode:
    """Follow the imports of a file.

    Args:
        start: the file with the factory.
        folders: see `search_folders`.
        module: the dotted name of that file where it was named so: its packages run too.
    """
    names = _with_parents(module) if module else ()
    packages = [find_module(name, folders) for name in names]
    seen = dict.fromkeys([start, *filter(None, packages)])
    waiting, foreign = list(seen), set()
    while waiting:
        file = waiting.pop(0)
        for name in _imports(file, folders):
            found = find_module(name, folders)
            if found is None:
                foreign.add(name.partition(".")[0])
            elif found not in seen:
                seen[found] = None
                waiting.append(found)
    return ModelCode(files=tuple(seen), versions=_versions(foreign))


def _imports(file: Path, folders: Sequence[Path]) -> Iterator[str]:
    """The modules that a file may import by name, its own packages among them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # whoever runs it tells what is wrong
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield from _with_parents(alias.name)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _base(file, folders, level)
                whole = ".".join(filter(None, (base, module)))
                if whole and (level == 0 or base is not None):
                    yield from _with_parents(whole)
                    # `from package import module`; a name that is not a module is found nowhere.
                    yield from (
                        f"{whole}.{alias.name}"
                        for alias in names
                        if find_module(f"{whole}.{alias.name}", folders)
                    )


def _with_parents(name: str) -> Iterator[str]:
    """Importing ``a.b.c`` runs ``a`` and ``a.b`` too."""
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _base(file: Path, folders: Sequence[Path], level: int) -> str | None:
    """The package that a relative import starts from, ``None`` where there is none."""
    if level == 0:
        return None
    folder = file.parent
    for _ in range(level - 1):
        folder = folder.parent
    for root in folders:
        if folder != root and folder.is_relative_to(root):
            return ".".join(folder.relative_to(root).parts)
    return None


def _versions(modules: set[str]) -> dict[str, str]:
    """The versions of the distributions that these top-level modules come from."""
    from importlib import metadata

    wanted = modules - set(sys.stdlib_module_names)
    if not wanted:
        return {}
    owners = metadata.packages_distributions()
    names = {owner for module in wanted for owner in owners.get(module, ())}
    return {name: metadata.version(name) for name in sorted(names)}
