"""Tables as the bytes of a flatbuffer, without generated code.

A `Table` says what is in its slots; a slot is a field's place in its table of the schema, where a
union takes two. https://flatbuffers.dev/internals/ describes the format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, kw_only=True)
class TableNumber:
    """A scalar field; ``default`` is the schema's, which is not stored."""

    kind: Literal["int8", "uint8", "bool", "int32", "uint32", "float32"]
    value: float
    default: float = 0


@dataclass(frozen=True, kw_only=True)
class TableNumbers:
    """A vector of scalars."""

    kind: Literal["uint32", "float32"]
    values: Sequence[float]


@dataclass(frozen=True)
class Table:
    """A table; a slot whose value is ``None`` or empty is left out."""

    slots: Mapping[int, Value] = field(default_factory=dict)


Value: TypeAlias = (
    str | bytes | Table | TableNumber | TableNumbers | Sequence[Table] | Sequence[str] | None
)

_ADD = {
    "int8": "PrependInt8Slot",
    "uint8": "PrependUint8Slot",
    "bool": "PrependBoolSlot",
    "int32": "PrependInt32Slot",
    "uint32": "PrependUint32Slot",
    "float32": "PrependFloat32Slot",
}
_PREPEND = {"uint32": "PrependUint32", "float32": "PrependFloat32"}
_ALIGNED = 16
"""``force_align`` of a custom entry's bytes, which hold a flatbuffer of their own."""


def to_bytes(root: Table, identifier: bytes) -> bytes:
    """A whole flatbuffer.

    Args:
        root: the root table.
        identifier: the four bytes that tell of which schema it is.
    """
    import flatbuffers  # type: ignore[import-untyped]

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), file_identifier=identifier)
    return bytes(builder.Output())


def _write(builder: Any, table: Table) -> int:
    """Write what the slots refer to, then the table; the table's offset."""
    offsets = {
        slot: _write_value(builder, value)
        for slot, value in table.slots.items()
        if value is not None and not isinstance(value, TableNumber)
    }
    builder.StartObject(max(table.slots, default=-1) + 1)
    for slot, value in table.slots.items():
        if isinstance(value, TableNumber):
            getattr(builder, _ADD[value.kind])(slot, value.value, value.default)
        elif offsets.get(slot):
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    end: int = builder.EndObject()
    return end


def _write_value(builder: Any, value: Any) -> int:
    """Strings, bytes, tables and vectors; 0 for an empty vector."""
    match value:
        case str():
            return int(builder.CreateString(value))
        case bytes():
            builder.Prep(_ALIGNED, len(value))
            return int(builder.CreateByteVector(value))
        case Table():
            return _write(builder, value)
        case TableNumbers():
            return _vector(builder, value.values, _PREPEND[value.kind])
        case _:
            offsets = [_write_value(builder, one) for one in value]
            return _vector(builder, offsets, "PrependUOffsetTRelative") if offsets else 0


def _vector(builder: Any, values: Sequence[float], prepend: str) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):  # a flatbuffer is written from its end
        getattr(builder, prepend)(value)
    return int(builder.EndVector())
