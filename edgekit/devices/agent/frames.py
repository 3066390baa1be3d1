"""Frames and arrays, at both ends of the pipe.

A frame is two big-endian 32-bit lengths, a JSON object, and bytes. Each request gets one answer, in
order; while the agent works it sends *beats* that say how many samples are done, so that slow work
can be told from a hang.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # the aliases would be evaluated, which Python 3.8 cannot
    from collections.abc import Sequence
    from typing import TypeAlias

    Header: TypeAlias = dict[str, Any]
    Frame: TypeAlias = tuple[Header, bytes]

PROTOCOL = 1
LENGTHS = struct.Struct(">II")
MAX_HEADER = 1 << 20
MAX_PAYLOAD = 1 << 30
_DIGITS = 20
CHANGING_SHAPE = "its outputs change their shape from one sample to the next."
DTYPES = (
    *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool"),
)


class AgentRefusal(Exception):
    """A request cannot be met; the kind tells the host which of its errors this is."""

    def __init__(self, kind: str, cause: str, cure: str = "") -> None:
        super().__init__(cause)
        self.kind, self.cause, self.cure = kind, cause, cure


class BadFrame(Exception):
    """Bytes that are not frame, or one beyond its limits."""


def encode(header: Header, size: int) -> bytes:
    """The first bytes of a frame whose payload has ``size`` bytes."""
    text = json.dumps(header).encode()
    if len(text) > MAX_HEADER or size > MAX_PAYLOAD:
        raise BadFrame(f"a frame of {len(text)} + {size} bytes is too large")
    return LENGTHS.pack(len(text), size) + text


def decode_header(data: bytes) -> Header:
    """The JSON object of a frame.

    Raises:
        BadFrame: it is none.
    """
    try:
        header = json.loads(data.decode("utf-8"), parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise BadFrame("a header that is not JSON") from error
    if not isinstance(header, dict):
        raise BadFrame("a header that is not an object")
    return header


def _whole(text: str) -> int:
    """A number that 64 bits hold: a longer one is not a size and no time, and overflows a float."""
    if len(text) > _DIGITS:
        raise ValueError("a number that is too long")
    return int(text)


class _ArrayTable(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def pack_arrays(arrays: Sequence[Any], compress: bool) -> tuple[Header, bytes]:
    """Arrays as the entries ``arrays`` and ``zlib`` of a header, and the payload."""
    import numpy as np

    tables = [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in arrays]
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    if compress:
        data = zlib.compress(data, 1)
    return {"arrays": tables, "zlib": compress}, data


def unpack_arrays(header: Header, payload: bytes, limit: int) -> list[Any]:
    """The arrays of a frame; never more than ``limit`` bytes, whatever the header says.

    Raises:
        BadFrame: header and payload do not fit together, or the limit is passed.
    """
    import numpy as np

    tables = _array_tables(header, limit)
    total = sum(table.bytes for table in tables)
    if header.get("zlib"):
        inflater = zlib.decompressobj()
        try:
            payload = inflater.decompress(payload, total + 1)
        except zlib.error as error:
            raise BadFrame("damaged compressed data") from error
    if len(payload) != total:
        raise BadFrame(f"{len(payload)} bytes of arrays where {total} were told")
    arrays, start = [], 0
    for table in tables:
        data = payload[start : start + table.bytes]
        arrays.append(np.frombuffer(data, table.dtype).reshape(table.shape))
        start += table.bytes
    return arrays


def _array_tables(header: Header, limit: int) -> list[_ArrayTable]:
    import numpy as np

    tables = header.get("arrays")
    if not isinstance(tables, list):
        raise BadFrame("no arrays")
    found, left = [], limit
    for table in tables:
        dtype = table.get("dtype") if isinstance(table, dict) else None
        shape = table.get("shape") if isinstance(table, dict) else None
        if dtype not in DTYPES or not isinstance(shape, list) or len(shape) > 16:
            raise BadFrame("an array of an unknown kind")
        if not all(type(size) is int and 0 <= size <= limit for size in shape):
            raise BadFrame("an array of an impossible shape")
        size = np.dtype(dtype).itemsize
        for length in shape:
            size *= length
        left -= size
        if left < 0:
            raise BadFrame(f"more than {limit} bytes of arrays")
        found.append(_ArrayTable(dtype, tuple(shape), size))
    return found
