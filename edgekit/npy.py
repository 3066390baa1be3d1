"""NumPy files that somebody else wrote, read without trusting their headers.

NumPy's own reader evaluates the header with a repair for Python 2, makes room for whatever size it
claims, and raises a dozen kinds of errors. Format: https://numpy.org/neps/nep-0001-npy-format.html
"""

from __future__ import annotations

import ast
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgekit.errors import EdgekitError
from edgekit.files import kind_of, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 16
_MOST_AXES = 32
CURE = "Save plain numbers with np.save or np.savez; pickled objects are never loaded."


def map_npy(path: Path, error: type[EdgekitError], *, name: str = "") -> Array:
    """The array of an ``.npy``, mapped into memory: nothing is read before it is used.

    Args:
        path: the file.
        error: what to raise.
        name: how messages call it.

    Raises:
        error: it is damaged, cut short, or holds Python objects.
    """
    import numpy as np

    called = name or shown(path)
    if kind_of(path) != "file":
        raise error(f"{called} is not a regular file.", cure=CURE)
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = read_header(stream)
            start = stream.tell()
        size = math.prod(shape) * dtype.itemsize
        if size > path.stat().st_size - start:
            raise ValueError(f"the shape {shape} needs {size} bytes, the file has fewer")
        order: Any = "F" if fortran else "C"
        if not size:
            return np.zeros(shape, dtype, order)
        return np.memmap(path, dtype, "r", start, shape, order)
    except (OSError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as problem:
        raise error(f"{called} cannot be read as NumPy data: {problem}", cure=CURE) from problem


def read_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, whether the order is Fortran's, and type; the stream is then at the first value.

    Raises:
        ValueError, TypeError, SyntaxError, MemoryError, RecursionError: it is none.
    """
    import numpy as np

    magic = stream.read(8)
    if magic[:6] != _MAGIC or magic[6:7] not in (b"\1", b"\2", b"\3"):
        raise ValueError("it is not a .npy file")
    form = "<H" if magic[6] == 1 else "<I"
    length = stream.read(struct.calcsize(form))
    if len(length) < struct.calcsize(form):
        raise ValueError("it is cut short")
    (count,) = struct.unpack(form, length)
    if count > _LONGEST_HEADER:
        raise ValueError("its header is absurdly long")
    text = stream.read(count).decode("utf-8" if magic[6] == 3 else "latin1")
    table = ast.literal_eval(text.strip())
    if not isinstance(table, dict) or set(table) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header is damaged")
    shape = table["shape"]
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise ValueError("its header is damaged")
    if not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        raise ValueError(f"its header claims the shape {str(shape)[:100]}")
    dtype = np.lib.format.descr_to_dtype(table["descr"])
    if dtype.hasobject or dtype.kind not in "biufSU":
        raise ValueError(f"it holds {dtype}, not numbers")
    return shape, bool(table["fortran_order"]), dtype
