"""Is every offset of a flatbuffer inside the file? Asked before anything else reads it.

The generated Python API follows offsets blindly and copies what it finds; the native interpreter
crashes on a bad one. This is the check that FlatBuffers' C++ ``Verifier`` makes, driven by a table
of the schema's fields instead of generated code.
https://flatbuffers.dev/internals/ describes the format.
"""

from __future__ import annotations

import struct
from functools import cache

IDENTIFIER = b"TFL3"

# The C++ verifier's default. Tables may be shared, so a small hostile file could otherwise
# unfold into any number of them.
_MAX_TABLES = 1_000_000

# Fields that hold an offset, by slot. Scalars need no entry.
#   "string"   "N" a vector of N-byte numbers   "[T]" a vector of tables   "T" a table
#   "|U" a table of the union U, its type being the byte in the slot before
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {
        1: "[OperatorCode]", 2: "[SubGraph]", 3: "string", 4: "[Buffer]", 5: "4", 6: "[Metadata]",
        7: "[SignatureDef]", 8: "[ExternalBufferGroup]", 9: "[ExternalBuffer]",
    },
    "OperatorCode": {1: "string"},
    "SubGraph": {0: "[Tensor]", 1: "4", 2: "4", 3: "[Operator]", 4: "string"},
    "Buffer": {0: "1"},
    "Metadata": {0: "string"},
    "SignatureDef": {0: "[TensorMap]", 1: "[TensorMap]", 2: "string"},
    "TensorMap": {0: "string"},
    "ExternalBufferGroup": {0: "string"},
    "ExternalBuffer": {4: "string"},
    "Tensor": {
        0: "4", 3: "string", 4: "QuantizationParameters", 6: "SparsityParameters", 7: "4",
        9: "[VariantSubType]",
    },
    "VariantSubType": {0: "4"},
    "QuantizationParameters": {0: "4", 1: "4", 2: "4", 3: "8", 5: "|QuantizationDetails"},
    "CustomQuantization": {0: "1"},
    "BlockwiseQuantization": {3: "4"},
    "MultiAxisQuantization": {3: "4"},
    "SparsityParameters": {0: "4", 1: "4", 2: "[DimensionMetadata]"},
    "DimensionMetadata": {3: "|SparseIndexVector", 5: "|SparseIndexVector"},
    "Int32Vector": {0: "4"},
    "Uint16Vector": {0: "2"},
    "Uint8Vector": {0: "1"},
    "Operator": {
        1: "4", 2: "4", 4: "|BuiltinOptions", 5: "1", 7: "1", 8: "4", 12: "|BuiltinOptions2",
    },
    # Of the options tables, those that hold more than scalars.
    "ConcatEmbeddingsOptions": {1: "4", 2: "4"},
    "FullyConnectedOptions": {5: "1"},
    "ReshapeOptions": {0: "4"},
    "SqueezeOptions": {0: "4"},
    "VarHandleOptions": {0: "string", 1: "string"},
    "BucketizeOptions": {0: "4"},
    "StableHLOCompositeOptions": {0: "string", 2: "1"},
    "StablehloGatherOptions": {0: "8", 1: "8", 2: "8", 4: "8"},
    "StablehloTransposeOptions": {0: "8"},
    "StablehloDotGeneralOptions": {0: "8", 1: "8", 2: "8", 3: "8", 4: "4"},
    "StablehloReduceWindowOptions": {0: "8", 1: "8", 2: "8", 3: "8", 4: "8"},
    "StablehloBroadcastInDimOptions": {0: "8"},
    "StablehloDynamicSliceOptions": {0: "8"},
    "StablehloPadOptions": {0: "8", 1: "8", 2: "8"},
    "StablehloCustomCallOptions": {0: "string", 2: "string", 4: "4", 5: "1"},
    "StablehloReduceOptions": {0: "8"},
    "StablehloSliceOptions": {0: "8", 1: "8", 2: "8"},
    "StablehloConvolutionOptions": {
        0: "8", 1: "8", 2: "8", 3: "8", 4: "1", 7: "8", 10: "8", 13: "8", 16: "4",
    },
    "StablehloScatterOptions": {1: "8", 2: "8", 3: "8"},
    "StablehloCaseOptions": {0: "4"},
}  # fmt: skip


