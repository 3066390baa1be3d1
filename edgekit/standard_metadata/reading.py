"""What other people's programs wrote into a `.tflite` about feeding it.

The standard's metadata (its normalization, sizes and labels), and the JSON that ultralytics puts
behind the flatbuffer as a zip archive.
"""

from __future__ import annotations

import ast
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.archives import ARCHIVE_ERRORS, is_archive
from edgekit.files import lines_of
from edgekit.presets import Preset
from edgekit.presets.ultralytics import from_metadata, is_of_ultralytics
from edgekit.standard_metadata.schema import ENTRY
from edgekit.tflite.model import read

_ULTRALYTICS = ("metadata.json", "temp_meta.txt")
_MOST_BYTES = 1 << 24
_COLORS = {1: "RGB", 2: "GRAY"}
_NORMALIZATION, _IMAGE, _AXIS_LABELS = 1, 2, 2


def read_preset(path: Path) -> Preset | None:
    """What a `.tflite` says about feeding it; `None` where it says nothing, or is damaged there.

    Raises:
        ModelError: the file itself cannot be read.
    """
    files = _files_behind(path)
    for name in _ULTRALYTICS:
        if name in files and (table := _table(files[name])) and is_of_ultralytics(table):
            return from_metadata(table)
    stored = read(path).metadata.get(ENTRY)
    if stored is None:
        return None
    try:
        return _standard(bytes(stored), files)
    except (struct.error, IndexError, TypeError, ValueError, OverflowError):
        return None


def _files_behind(path: Path) -> dict[str, bytes]:
    """The members of the zip archive that a file is too; large and damaged ones are left out."""
    if not is_archive(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            small = [one for one in archive.infolist() if one.file_size <= _MOST_BYTES]
            return {one.filename: archive.read(one) for one in small[:16]}
    except ARCHIVE_ERRORS:
        return {}


def _table(data: bytes) -> Mapping[str, Any]:
    """A JSON object, or the Python literal that older exporters wrote."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(data.decode())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _standard(data: bytes, files: Mapping[str, bytes]) -> Preset | None:
    graph = next(_MetadataTable.root(data).tables(3), None)
    if graph is None:
        return None
    table: dict[str, Any] = {"scale": 1.0}
    size = None
    for tensor in graph.tables(2):
        for unit in tensor.tables(4):
            options = unit.table(1)
            if unit.byte(0) == _NORMALIZATION and options is not None:
                table |= {"mean": options.floats(0), "std": options.floats(1)}
        content = tensor.table(3)
        if content is not None and (image := content.table(1)) and content.byte(0) == _IMAGE:
            table |= {"color": _COLORS[image.byte(0)]} if image.byte(0) in _COLORS else {}
            size = _size(image)
    if not table.get("mean") or not table.get("std"):
        return None
    labels = _labels(graph, files)
    return Preset(
        origin="the file's standard metadata",
        preprocess=table,
        fields={"mean": "NormalizationOptions", "std": "NormalizationOptions"},
        size=size,
        labels=labels,
        task="classification" if labels else None,
    )


def _size(image: _MetadataTable) -> tuple[int, int, int] | None:
    extent = image.table(1)
    if extent is None or not extent.number(0) or not extent.number(1):
        return None
    return 3, extent.number(1), extent.number(0)


def _labels(graph: _MetadataTable, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Those of the entries of the first output that has some."""
    for tensor in graph.tables(3):
        for file in tensor.tables(6):
            if file.byte(2) == _AXIS_LABELS and file.string(0) in files:
                return tuple(lines_of(files[file.string(0)].decode()))
    return ()


class _MetadataTable:
    """A table in a flatbuffer, read by its slots."""

    def __init__(self, data: bytes, place: int) -> None:
        import flatbuffers  # type: ignore[import-untyped]

        self._table = flatbuffers.Table(data, place)

    @classmethod
    def root(cls, data: bytes) -> _MetadataTable:
        return cls(data, struct.unpack_from("<I", data)[0])

    def _at(self, slot: int) -> int:
        """Where a field is, 0 where it is left out."""
        offset = int(self._table.Offset(4 + 2 * slot))
        return offset and offset + int(self._table.Pos)

    def byte(self, slot: int) -> int:
        place = self._at(slot)
        return int(self._table.Bytes[place]) if place else 0

    def number(self, slot: int) -> int:
        place = self._at(slot)
        return int(struct.unpack_from("<I", self._table.Bytes, place)[0]) if place else 0

    def string(self, slot: int) -> str:
        place = self._at(slot)
        return bytes(self._table.String(place)).decode() if place else ""

    def table(self, slot: int) -> _MetadataTable | None:
        place = self._at(slot)
        return _MetadataTable(self._table.Bytes, self._table.Indirect(place)) if place else None

    def _vector(self, slot: int) -> Iterator[int]:
        """Where the four-byte entries of a vector are."""
        if not (place := self._at(slot)):
            return
        start = int(self._table.Indirect(place))
        (count,) = struct.unpack_from("<I", self._table.Bytes, start)
        yield from range(start + 4, start + 4 + 4 * min(count, len(self._table.Bytes)), 4)

    def tables(self, slot: int) -> Iterator[_MetadataTable]:
        for place in self._vector(slot):
            yield _MetadataTable(self._table.Bytes, self._table.Indirect(place))

    def floats(self, slot: int) -> tuple[float, ...]:
        data = self._table.Bytes
        return tuple(struct.unpack_from("<f", data, place)[0] for place in self._vector(slot))
