"""What a file was written from, and asking that object itself."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

EXACT_DB = 60.0
"""How close an exported model must be to its object where both compute in float32 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class ObjectOrigin:
    """The object that a model's file was written from.

    Attributes:
        what: the object in words: ``Net (torch.nn.Module)``, or of a file its path.
        ask: the object's own outputs for one sample, given its inputs in the model's order; `None`
            where the file is the object, byte for byte.
        least_db: how close, in decibels of what varies, the file must be to it.
        notes: what the user should know of the export.
        data: by role (``calibration``, ``parity``, ``data``) what the samples were written from.
    """

    what: str = ""
    ask: Callable[[Sequence[Array]], list[Array]] | None = None
    least_db: float = EXACT_DB
    notes: tuple[str, ...] = ()
    data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model's file, and what is known of its inputs (one sample each, with the batch axis)."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    origin: ObjectOrigin


def name_of(thing: object) -> str:
    """The class of an object, or a function's own name, as a name of files."""
    named = getattr(thing, "__name__", None) or type(thing).__name__
    return "".join(letter if letter.isalnum() else "_" for letter in str(named)).strip("_") or "net"


def type_name(thing: object) -> str:
    """The type of data, by the name that people know it by."""
    if type(thing).__module__.startswith("tensorflow.python.data"):
        return "tf.data.Dataset"
    return type(thing).__name__.lstrip("_")


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Python's, NumPy's and PyTorch's generators go on afterwards as if nothing had been drawn."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    torch_state = torch.get_rng_state() if torch else None
    on_cuda = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    cuda_states = torch.cuda.get_rng_state_all() if torch and on_cuda else None
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        if torch:
            torch.set_rng_state(torch_state)
        if torch and cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
