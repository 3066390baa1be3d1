"""What a worker may touch, as edgekit decides it; `edgekit_containment` has the kernel hold it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError, ModelError
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
    return source.kind == "torch" or source.trust_pickle or source.named is not None


def files_of(source: ModelSource) -> tuple[Path, ...]:
    """The files and folders that a model consists of.

    Raises:
        ModelError: it cannot be read.
    """
    if source.path is None:
        return ()
    is_onnx = source.kind == "onnx" and source.path.is_file()
    beside = external_data(source.path) if is_onnx else []
    return (source.path, *beside, *filter(None, [source.weights]))


_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x1f])")
"""A ``StringStringEntryProto`` with the key ``location``, up to the length of its value."""


def external_data(path: Path) -> list[Path]:
    """The files below the folder of an ONNX file that it says its tensors are in.

    Found by the bytes of the entries' keys, in which ONNX's own reader then finds what they mean.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        data, folder = path.read_bytes(), path.resolve().parent
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    found = set()
    for match in _LOCATION.finditer(data):
        low, *high = match[1]
        length = low & 0x7F | (high[0] << 7 if high else 0)
        name = data[match.end() : match.end() + length].decode(errors="surrogateescape")
        place = folder / name
        if "\0" not in name and place.resolve().is_relative_to(folder):
            found.add(place)
    return sorted(found)


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
