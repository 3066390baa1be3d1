"""What the caller passed, as paths: the seam between Python's objects and the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.arguments import is_path, location
from edgekit.errors import UsageError
from edgekit.files import temporary_folder
from edgekit.objects.loaders import items_of
from edgekit.objects.origin import Exported, ObjectOrigin, name_of, same_random_numbers, type_name
from edgekit.objects.samples import write
from edgekit.types import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Given:
    """Paths of what the caller passed.

    Attributes:
        model: a path, or ``package.module:factory``.
        data: by role.
        origin: what objects they were written from; `None` where the caller gave paths.
    """

    model: str
    data: dict[str, Path | None]
    origin: ObjectOrigin | None


@contextmanager
def given(
    model: object,
    data: Mapping[str, object],
    *,
    example: object = None,
    inputs: Sequence[TensorSpec] = (),
    pictures: bool = False,
    limits: Mapping[str, int],
    seed: int = 0,
    what: str = "model",
) -> Iterator[Given]:
    """Write what is an object to a private folder, which goes in the end; paths stay paths.

    Args:
        model: a path, a name, or a model object.
        data: by role (``calibration``, ``parity``, ``data``): paths, objects or nothing.
        example: inputs for a model that does not tell them.
        inputs: shapes that were stated.
        pictures: the contract says how 8-bit pictures become tensors.
        limits: at most so many samples, by role.
        seed: decides which samples are taken.
        what: ``model`` is in words.

    Raises:
        UsageError, ModelError, DataError: an object cannot be used.
    """
    objects = {role: one for role, one in data.items() if one is not None and not is_path(one)}
    if is_path(model) and not objects:
        if example is not None:
            raise UsageError(
                "example_inputs goes with a model object; a file's inputs are stated by inputs=.",
                cure="For example inputs=['image:1x3x224x224']",
            )
        yield _paths(location(model, what), data, None)
        return
    with temporary_folder("objects") as folder, ExitStack() as stack:
        stack.enter_context(same_random_numbers())
        if is_path(model):
            found = Exported(path=Path(), inputs=tuple(inputs), origin=ObjectOrigin())
            named = location(model, what)
        else:
            if example is None and not inputs:
                example = _first_inputs(objects)
            found = _export(model, example, inputs, folder, what)
            named = str(found.path)
        written, notes = {}, list(found.origin.notes)
        for role, one in objects.items():
            words = type_name(one)
            done = write(
                items_of(one, limit=limits[role], seed=seed),
                folder / role,
                inputs=found.inputs,
                pictures=pictures,
                limit=limits[role],
                what=f"The {words}",
            )
            written[role] = done
            notes += done.notes
        origin = replace(
            found.origin,
            notes=tuple(dict.fromkeys(notes)),
            data={role: f"{type_name(one)} (Python)" for role, one in objects.items()},
        )
        stack.close()  # from here on the caller's random numbers are the caller's again
        yield _paths(named, {**data, **{role: one.path for role, one in written.items()}}, origin)


def _paths(model: str, data: Mapping[str, object], origin: ObjectOrigin | None) -> Given:
    return Given(
        model=model,
        data={
            role: None if one is None else Path(location(one, role)) for role, one in data.items()
        },
        origin=origin,
    )


def _first_inputs(objects: Mapping[str, object]) -> object:
    """The inputs of the data's first item, as an example for a module that tells no shapes."""
    from edgekit.objects.loaders import is_array

    one: Any
    for one in objects.values():
        if isinstance(one, Iterator):
            continue  # it would lack that sample afterwards
        items = items_of(one, limit=1, seed=0)
        item: Any
        for item in items.values:
            first: Any = item[0] if isinstance(item, list | tuple) and len(item) > 1 else item
            if items.batched is False:
                if is_array(first):
                    return first[None]
                return None
            return first
    return None


def _export(
    model: Any, example: object, inputs: Sequence[TensorSpec], folder: Path, what: str
) -> Exported:
    """By the framework that the object is of, which its owner has imported already."""
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    tf, onnx = sys.modules.get("tensorflow"), sys.modules.get("onnx")
    if torch and isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
        from edgekit.objects import torch_module

        return torch_module.export(model, example, inputs, folder)
    if keras and isinstance(model, keras.Model):
        from edgekit.objects import keras_model

        return keras_model.export(model, folder)
    if tf and (hasattr(model, "get_concrete_function") or isinstance(model, tf.Module)):
        from edgekit.objects import tensorflow_function

        return tensorflow_function.export(model, example, inputs, folder)
    if onnx and isinstance(model, onnx.ModelProto):
        return _onnx(model, folder)
    raise UsageError(
        f"The {what} is a {type(model).__name__}, and not a path or a model.",
        cure="Give a torch.nn.Module, a keras.Model, a tf.function, an onnx.ModelProto, a file or "
        "folder, or a function that builds the model: 'package.module:factory'.",
    )


def _onnx(model: Any, folder: Path) -> Exported:
    import onnx

    path = folder / f"{name_of(type(model)) if not model.graph.name else _clean(model)}.onnx"
    big = model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF
    onnx.save(model, path, save_as_external_data=big)
    constants = {one.name for one in model.graph.initializer}
    specs = tuple(
        TensorSpec(
            name=one.name,
            shape=tuple(
                size.dim_value if size.HasField("dim_value") else None
                for size in one.type.tensor_type.shape.dim
            ),
            dtype=str(onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type)),
        )
        for one in model.graph.input
        if one.name not in constants
    )
    return Exported(path=path, inputs=specs, origin=ObjectOrigin(what="an onnx.ModelProto"))


def _clean(model: Any) -> str:
    return "".join(one if one.isalnum() else "_" for one in model.graph.name)[:60] or "model"
