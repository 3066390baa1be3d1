"""Which of the machine's kernels had a part in the bytes, and how a replay takes the same ones.

Rounding weights (`edgekit.quantize.rounding`) inverts matrices with NumPy's BLAS. OpenBLAS chooses
its kernels by the processor, and they add up in another order: a few weights in ten thousand fall
onto the neighbouring step. The choice can be made for it (``OPENBLAS_CORETYPE``), where the
processor has the instructions.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHOICE = "OPENBLAS_CORETYPE"
_AVX512 = ("avx512f", "avx512bw", "avx512_vnni", "avx512_bf16")
_VECTORS = ("avx", "avx2", "fma", *_AVX512, "amx_int8")
_NEEDED = {
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx2", "fma", "avx512f", "avx512bw"},
    "Cooperlake": {"avx2", "fma", "avx512f", "avx512bw", "avx512_bf16"},
}
"""What a processor must have to run OpenBLAS' kernels of that name."""


def vectors() -> list[str]:
    """The processor's vector instructions, where the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    flags = set(text.partition("\nflags")[2].partition("\n")[0].split())
    return [one for one in _VECTORS if one in flags]


def blas() -> str:
    """The name of the kernels that NumPy's OpenBLAS chose here, empty for another BLAS."""
    spec = importlib.util.find_spec("numpy")
    if spec is None or spec.origin is None:
        return ""
    for library in Path(spec.origin).parents[1].glob("numpy.libs/*openblas*"):
        try:
            function = ctypes.CDLL(str(library)).scipy_openblas_get_corename64_
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        return bytes(function() or b"").decode("ascii", "replace")
    return ""


def in_use() -> str:
    """The kernels of workers that start now: those of `with_blas`, or OpenBLAS' own choice."""
    choice = os.environ.get(_CHOICE, "")
    return choice if runs_here(choice) else blas()


def runs_here(kernels: str) -> bool:
    """Whether this processor has the instructions of those kernels."""
    return kernels in _NEEDED and _NEEDED[kernels] <= set(vectors())


@contextmanager
def with_blas(kernels: str) -> Iterator[None]:
    """Let processes that start meanwhile use those kernels, where the processor can."""
    before = os.environ.get(_CHOICE)
    if kernels != blas() and runs_here(kernels):
        os.environ[_CHOICE] = kernels
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CHOICE, None)
        else:
            os.environ[_CHOICE] = before
