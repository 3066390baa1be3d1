"""What the other modules of this converter share: a loaded model, whatever it was loaded from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from edgekit_worker import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SIGNATURE = "serving_default"
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")

EXPORT_CURE = (
    "Where the model's Python code is at hand, write a SavedModel, which needs none of it: "
    "model.export('FOLDER'); then convert FOLDER."
)
TRUST_CURE = "If you trust who made the file, add --trust-pickle. "


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An input or output; a dimension is ``None`` where it is dynamic."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    layout: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A loaded model as a function.

    Attributes:
        call: takes one tensor for each of ``inputs``, in their order, and gives one for each of
            ``outputs``; in inference mode.
        owner: whatever owns the variables, so that they live as long as this.
        options: what was changed on loading, for the report.
        quantized: the kinds of layers that Keras has quantized, and how often each occurs; `call`
            computes their float form where that was asked for.
        itself: `call` of the quantized model.
    """

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    call: Callable[..., list[Any]]
    owner: Any
    options: dict[str, Any] = field(default_factory=dict)
    quantized: dict[str, int] = field(default_factory=dict)
    itself: Callable[..., list[Any]] | None = None


def make_specs(
    path: Path,
    names: Iterable[str],
    tensors: Iterable[Any],
    layout: str,
    *,
    float32: bool = False,
) -> tuple[Spec, ...]:
    """`Spec`s of Keras or TensorFlow tensors; 4-D float tensors are taken for pictures.

    ``float32`` says that what the tensors call 16-bit floats is computed in 32.
    """
    specs = []
    for name, tensor in zip(names, tensors, strict=True):
        dtype = tf.as_dtype(tensor.dtype).name
        if float32 and dtype in {"float16", "bfloat16"}:
            dtype = "float32"
        if dtype not in DTYPES:
            cause = f"{name} of {path} has the type {dtype}, which edgekit does not handle."
            cure = f"Move that part out of the model; it can have {', '.join(DTYPES)}."
            raise WorkerError(cause, cure=cure, kind="model")
        if tensor.shape is None or tf.TensorShape(tensor.shape).rank is None:
            cause = f"{name} of {path} has an unknown number of dimensions."
            raise WorkerError(cause, cure="Export it with a fixed input shape.", kind="model")
        shape = tuple(tf.TensorShape(tensor.shape).as_list())
        picture = len(shape) == 4 and dtype.startswith("float")
        specs.append(Spec(name=name, shape=shape, dtype=dtype, layout=layout if picture else None))
    return tuple(specs)


def unique(names: list[str], *, taken: Iterable[str] = ()) -> list[str]:
    """The same names, with ``_1``, ``_2`` … appended where one would repeat."""
    used, result = set(taken), []
    for name in names:
        candidate, count = name, 0
        while candidate in used:
            count += 1
            candidate = f"{name}_{count}"
        used.add(candidate)
        result.append(candidate)
    return result
