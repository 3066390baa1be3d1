"""A `keras.Model` as a file: ``.keras`` where Keras alone can read it, else a SavedModel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError
from edgekit.objects.origin import Exported, ObjectOrigin, first_line, name_of
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def export(model: Any, folder: Path) -> Exported:
    """Write a model to a folder.

    One that is made of Keras's own layers is saved as ``.keras``. One with layers of the caller's
    own (in a notebook, perhaps) is written as a SavedModel, which holds its graph and no code.

    Raises:
        ModelError: it has no weights yet, or has its own layers on another back end.
    """
    import keras

    name = name_of(type(model)) if _is_own(model) else _stem(model)
    if not model.built or not (_inputs(model) or _is_own(model)):
        raise ModelError(
            f"The Keras model {model.name} is not built: it has no weights yet.",
            cure="Call it on a sample or fit it first: model(x[:1])",
        )
    if _needs_code(model):
        if keras.backend.backend() != "tensorflow":
            raise ModelError(
                f"The Keras model {model.name} has layers of its own and runs on "
                f"{keras.backend.backend()}, so it cannot be saved without its code.",
                cure="Set KERAS_BACKEND=tensorflow before Keras is imported.",
            )
        path = folder / name
        _written(model, lambda: model.export(str(path), verbose=False))
    else:
        path = folder / f"{name}.keras"
        _written(model, lambda: model.save(path))
    return Exported(
        path=path,
        inputs=tuple(map(_spec, _inputs(model))),
        origin=ObjectOrigin(what=f"{model.name} (keras.Model)", ask=_asking(model)),
    )


def _written(model: Any, save: Any) -> None:
    try:
        save()
    except Exception as error:  # a layer's own get_config or call can raise anything
        raise ModelError(
            f"The Keras model {model.name} cannot be saved: {first_line(error)}",
            cure="model.export('folder') must work.",
        ) from error


def _stem(model: Any) -> str:
    return "".join(one if one.isalnum() else "_" for one in str(model.name)) or "model"


def _is_own(model: Any) -> bool:
    """Whether its class is the caller's."""
    return type(model).__module__.partition(".")[0] != "keras"


def _needs_code(model: Any) -> bool:
    """Whether reading it would need code of the caller's: classes, or functions in a Lambda."""
    import keras

    waiting = [model]
    while waiting:
        layer = waiting.pop()
        if _is_own(layer) or isinstance(layer, keras.layers.Lambda):
            return True
        waiting += getattr(layer, "layers", ())
        inner = getattr(layer, "layer", None)
        waiting += [inner] if isinstance(inner, keras.Layer) else []
    return False


def _inputs(model: Any) -> Sequence[Any]:
    """Of a functional model; a class of the caller's own has none."""
    return getattr(model, "inputs", None) or ()


def _spec(tensor: Any) -> TensorSpec:
    shape = tuple(tensor.shape)
    return TensorSpec(name=tensor.name, shape=(1, *shape[1:]), dtype=str(tensor.dtype))


def _asking(model: Any) -> Any:
    import keras

    def ask(inputs: Sequence[Array]) -> list[Array]:
        tensors = [keras.ops.convert_to_tensor(one) for one in inputs]
        if _inputs(model):
            fed = keras.tree.pack_sequence_as(model.input, tensors)
        else:
            fed = tensors[0] if len(tensors) == 1 else tensors
        answer = model(fed, training=False)
        return [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(answer)]

    return ask
