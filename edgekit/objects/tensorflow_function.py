"""A `tf.function`, a `tf.Module` or a loaded SavedModel as a SavedModel."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError, UsageError
from edgekit.objects.origin import Exported, ObjectOrigin, first_line, name_of
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def export(model: Any, example: object, inputs: Sequence[TensorSpec], folder: Path) -> Exported:
    """Write a function as the ``serving_default`` of a SavedModel.

    Args:
        model: a `tf.function` or concrete function, a loaded SavedModel, or a `tf.Module` whose
            ``__call__`` is one.
        example: what the function is given; not needed where it has an ``input_signature``.
        inputs: shapes that the user stated.
        folder: an existing one.

    Raises:
        UsageError: the function does not tell its inputs, and there is no example.
        ModelError: it cannot be traced or saved.
    """
    import tensorflow as tf

    function = _function(model)
    try:
        concrete = _concrete(function, example, inputs)
        holder = model if isinstance(model, tf.Module) else tf.Module()
        if holder is not model:
            holder.function, holder.kept = function, list(concrete.variables)
        path = folder / name_of(function if holder is not model else type(model))
        tf.saved_model.save(holder, str(path), signatures={"serving_default": concrete})
    except UsageError:
        raise
    except Exception as error:  # tracing runs the caller's own code
        raise ModelError(
            f"The TensorFlow function cannot be saved: {first_line(error)}",
            cure="tf.saved_model.save(module, 'folder', signatures=function) must work.",
        ) from error
    specs = tuple(
        TensorSpec(name=name, shape=tuple(one.shape), dtype=one.dtype.name)
        for name, one in concrete.structured_input_signature[1].items()
    ) or tuple(
        TensorSpec(name=one.name.partition(":")[0], shape=tuple(one.shape), dtype=one.dtype.name)
        for one in concrete.inputs
        if one.dtype != tf.resource
    )
    # What was traced before is in the file as it is; a Python function may answer otherwise.
    ask = None if hasattr(function, "structured_input_signature") else _asking(function, specs)
    origin = ObjectOrigin(what=f"{path.name} (TensorFlow)", ask=ask)
    return Exported(path=path, inputs=specs, origin=origin)


def _asking(function: Any, specs: Sequence[TensorSpec]) -> Callable[[Sequence[Array]], list[Array]]:
    """Ask the function; tensors and answers in the order of their names, as of a signature's."""
    import tensorflow as tf

    def ask(inputs: Sequence[Array]) -> list[Array]:
        names = sorted((spec.name for spec in specs), key=_natural)
        if len(names) == 1:
            answer = function(tf.constant(inputs[0]))
        else:
            answer = function(
                **{name: tf.constant(one) for name, one in zip(names, inputs, strict=True)}
            )
        if isinstance(answer, Mapping):
            return [answer[name].numpy() for name in sorted(answer, key=_natural)]
        return [one.numpy() for one in tf.nest.flatten(answer)]

    return ask


def _natural(name: str) -> list[tuple[int, int, str]]:
    """``output_10`` after ``output_9``."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _function(model: Any) -> Any:
    if hasattr(model, "get_concrete_function") or hasattr(model, "structured_input_signature"):
        return model
    signatures = getattr(model, "signatures", {})
    if "serving_default" in signatures:
        return signatures["serving_default"]
    function = getattr(model, "__call__", None)  # noqa: B004  the traced one of a tf.Module
    if hasattr(function, "get_concrete_function"):
        return function
    raise UsageError(
        f"The {type(model).__name__} has no tf.function to convert.",
        cure="Give the function itself: edgekit.convert(module.predict, example, …)",
    )


def _concrete(function: Any, example: object, inputs: Sequence[TensorSpec]) -> Any:
    import tensorflow as tf

    if hasattr(function, "structured_input_signature"):  # traced already
        return function
    if getattr(function, "input_signature", None):
        return function.get_concrete_function()
    if example is None and inputs:
        return function.get_concrete_function(
            *(tf.TensorSpec(one.shape, one.dtype, one.name) for one in inputs)
        )
    if example is None:
        raise UsageError(
            "The tf.function does not tell the shape of its inputs.",
            cure="Give an example: edgekit.convert(function, tf.zeros((1, 224, 224, 3)), …)",
        )
    as_spec = tf.TensorSpec.from_tensor

    def spec(value: Any) -> Any:
        return as_spec(tf.convert_to_tensor(value))

    if isinstance(example, Mapping):
        return function.get_concrete_function(**{key: spec(one) for key, one in example.items()})
    values = example if isinstance(example, list | tuple) else [example]
    return function.get_concrete_function(*map(spec, values))
