"""What a worker may touch, as edgekit decides it; `edgekit_containment` has the kernel hold it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError
from edgekit.types import ModelSource


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a worker may touch.

    Attributes:
        write: folders below which it may write.
        read: what it may read beside the system, Python, its own code and ``write``; ``None`` for
            everything that the user may.
        code: the user's own code runs in it: modules are found from where the user stands, and the
            home folder is where it always is.
        processes: it may start programs.
        network: it may open sockets.
        scratch: a folder below one of ``write`` for temporary files and caches.
    """

    write: tuple[Path, ...] = ()
    read: tuple[Path, ...] | None = None
    code: bool = True
    processes: bool = False
    network: bool = False
    scratch: Path | None = None

    def to_json(self) -> str:
        """As the worker's half reads it."""
        return json.dumps(
            {
                "write": [*map(_absolute, self.write)],
                "read": None if self.read is None else [*map(_absolute, self.read)],
                "code": self.code,
                "processes": self.processes,
                "network": self.network,
                "scratch": _absolute(self.scratch) if self.scratch else "",
            }
        )

    def check(self, result: Any) -> None:
        """Refuse an answer that names a file where the worker cannot have written it.

        What edgekit then moves or reads must not be chosen by a stranger's code.

        Raises:
            ConversionError: an artifact or output lies elsewhere.
        """
        roots = [Path(os.path.realpath(folder)) for folder in self.write]
        for path in _named(result):
            if not any(Path(os.path.realpath(path)).is_relative_to(root) for root in roots):
                raise ConversionError(f"A worker names {path} as its output, which is not its own.")


def runs_code(source: ModelSource) -> bool:
    """Whether loading the model runs code that the user has put his trust in."""
    return source.kind == "torch" or source.trust_pickle


def files_of(source: ModelSource) -> tuple[Path, ...]:
    """The files and folders that a model consists of.

    An ONNX file may keep its tensors in files beside it; hidden files are not among them.
    """
    if source.path is None:
        return ()
    found = [source.path]
    if source.kind == "onnx":
        beside = source.path.absolute().parent.iterdir()
        found += [path for path in beside if path.is_file() and not path.name.startswith(".")]
    return (*found, *filter(None, [source.weights]))


def _named(result: Any) -> Iterator[str]:
    """The paths in a verb's result."""
    if not isinstance(result, dict):
        return
    for key in ("artifact", "path"):
        if isinstance(result.get(key), str):
            yield result[key]
    for key in ("outputs", "points", "inputs"):
        entries = result.get(key)
        for entry in entries if isinstance(entries, list) else ():
            yield from [entry] if isinstance(entry, str) else _named(entry)


def _absolute(path: Path) -> str:
    return str(path.absolute())
