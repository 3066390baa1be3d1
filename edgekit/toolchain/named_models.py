"""Models by name: ``timm:resnet50``. The folders that make them, as their manifests say.

A source is a folder with a ``source.toml`` and a ``source.py``, which the worker of a framework
loads; see ``sources/README.md``. More are found through ``EDGEKIT_SOURCES``.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.errors import SetupError
from edgekit.files import kind_of
from edgekit.toolchain.converters import found_manifests, parse_manifest, shipped_folder
from edgekit.types import ModelSource, SourceKind

_KINDS: tuple[SourceKind, ...] = ("torch", "keras", "saved_model")
"""What a source may make: a module, a Keras model, or the path of a SavedModel."""


@dataclass(frozen=True, kw_only=True)
class NamedModels:
    """The manifest of a source.

    Attributes:
        name: what stands before the colon.
        kind: whose worker runs its models.
        package: what must be importable.
        install: what the user types if it is not.
        fetch: what fills the cache, with ``{name}`` in it.
        program: the ``source.py``.
        offline: environment variables that keep the package from the network.
        untrusted: environment variables that keep it from unpickling code.
        local: the name may be the path of the model, or that of its parent with a word after it.
    """

    name: str
    summary: str
    kind: SourceKind
    package: str
    install: str
    fetch: str
    program: Path
    offline: Mapping[str, str] = field(default_factory=dict)
    untrusted: Mapping[str, str] = field(default_factory=dict)
    local: str = ""

    def require_package(self) -> None:
        """See to it that the package is there.

        Raises:
            SetupError: it is not.
        """
        if importlib.util.find_spec(self.package) is None:
            raise SetupError(
                f"Models named {self.name}:… need {self.package}, which is not installed.",
                cure=self.install,
            )

    def path_of(self, name: str) -> Path | None:
        """The model's file or folder, where the name is one."""
        path = Path(name)
        path = path.parent if self.local == "parent" else path
        return path if self.local and kind_of(path) in ("file", "folder") else None


def named_models() -> dict[str, NamedModels]:
    """All sources by name; one from ``EDGEKIT_SOURCES`` replaces a built-in namesake.

    Raises:
        SetupError: a manifest is broken, or a folder in ``EDGEKIT_SOURCES`` does not exist.
    """
    found = {}
    for path in found_manifests(shipped_folder("sources"), "EDGEKIT_SOURCES", "source"):
        one = parse_manifest(path, "source", partial(_from_table, path))
        found[one.name] = one
    return found


def named_request(source: ModelSource, *, network: bool = False) -> dict[str, Any] | None:
    """How a worker is told to make a model by name; `None` for any other model."""
    return None if source.named is None else {**source.named, "network": network}


def _from_table(path: Path, table: dict[str, Any]) -> NamedModels:
    names = ("name", "summary", "package", "install", "fetch")
    texts = {name: table.pop(name) for name in names}
    kind, local = table.pop("kind"), table.pop("local", "")
    offline, untrusted = table.pop("offline", {}), table.pop("untrusted", {})
    if table:
        raise ValueError(f"the key {next(iter(table))} is unknown")
    if not all(
        isinstance(one, str) for one in (*texts.values(), *offline.values(), *untrusted.values())
    ):
        raise ValueError("a value is not text")
    if not re.fullmatch(r"[a-z][\w-]*", texts["name"], re.ASCII):
        raise ValueError(f"the name {texts['name']!r} is not a word")
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}; it is one of {', '.join(_KINDS)}")
    if local not in ("", "name", "parent"):
        raise ValueError(f"local is {local!r}; it is name or parent")
    return NamedModels(
        **texts,
        kind=kind,
        offline=offline,
        untrusted=untrusted,
        local=local,
        program=path.parent / "source.py",
    )