class MalformedError(ValueError):
    """The bytes are not flatbuffer of the `.tflite` schema; the message says where they break."""


def verify(data: bytes) -> int:
    """Check that everything which the file refers to lies inside it.

    Returns:
        The end of the flatbuffer in bytes. What follows was appended by somebody, for example the
        label files of MediaPipe as a zip archive.

    Raises:
        MalformedError: an offset, a vector or a string leaves the file, or the file refers to the
            same bytes so often that it would not fit into memory.
    """
    verifier = _Verifier(data)
    verifier.span(0, 8, "the header")
    if data[4:8] != IDENTIFIER:
        raise MalformedError(f"bytes 4 to 8 are {data[4:8]!r}, not {IDENTIFIER!r}")
    verifier.table("Model", verifier.uint32(0))
    return verifier.end


@cache
def names_by_code(enum: str) -> dict[int, str]:
    """The names of one of the schema's enums, or of the tables of a union, by their code."""
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(getattr(schema, enum)).items() if name[0] != "_"}


class _Verifier:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.end = 0
        self._tables = 0
        # Strings and tables become Python objects, so the same bytes may not be used too often.
        self._budget = 4 * len(data) + (1 << 16)

    def span(self, start: int, length: int, what: str) -> None:
        """``length`` bytes from ``start`` must lie inside the file."""
        if start < 0 or start + length > len(self.data):
            raise MalformedError(
                f"{what} at byte {start} leaves the file ({len(self.data)} bytes long)"
            )
        self.end = max(self.end, start + length)

    def uint32(self, position: int) -> int:
        self.span(position, 4, "an offset")
        return int.from_bytes(self.data[position : position + 4], "little")

    def table(self, kind: str, position: int) -> None:
        """A table, and everything that its fields refer to."""
        self._tables += 1
        if self._tables > _MAX_TABLES:
            raise MalformedError(f"it unfolds into more than {_MAX_TABLES} tables")
        self.span(position, 4, kind)
        vtable = position - struct.unpack_from("<i", self.data, position)[0]
        self.span(vtable, 4, f"the field table of {kind}")
        vtable_size, size = struct.unpack_from("<HH", self.data, vtable)
        self.span(vtable, vtable_size, f"the field table of {kind}")
        self.span(position, size, kind)
        self._spend(size)
        offsets = struct.unpack_from(f"<{max(0, vtable_size - 4) // 2}H", self.data, vtable + 4)
        if offsets and max(offsets) >= size:
            raise MalformedError(f"a field of {kind} at byte {position} is outside of it")
        for slot, field in _FIELDS.get(kind, {}).items():
            if slot < len(offsets) and offsets[slot]:
                tag = self.data[position + offsets[slot - 1]] if offsets[slot - 1] else 0
                self._field(field, position + offsets[slot], tag)

    def _field(self, field: str, position: int, tag: int) -> None:
        target = position + self.uint32(position)
        if field == "string":
            length = self.uint32(target)
            self.span(target + 4, length + 1, "a string")  # and the zero after it
            self._spend(length)
        elif field.isdigit():
            self.span(target + 4, self.uint32(target) * int(field), "a vector")
        elif field[0] == "[":
            count = self.uint32(target)
            self.span(target + 4, 4 * count, f"the vector {field}")
            for entry in range(target + 4, target + 4 + 4 * count, 4):
                self.table(field[1:-1], entry + self.uint32(entry))
        elif field[0] == "|":
            # A type that this schema does not know is checked as a table without fields.
            self.table(names_by_code(field[1:]).get(tag, ""), target)
        else:
            self.table(field, target)

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise MalformedError("it refers to the same bytes over and over")
