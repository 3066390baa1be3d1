"""Tensor types by name, and their bytes as NumPy arrays.

Names are the schema's in lower case: ``float32``, ``int8``, ``int4``, ``bfloat16``, ``string`` …
NumPy has no 4-bit, 2-bit or bfloat16 type, so `decode` widens those (to int8, uint8 and float32)
and `encode` narrows them again.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

FLOAT_TYPES = frozenset(
    {"float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"}
)

# Several values in one byte, the first in the lowest bits: (bits per value, signed).
_PACKED = {"int4": (4, True), "uint4": (4, False), "int2": (2, True)}
# Everything else that has a fixed size, in bits per value.
_BITS = {
    "float16": 16, "bfloat16": 16, "float32": 32, "float64": 64,
    "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32,
    "int64": 64, "uint64": 64, "bool": 8, "complex64": 64, "complex128": 128,
    "float8_e4m3fn": 8, "float8_e5m2": 8,
    **{name: bits for name, (bits, _) in _PACKED.items()},
}  # fmt: skip


@cache
def _codes() -> dict[str, int]:
    from ai_edge_litert.schema_py_generated import TensorType

    return {name.lower(): code for name, code in vars(TensorType).items() if name[0] != "_"}


@cache
def _names() -> dict[int, str]:
    return {code: name for name, code in _codes().items()}


def name_of(code: int) -> str:
    """The name of a schema's type code; ``type_N`` for a type newer than this schema."""
    return _names().get(code, f"type_{code}")


def code_of(name: str) -> int:
    """The schema's code of a type's name.

    Raises:
        ValueError: the schema has no such type.
    """
    try:
        return _codes()[name]
    except KeyError:
        raise ValueError(f"{name!r} is not a tensor type of the .tflite schema") from None


def byte_size(dtype: str, shape: Sequence[int]) -> int | None:
    """How many bytes a dense constant takes, ``None`` for types without a fixed size."""
    bits = _BITS.get(dtype)
    return None if bits is None else (prod(shape) * bits + 7) // 8


def decode(raw: Any, dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    """The values of a constant, of ``shape``; a view of ``raw`` where NumPy has the type.

    Args:
        raw: bytes, or a NumPy array of them.

    Raises:
        ValueError: the type has no NumPy form, or the bytes do not fit the shape.
    """
    import numpy as np

    if dtype in _PACKED:
        return _unpack(raw, dtype, prod(shape)).reshape(shape)
    if dtype == "bfloat16":
        halves = np.frombuffer(raw, "<u2").astype("<u4")
        return (halves << 16).view("<f4").reshape(shape)
    if dtype not in _BITS or dtype.startswith("float8"):
        raise ValueError(f"{dtype} has no NumPy form")
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def encode(values: npt.NDArray[Any], dtype: str) -> bytes:
    """The bytes of a constant: the inverse of `decode`.

    bfloat16 is rounded to the nearest even value.

    Raises:
        ValueError: the array's type is not the one `decode` gives for ``dtype``, a value does not
            fit into its bits, or the type has no NumPy form.
    """
    import numpy as np

    expected = decode(b"", dtype, (0,)).dtype
    if values.dtype != expected:
        raise ValueError(f"a {dtype} tensor takes {expected} values, not {values.dtype}")
    if dtype in _PACKED:
        return _pack(values, dtype)
    if dtype == "bfloat16":
        bits = values.astype("<f4").view("<u4")
        rounded = bits + 0x7FFF + ((bits >> 16) & 1)
        # The carry would turn a NaN into an infinity; a NaN only loses its payload.
        return np.where(np.isnan(values), 0x7FC0, rounded >> 16).astype("<u2").tobytes()
    return values.astype(expected, copy=False).tobytes()


def _unpack(raw: Any, dtype: str, count: int) -> npt.NDArray[Any]:
    import numpy as np

    bits, signed = _PACKED[dtype]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (np.frombuffer(raw, np.uint8)[:, None] >> shifts).ravel()[:count] & ((1 << bits) - 1)
    if not signed:
        return values.astype(np.uint8)
    # Shift the sign bit to the top, then let the arithmetic shift extend it.
    return (values << (8 - bits)).astype(np.uint8).view(np.int8) >> (8 - bits)


def _pack(values: npt.NDArray[Any], dtype: str) -> bytes:
    import numpy as np

    bits, signed = _PACKED[dtype]
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if values.size and (values.min() < low or values.max() > high):
        raise ValueError(f"a {dtype} value must lie in {low}…{high}")
    per_byte = 8 // bits
    flat = np.zeros(-(-values.size // per_byte) * per_byte, np.uint8)
    flat[: values.size] = values.ravel().view(np.uint8) & ((1 << bits) - 1)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    packed = np.bitwise_or.reduce(flat.reshape(-1, per_byte) << shifts, axis=1)
    return bytes(packed.astype(np.uint8))
